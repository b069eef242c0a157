#!/usr/bin/env bash
# The whole two-stage job on the built-in tasks with the packaged MiniLM: no network beyond the package index.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/scalearn compare quickstart --out "${1:-runs/quickstart}"
