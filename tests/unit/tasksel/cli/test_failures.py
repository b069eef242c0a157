"""What the command line says of errors that are no fault of the package: one line and exit code 2, and nothing else is hidden."""

import errno
import os

import pytest
import torch

from tasksel.cli.app import Commands, run_command
from tasksel.cli.failures import failure_line
from tasksel.errors import UserError

MEMORY = [
    MemoryError(),
    MemoryError("Unable to allocate 3.0 GiB for an array"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
    ),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    RuntimeError("std::bad_alloc"),
]


@pytest.fixture
def run(capsys):
    """Runs a command that raises an error, and gives its exit code and what it said."""

    def raised(error):
        def command():
            """A command."""
            raise error

        app = Commands("demo", "A demonstration.")
        app.command("fail")(command)
        return run_command(app, ["fail"]), capsys.readouterr().err

    return raised


@pytest.mark.parametrize("error", MEMORY, ids=range(len(MEMORY)))
def test_too_little_memory_is_one_line_with_a_way_out(run, error):
    code, said = run(error)
    assert (code, said.count("\n")) == (2, 1)
    assert "not enough memory; use fewer --jobs, a smaller --recipe.micro-batch" in said


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ENAMETOOLONG, errno.EMFILE]
)
@pytest.mark.parametrize("place", [None, "runs/mine"])
def test_a_trouble_of_the_disk_is_one_line_with_or_without_a_path(run, number, place):
    code, said = run(OSError(number, os.strerror(number), place))
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"error: {place + ': ' if place else ''}{os.strerror(number)}; ")


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("shapes do not fit"), OSError("nothing known")])
def test_a_fault_of_the_package_is_not_hidden(run, error):
    assert failure_line(error) is None
    with pytest.raises(type(error)):
        run(error)


def test_a_users_mistake_stays_what_it_says(run):
    assert run(UserError("no task 'rt'")) == (2, "error: no task 'rt'\n")


def test_a_full_disk_behind_standard_output_is_said(fresh_process, tmp_path):
    """`tasksel ls > full disk`: what is printed fits into a buffer, which Python would write, and complain of, when it ends."""
    script = """
import os, sys
from tasksel.cli.app import Commands, run_command
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
app = Commands("demo", "A demonstration.")
@app.command("speak")
def speak():
    "Speak."
    sys.stdout.write("word")
code = run_command(app, ["speak"])
sys.stdout.flush()
assert code == 2, code
open("said", "w").write("two")
"""
    fresh_process(script, ours=True, cwd=tmp_path)
    assert (tmp_path / "said").read_text() == "two"
