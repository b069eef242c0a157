"""Tests of the conformance check: it passes what keeps its promises, and names each promise that is broken; and of the page that explains it."""

import random
import re
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from tasksel import EMBEDDERS, TaskEmbedding
from tasksel.embeddings.base import made_of, must_match
from tasksel.embeddings.conductance import Conductance
from tasksel.embeddings.connectivity import Connectivity
from tasksel.embeddings.vocabulary import Vocabulary
from tasksel.errors import UserError
from tasksel.model.base import load_base
from tasksel.selection.selectors import SELECTORS, get_selector
from tasksel.testing import _other_luck, check_embedder

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "selectors.md").read_text()


@dataclass(frozen=True)
class Sound:
    """Keeps every promise: counts a task's rows by their numbers of words."""

    name: ClassVar[str] = "sound"
    needs: ClassVar[str] = "data"
    longest: int = 30

    @property
    def key(self):
        return f"{self.name}-{self.longest}"

    def arrays(self, data, seed, trained):
        lengths = [min(len(" ".join(row).split()), self.longest) for row in data.train.texts]
        return {"shares": np.bincount(lengths, minlength=self.longest + 1) / len(lengths)}

    def embed(self, task, data, base, *, seed=0, trained=None):
        if self.needs == "adapter" and trained is None:
            raise UserError(f"{self.name} needs a trained adapter")
        options = {"settings": asdict(self), "seed": seed, "seconds": 0.0, "trained": trained}
        return TaskEmbedding(self.arrays(data, seed, trained), made_of(self, task, data, base, **options))

    def similarity(self, a, b):
        must_match(a, b)
        return 1 - float(np.abs(a.arrays["shares"] - b.arrays["shares"]).sum()) / 2


def broken(**parts):
    """A sound embedder, but for these parts."""
    return type("Broken", (Sound,), parts)()


LEFT_OUT = object()


def made_with(**changed):
    """An `embed` whose provenance says something else, or, of a field that is left out, nothing."""

    def embed(self, *given, seed=0, trained=None):
        found = Sound.embed(self, *given, seed=seed, trained=trained)
        made = {**found.made, **changed}
        return TaskEmbedding(found.arrays, {field: value for field, value in made.items() if value is not LEFT_OUT})

    return {"embed": embed}


def giving(**arrays):
    """An `arrays` that adds these to the sound ones; a function is asked with (data, seed, trained)."""

    def made(self, data, seed, trained):
        added = {name: value(data, seed, trained) if callable(value) else value for name, value in arrays.items()}
        return {**Sound.arrays(self, data, seed, trained), **added}

    return {"arrays": made}


def spoil_data(data, seed, trained):
    data.train.labels[0] += 1
    return np.zeros(1)


def spoil_adapter(data, seed, trained):
    next(iter(trained.tensors.values())).mul_(2.0)
    return np.zeros(1)


def must_match_base_only(self, a, b):
    must_match(a, TaskEmbedding(b.arrays, {**b.made, "key": a.made["key"]}))
    return 1.0


def must_match_key_only(self, a, b):
    must_match(a, TaskEmbedding(b.arrays, {**b.made, "base_fingerprint": a.made["base_fingerprint"]}))
    return 1.0


def fall_over(self, *given, seed=0, trained=None):
    raise AttributeError("'NoneType' object has no attribute 'tensors'")


def far(self, a, b):
    return 1 - Sound.similarity(self, a, b)


