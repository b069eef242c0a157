"""Python processes that have imported the big libraries and nothing of ours: forked from one that waits, they cost no import.

What a test shows in "another process" is shown just as well by one that was forked from an interpreter in which only torch,
transformers and, where it is installed, adapters were imported and used: no module, no cache and no object of the test's own process is there.
In each of them either the packages of this checkout can be imported or the library `adapters`, never both.
"""

import json
import subprocess
import sys

import pytest

SERVER = """
import gc, importlib.util, json, os, sys, traceback
import accelerate, safetensors.torch, scipy.stats, sklearn.metrics, torch
from transformers import AutoModel, AutoTokenizer, BertConfig
torch.set_num_threads(1)
small = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
AutoModel.from_config(small)  # imports what is imported late
if importlib.util.find_spec("adapters"):
    from adapters import AutoAdapterModel, SeqBnConfig
    AutoAdapterModel.from_config(small).add_adapter("any", SeqBnConfig(reduction_factor=2))
gc.freeze()
assert not {"scalearn", "tasksel"} & sys.modules.keys()
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(asked["cwd"])
        for name, path in enumerate(asked["files"]):
            os.dup2(os.open(path, os.O_RDONLY if name == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), name)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
        sys.path[:0] = asked["path"]
        try:
            exec(compile(asked["script"], "script.py", "exec"), {"__name__": "__main__"})
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="session")
def server(python):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([python, "-I", "-c", SERVER], **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def blocking(*packages):
    """A script's beginning: whoever imports one of these packages fails, also where it was imported before."""
    imported = f"[name for name in sys.modules if name.partition('.')[0] in {packages}]"
    return f"import sys\nfor name in {imported}:\n    del sys.modules[name]\nsys.modules.update(dict.fromkeys({packages}))\n"


@pytest.fixture(scope="session")
def fresh_process(server, tmp_path_factory):
    """Runs a script in a process of its own, with a text as its input, and gives what it printed; a failure shows its errors.

    With `ours`, the packages of this checkout can be imported there, and the library `adapters` cannot; otherwise it is the other way round.
    A test whose script imports the library takes the fixture `library` too.
    """

    def run(script, text="", *, ours=False, cwd=None):
        folder = tmp_path_factory.mktemp("process")
        files = [str(folder / name) for name in ("in", "out", "err")]
        (folder / "in").write_text(text)
        blocked = blocking("adapters") if ours else blocking("scalearn", "tasksel")
        asked = {"script": blocked + script, "cwd": str(cwd or folder), "files": files}
        server.stdin.write(json.dumps({**asked, "path": sys.path if ours else []}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        assert code == 0, (folder / "err").read_text()
        return (folder / "out").read_text()

    return run
