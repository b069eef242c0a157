#!/usr/bin/env bash
# Sets up and runs the tests in two processes of one thread each; a file's tests run in one of them, in their order; arguments go to pytest (`-n 0`: in one process).
#   bash scripts/test.sh --next    in .venv-next: the newest versions of everything, without the library `adapters` and what compares with it
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv
if [ "${1:-}" = --next ]; then
  venv=.venv-next
  shift
  bash scripts/setup.sh --next
else
  bash scripts/setup.sh
fi
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1  # models this small: a second thread only waits
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@"
