"""The commands on streams as they come: ASCII alone, a pipe that closes, a full device, a locale without UTF-8."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from scalearn.cli.main import main as scalearn
from tasksel.cli.main import main as tasksel

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")


def shell(command, **environment):
    """Runs a line of bash, with `tasksel` as this checkout has it; its exit code, output and errors."""
    line = f'set -o pipefail; tasksel() {{ {sys.executable} -m tasksel "$@"; }}; {command}'
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    ended = subprocess.run(["bash", "-c", line], capture_output=True, env=env, timeout=60, check=False)
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


def test_a_closed_pipe_is_silent():
    assert shell("tasksel ls --data hub | head -1 | wc -l") == (0, "1\n", "")
    assert shell("tasksel --help | head -0") == (0, "", "")


def test_a_full_device_is_one_line_and_exit_code_2():
    assert FULL.exists(), "a system without /dev/full cannot show this"
    for command in ("ls", "--help"):
        code, out, errors = shell(f"tasksel {command} > /dev/full")
        assert (code, out) == (2, "")
        assert errors == "error: standard output: No space left on device; make room there, or write to another place\n"
    assert shell("tasksel lss 2> /dev/full") == (2, "", "")


def test_a_locale_without_utf8_shows_ascii_lines():
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, out, errors = shell("tasksel ls", **plain)
    assert (code, errors) == (0, "")
    assert out.isascii()
    assert "+-----" in out


def test_every_command_works_where_only_ascii_can_be_written(
    results, pool_folder, experiment_run, tmp_path, monkeypatch
):
    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", errors)
    rows = [
        f"{word} Zug {number} — spät,{'gut' if number % 2 else 'schön'}" for number in range(20) for word in ("à", "漢")
    ]
    file = tmp_path / "züge.csv"
    file.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    folder = results["scalearn"].folder
    texts = ("--text", "späte Züge", "--text", "漢字")
    for main, command in [
        (tasksel, ["show", file, "--text", "text"]),
        (scalearn, ["pool", "ls", "--pool", pool_folder]),
        (scalearn, ["predict", folder, *texts]),
        (scalearn, ["predict", folder, *texts, "--format", "jsonl"]),
        (scalearn, ["explain", folder, "--rows", "8"]),
        (scalearn, ["export", folder, "--out", tmp_path / "spät"]),
        (scalearn, ["push", tmp_path / "spät", "--to", "me/x"]),
        (scalearn, ["report", experiment_run, "--out", tmp_path / "Übersicht"]),
        (tasksel, ["index", "nearest", tmp_path / "нет", tmp_path / "нет"]),
    ]:
        code = main([str(argument) for argument in command])
        assert code == (2 if command[0] == "index" else 0), command
    shown = out.buffer.getvalue().decode("ascii")
    assert "sch\\xf6n" in shown
    assert "#" in shown  # the bars of a prediction
    assert json.loads(next(line for line in shown.splitlines() if line.startswith('{"id"')))["id"] == 1
