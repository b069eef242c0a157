"""What only reads words stays quick: help, lists and mistakes import none of the libraries that compute."""

import json
import subprocess

HEAVY = ("torch", "transformers", "adapters", "datasets", "sklearn", "matplotlib")
COMMANDS = [
    ("tasksel", ["--help"], 0),
    ("tasksel", ["ls"], 0),
    ("tasksel", ["nonsense"], 2),
    ("scalearn", ["--help"], 0),
    ("scalearn", ["transfer", "--help"], 0),
    ("scalearn", ["transfer", "--nonsense"], 2),
    ("scalearn", ["compare", "quickstart", "--nonsense"], 2),
    ("scalearn", ["compare", "no-such.yaml", "--nonsense"], 2),
    ("scalearn", ["nonsense"], 2),
]
# One interpreter for all: what one command imports is new after it, so that each answers for its own.
SCRIPT = """
import contextlib, importlib, io, json, sys

heavy, commands = json.loads(sys.argv[1])
said = []

def new(before):
    return sorted(name for name in heavy if name in sys.modules and name not in before)

for package in ("tasksel", "scalearn"):
    before = set(sys.modules)
    importlib.import_module(package)
    said.append((f"import {package}", new(before), 0))
for package, arguments, _ in commands:
    before, main = set(sys.modules), importlib.import_module(f"{package}.cli.main").main
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code
    said.append((" ".join([package, *arguments]), new(before), code or 0))
print(json.dumps(said))
"""


def test_what_computes_nothing_imports_nothing_that_computes(python, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = [python, "-c", SCRIPT, json.dumps([HEAVY, COMMANDS])]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=60)
    said = json.loads(done.stdout)
    assert {command: imported for command, imported, _ in said if imported} == {}
    assert [code for *_, code in said] == [0, 0, *(code for *_, code in COMMANDS)]
