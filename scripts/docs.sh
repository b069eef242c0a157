#!/usr/bin/env bash
# Builds the docs site into site/, which opens from disk: pages of commands and of the API from the code, then all pages. A warning or a broken link fails it.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
stamp=".venv/.docs-$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)"
if [ ! -e "$stamp" ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
  touch "$stamp"
fi
.venv/bin/python scripts/docs_reference.py docs/reference
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
.venv/bin/zensical build --clean --strict 2>&1 | tee "$log"
if grep -qiE 'warning|^griffe:' "$log"; then echo "error: the build warns (above)" >&2; exit 1; fi
.venv/bin/python scripts/check_links.py site
