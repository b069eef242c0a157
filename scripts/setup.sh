#!/usr/bin/env bash
# Makes .venv and installs the project with tested versions. A second call finds it done.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=".venv/.installed-$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)"
if [ ! -e "$stamp" ]; then
  python=""
  for candidate in python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python="$candidate"; break; fi
  done
  [ -n "$python" ] || { echo "error: no Python 3.11 or later found; install one" >&2; exit 2; }
  echo "installing into .venv with $("$python" --version) (a minute or two)"
  "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
  touch "$stamp"
fi
