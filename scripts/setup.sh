#!/usr/bin/env bash
# Makes .venv and installs the project with tested versions and the library `adapters`. A second call finds it done.
#   bash scripts/setup.sh --next    makes .venv-next, with the newest versions of everything and without `adapters`
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv constraints=constraints.txt extras=dev,adapters
if [ "${1:-}" = --next ]; then venv=.venv-next constraints=constraints-next.txt extras=dev; fi
stamp="$venv/.installed-$(cat pyproject.toml "$constraints" | sha256sum | cut -c1-16)"
if [ ! -e "$stamp" ]; then
  python=""
  for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python="$candidate"; break; fi
  done
  [ -n "$python" ] || { echo "error: no Python 3.11 or later found; install one" >&2; exit 2; }
  echo "installing into $venv with $("$python" --version) (a minute or two)"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$constraints" -e ".[$extras]"
  touch "$stamp"
fi
