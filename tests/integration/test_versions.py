"""Both sets of tested versions fit what the package declares, and one of them goes without the `adapters` library."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}


def pins(file):
    """The versions of a file of constraints, by package."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-next.txt"])
def test_tested_versions_are_within_what_is_declared(file):
    versions = pins(file)
    wanted = [*DECLARED, *(each for extra in EXTRAS.values() for each in extra)]
    outside = [str(each) for each in wanted if each.name in versions and versions[each.name] not in each.specifier]
    assert outside == []
    for name in ("torch", "transformers", "datasets", "huggingface_hub", "accelerate", "safetensors", "numpy"):
        assert name in versions, name


def test_adapters_is_an_extra_that_everything_takes_in_and_the_newest_versions_do_without():
    assert "adapters" not in {each.name for each in DECLARED} | {each.name for each in EXTRAS["dev"]}
    assert [each.name for each in EXTRAS["adapters"]] == ["adapters"]
    (everything,) = EXTRAS["all"]
    assert everything.extras == EXTRAS.keys() - {"all", "dev", "docs"}
    assert "adapters" in pins("constraints.txt")
    assert "adapters" not in pins("constraints-next.txt")


def test_the_newest_versions_are_newer_and_both_are_tested():
    one, other = pins("constraints.txt"), pins("constraints-next.txt")
    for name in ("torch", "transformers", "datasets", "huggingface_hub", "tokenizers"):
        assert [int(part) for part in other[name].split(".")] > [int(part) for part in one[name].split(".")], name
    checks = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in checks if "test.sh" in line] == [
        "bash scripts/test.sh --durations=25",
        "bash scripts/test.sh --next",
    ]
