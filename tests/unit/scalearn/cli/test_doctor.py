"""The doctor finds what is there, and names a pool that is broken."""

import importlib.metadata
import re
import shutil
from collections import namedtuple

import pytest
import torch

from scalearn.cli.doctor import NEEDED_GB, checks


def by_name(pool=None):
    return {check.name: check for check in checks(pool)}


def test_a_sound_machine_and_pool_are_well(pool):
    found = by_name(pool.folder)
    assert all(check.ok for check in found.values())
    assert torch.__version__.split("+")[0] in found["packages"].result
    assert "6 layers, 384 wide" in found["packaged encoder"].result
    assert all(name in found["pool"].result for name in pool.names)
    assert re.search(r"MB of \d+ data sets.*, in .*data; delete it to free them", found["data cache"].result)


@pytest.mark.parametrize(
    ("transformers", "adapters", "said"),
    [
        ("4.57.6", "1.3.0", "with adapters 1.3.0: exports can also be loaded by plain `adapters`"),
        ("5.24.0", None, "without adapters: every command works; the extra (pip install 'scalearn[adapters]', which takes transformers 4.57) adds"),
        ("4.57.6", None, "without adapters: every command works"),
        ("5.24.0", "1.3.0", "adapters 1.3.0 takes transformers 4.57 and does not work beside it"),
    ],
)  # fmt: skip
def test_the_line_in_use_is_named_with_what_the_extra_adds(monkeypatch, transformers, adapters, said):
    real = importlib.metadata.version

    def version(package):
        if package == "adapters" and adapters is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return {"transformers": transformers, "adapters": adapters}.get(package) or real(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = by_name()
    assert f"transformers {transformers}" in found["adapters library"].result
    assert said in found["adapters library"].result
    assert found["adapters library"].ok
    assert f"adapters {adapters or 'not installed'}" in found["packages"].result


@pytest.mark.parametrize(
    ("ray", "said"),
    [("2.60.0", "ray 2.60.0: `scalearn compare --on ray` works"), (None, "pip install 'scalearn[ray]'")],
)
def test_it_says_whether_a_cluster_can_be_used(monkeypatch, ray, said):
    real = importlib.metadata.version

    def version(package):
        if package == "ray" and ray is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return ray if package == "ray" else real(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert said in by_name()["cluster"].result


def test_without_a_pool_none_is_looked_at():
    assert "pool" not in by_name()


def test_a_damaged_pool_is_a_problem_and_the_file_is_named(own_pool):
    (own_pool["grammar_garden"].folder / "adapter.safetensors").unlink()
    check = by_name(own_pool.folder)["pool"]
    assert not check.ok
    assert "grammar_garden/adapter.safetensors is missing" in check.result


def test_a_pool_that_is_not_there_is_a_problem(tmp_path):
    assert not by_name(tmp_path / "none")["pool"].ok


def test_a_full_disk_is_a_problem(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, int((NEEDED_GB - 0.5) * 2**30)))
    assert by_name()["disk"].ok is False
    assert "1.5 GB free" in by_name()["disk"].result


def test_a_missing_encoder_is_said_with_what_installs_it(monkeypatch):
    import importlib.util

    from tasksel.model.base import load_base

    load_base.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    try:
        check = by_name()["packaged encoder"]
    finally:
        load_base.cache_clear()
    assert not check.ok
    assert "pip install" in check.result