BROKEN = {
    "a name no file can have": ({"name": "my/method"}, r"`name` is 'my/method'; files are named by it"),
    "a key no file can have": ({"key": "a: b"}, r"`key` is 'a: b'; files are named by it"),
    "a hidden file's key": ({"key": ".hidden"}, r"`key` is '\.hidden'; files are named by it"),
    "a key that is no word": ({"key": 7}, r"`key` is 7; files are named by it"),
    "unknown needs": ({"needs": "adapters"}, r"`needs` is 'adapters'; it must be one of 'data', 'adapter'"),
    "not an embedding": ({"embed": lambda *_, **__: {"a": 1}}, r"`embed` returns a dict, not a TaskEmbedding"),
    "no arrays": ({"arrays": lambda *_: {}}, r"the embedding has no arrays"),
    "a tensor": (giving(more=torch.zeros(2)), r"array 'more' is a Tensor, not a numpy array"),
    "NaN": (giving(more=np.array([1.0, np.nan])), r"array 'more' holds numbers that are NaN or infinite"),
    "objects": (giving(more=np.array([{}, {}])), r"the embedding cannot be saved and loaded \("),
    "another layout": (giving(more=np.arange(6).reshape(2, 3).T), r"the arrays are others after saving and loading"),
    "provenance that JSON changes": (made_with(steps={1: 2, "1": 3}), r"`made` is another after saving and loading"),
    "provenance that JSON cannot say": (made_with(steps=np.zeros(2)), r"cannot be saved and loaded \(TypeError"),
    "no version": (made_with(version=LEFT_OUT), r"`made` does not say 'version'; give it what"),
    "no settings": (made_with(settings=LEFT_OUT), r"`made` does not say 'settings'"),
    "another seed": (made_with(seed=0), r"`made` says seed 0, but it was 1; give it what"),
    "another task": (made_with(task="rte"), r"`made` says task 'rte', but it was 'sentiment_films'"),
    "another base": (made_with(base_fingerprint="0"), r"`made` says base_fingerprint '0', but it was"),
    "data changed": (giving(more=spoil_data), r"`embed` changes the data that it is given \(of 'sentiment_films'\)"),
    "another length": (
        giving(more=lambda *_, lengths=count(2): np.zeros(next(lengths))),
        r"give another embedding the second time",
    ),
    "torch's luck": (
        giving(more=lambda *_: torch.rand(2).numpy()),
        r"give another embedding the second time; draw only",
    ),
    "numpy's luck": (giving(more=lambda *_: np.random.rand(2)), r"give another embedding the second time"),
    "python's luck": (giving(more=lambda *_: np.array([random.random()])), r"give another embedding the second time"),
    "no float": ({"similarity": lambda *_: 1}, r"`similarity` gives 1 \(int\), not a finite float"),
    "no finite float": (
        {"similarity": lambda *_: float("nan")},
        r"`similarity` gives nan \(float\), not a finite float",
    ),
    "distance for similarity": (
        {"similarity": far},
        r"lies nearer to 'sentiment_films' \(.*\) than that task to itself",
    ),
    "any base": ({"similarity": must_match_key_only}, r"compares an embedding with one that was made on another base"),
    "any settings": ({"similarity": must_match_base_only}, r"with one that was made with other settings; call"),
    "too few scores": ({"similarities": lambda *_: [1.0]}, r"`similarities` gives 1 scores for 3 sources"),
    "scores that are none": ({"similarities": lambda *_: [None] * 3}, r"`similarities` gives None \(NoneType\)"),
    "others first": (
        {"similarities": lambda *_: [0.0, 0.5, 0.1]},
        r"'entail_travel' lies nearer to 'sentiment_films' \(0\.5\)",
    ),
    "no adapter asked for": (
        {"needs": "adapter", "embed": lambda *_, **__: None},
        r"`needs` is 'adapter', but without one \(trained=None\) `embed` goes on; it must raise UserError",
    ),
    "an adapter asked for by falling over": (
        {"needs": "adapter", "embed": fall_over},
        r"without one \(trained=None\) `embed` raises AttributeError; it must raise UserError",
    ),
    "the adapter unnamed": (
        {"needs": "adapter", **made_with(adapter=None)},
        r"`made` says adapter None, but it was '\w{16}'",
    ),
    "the adapter changed": (
        {"needs": "adapter", **giving(more=spoil_adapter)},
        r"`embed` changes the adapter that it is given \(of 'sentiment_films'\)",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all, so that adapters are trained once."""
    return tmp_path_factory.mktemp("checked")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_promise_is_named(tiny, folder, case):
    parts, sentence = BROKEN[case]
    with pytest.raises(AssertionError, match=sentence):
        check_embedder(broken(**parts), tiny, folder=folder)


@pytest.mark.parametrize(
    "embedder",
    [
        Sound(),
        broken(needs="adapter"),
        broken(similarities=lambda self, sources, target: [self.similarity(source, target) for source in sources]),
        Connectivity(max_steps=2, batch=8, max_length=32),
        Vocabulary(),
        Conductance(rows=4, steps=1, max_length=24),
        Conductance(rows=4, steps=1, max_length=24, inputs="target"),
    ],
    ids=lambda embedder: f"{embedder.name}-{getattr(embedder, 'inputs', 'own')}",
)
def test_what_keeps_its_promises_passes(tiny, folder, embedder):
    check_embedder(embedder, load_base(tiny), folder=folder)


def test_an_embedder_of_the_targets_rows_is_shown_those(tiny, folder):
    seen = []

    def embed(self, task, data, base, *, seed=0, trained=None):
        if trained:
            seen.append((task.name, data.fingerprint, trained.adapter))
        return Sound.embed(self, task, data, base, seed=seed, trained=trained)

    parts = {"needs": "adapter", "embed": embed}
    check_embedder(
        broken(**parts, inputs="target", similarity=lambda self, a, b: must_match(a, b) or 1.0), tiny, folder=folder
    )
    names = ["sentiment_films", "entail_travel", "rating_hotels", "sentiment_films"]
    assert [adapter for *_, adapter in seen] == names
    assert len({shown[:2] for shown in seen}) == 1
    seen.clear()
    check_embedder(broken(**parts), tiny, folder=folder)
    assert [task for task, *_ in seen] == [adapter for *_, adapter in seen] == names


def test_the_check_leaves_the_random_generators_as_they_were():
    def drawn():
        return torch.rand(1).item(), np.random.rand(), random.random()

    def start():
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)

    start()
    wanted = drawn()
    start()
    with _other_luck():
        other = drawn()
    assert drawn() == wanted
    assert all(a != b for a, b in zip(other, wanted, strict=True))


class TestPage:
    def test_its_python_runs_as_it_stands(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
        assert len(blocks) == 3
        shared = {"__name__": __name__}  # of all blocks; a dataclass looks its module up
        for block in blocks:
            exec(compile(block, "selectors.md", "exec"), shared)
        assert "sources for sentiment_films by word-lengths" in capsys.readouterr().out
        assert list((tmp_path / "checked").rglob("*.safetensors"))

    def test_its_tables_name_every_method_and_no_other(self):
        cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
        named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
        assert sorted(named) == sorted([*EMBEDDERS, *SELECTORS, "a+b"])

    def test_what_its_tables_say_of_needs_is_so(self):
        rows = [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")
        ]
        for names, _, needs, _ in rows:
            for name in re.findall(r"`([^`]+)`", names):
                if name != "a+b":
                    assert get_selector(name).needs == ("adapter" if "adapter" in needs else "data"), name
