"""A base and an adapter by hub id, from a local stand-in: fetched, used from the cache, and said plainly when neither is there."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hub_standin import HubStandin

from scalearn import AdapterPool

MAIN = """
import contextlib, io, json, sys
from scalearn.cli.main import main
said = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(arguments)
    said.append([code, errors.getvalue()])
print("\\n" + json.dumps(said))
"""


def run(home, url, *commands, **env):
    """Exit code and complaint of each command, all in one process that sees only the stand-in and its own cache."""
    plain = {
        key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()
    }
    told = {"HF_HOME": str(home), "HF_ENDPOINT": url, "NO_PROXY": "127.0.0.1", "PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, "-c", MAIN, json.dumps([[str(word) for word in command] for command in commands])]
    done = subprocess.run(call, env={**plain, **told, **env}, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory, tiny, pool_folder):
    """A hub with a base, an adapter with safetensors, and one whose `.bin` names code; a cache filled by one `pool add`."""
    place = tmp_path_factory.mktemp("hub")
    with HubStandin(place / "served") as served:
        adapter = {
            name: data
            for name, data in contents(pool_folder / "entail_travel").items()
            if "/" not in name and name != "card.json"
        }
        served.repositories.write("models", "some/base", "main", contents(tiny))
        served.repositories.write("models", "some/adapter", "main", adapter)
        pickled = {
            **{name: data for name, data in adapter.items() if name.endswith(".json")},
            "pytorch_adapter.bin": pickle.dumps(os.system),
        }
        served.repositories.write("models", "some/pickle", "main", pickled)
        add = (
            "pool",
            "add",
            "some/adapter",
            "--base",
            "some/base",
            "--same-base",
            "--pool",
            place / "pool",
            "--name",
            "theirs",
        )
        bad = ("pool", "add", "some/pickle", "--same-base", "--pool", place / "pool", "--name", "bad")
        first, second = run(place / "home", served.url, add, bad)
    return {"place": place, "url": served.url, "first": first, "bad": second}


def test_a_base_and_an_adapter_come_by_hub_id(hub, tiny):
    assert hub["first"][0] == 0, hub["first"]
    here, there = AdapterPool(hub["place"] / "pool", base=tiny), hub["place"] / "pool" / "theirs"
    assert here.names == ["theirs"]
    assert here["theirs"].card.base["name"] == "some/base"
    assert (there / "adapter.safetensors").is_file()


def test_a_file_of_the_hub_that_names_code_is_refused(hub):
    code, complaint = hub["bad"]
    assert code == 2
    assert "(pytorch_adapter.bin: it holds more than tensors, which is never read)" in complaint.splitlines()[-1]
    assert AdapterPool(hub["place"] / "pool").names == ["theirs"]


def test_with_no_network_the_cache_serves_the_base_and_one_line_says_what_it_lacks(hub, tmp_path, tiny):
    verify = ("pool", "verify", "--pool", hub["place"] / "pool")
    lacking = {"another/base": ("some/adapter", "another/base"), "another/adapter": ("another/adapter", tiny)}
    adds = [("pool", "add", name, "--base", base, "--pool", tmp_path / "pool") for name, base in lacking.values()]
    served, *refused = run(hub["place"] / "home", hub["url"], verify, *adds, HF_HUB_OFFLINE="1")
    assert served[0] == 0
    for name, (code, complaint) in zip(lacking, refused, strict=True):
        assert code == 2
        assert len(complaint.strip().splitlines()) == 1
        assert "no network" in complaint
        assert name in complaint
