"""Tests of the conformance checks: they pass what keeps its promises, and name each promise that is broken; and of the page that explains them."""

import doctest
import random
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

import tasksel.testing
from tasksel import SELECTORS, Embedder, Selector, TaskEmbedding, get_selector
from tasksel.embeddings.base import must_match
from tasksel.embeddings.conductance import Conductance
from tasksel.embeddings.connectivity import Connectivity
from tasksel.embeddings.vocabulary import Vocabulary
from tasksel.model.base import load_base
from tasksel.selection.base import SelectionCost
from tasksel.selection.baselines import Oracle
from tasksel.selection.selectors import EmbeddingSelector
from tasksel.testing import TASKS, _other_random_states, check_embedder, check_selector

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "reference" / "selectors.md").read_text()
GUIDE = (DOCS / "guides" / "add_a_selector.md").read_text()


@dataclass(frozen=True)
class Sound(Embedder):
    """Keeps every promise: counts a task's rows by their numbers of words."""

    name = "sound"
    longest: int = 30

    def arrays(self, shown):
        lengths = [min(len(" ".join(row).split()), self.longest) for row in shown.data.train.texts]
        return {"shares": np.bincount(lengths, minlength=self.longest + 1) / len(lengths)}

    def similarity(self, a, b):
        must_match(a, b)
        return 1 - float(np.abs(a.arrays["shares"] - b.arrays["shares"]).sum()) / 2


def broken(**parts):
    """A sound embedder, but for these parts."""
    return type("Broken", (Sound,), parts)()


def recording(**values):
    """An `arrays` that records these values too."""

    def arrays(self, shown):
        shown.record(**values)
        return Sound.arrays(self, shown)

    return {"arrays": arrays}


def giving(**arrays):
    """An `arrays` that adds these to the sound ones; a function is asked with what the embedder is shown."""

    def with_more(self, shown):
        added = {name: value(shown) if callable(value) else value for name, value in arrays.items()}
        return {**Sound.arrays(self, shown), **added}

    return {"arrays": with_more}


def spoil_data(shown):
    shown.data.train.labels[0] += 1
    return np.zeros(1)


def spoil_adapter(shown):
    next(iter(shown.trained.tensors.values())).mul_(2.0)
    return np.zeros(1)


def must_match_base_only(self, a, b):
    must_match(a, TaskEmbedding(b.arrays, {**b.provenance, "key": a.provenance["key"]}))
    return 1.0


def must_match_key_only(self, a, b):
    same_base = {"base_fingerprint": a.provenance["base_fingerprint"]}
    must_match(a, TaskEmbedding(b.arrays, {**b.provenance, **same_base}))
    return 1.0


def far(self, a, b):
    return 1 - Sound.similarity(self, a, b)


BROKEN = {
    "a name no file can have": ({"name": "my/method"}, r"`name` is 'my/method'; files are named by it"),
    "a key no file can have": ({"key": "a: b"}, r"`key` is 'a: b'; files are named by it"),
    "a hidden file's key": ({"key": ".hidden"}, r"`key` is '\.hidden'; files are named by it"),
    "a key that is no word": ({"key": 7}, r"`key` is 7; files are named by it"),
    "unknown needs": ({"needs": "adapters"}, r"`needs` is 'adapters'; it must be one of 'data', 'adapter'"),
    "unknown inputs": ({"inputs": "both"}, r"`inputs` is 'both'; it must be one of 'own', 'target'"),
    "an `embed` of its own": ({"embed": lambda *_, **__: {"a": 1}}, r"`embed` is overridden; write `arrays`"),
    "no dictionary": ({"arrays": lambda *_: np.zeros(3)}, r"`arrays` returns a ndarray, not a dict by name"),
    "no arrays": ({"arrays": lambda *_: {}}, r"the embedding has no arrays"),
    "a tensor": (giving(more=torch.zeros(2)), r"array 'more' is a Tensor, not a numpy array"),
    "NaN": (giving(more=np.array([1.0, np.nan])), r"array 'more' holds numbers that are NaN or infinite"),
    "objects": (giving(more=np.array([{}, {}])), r"the embedding cannot be saved and loaded \("),
    "another layout": (
        giving(more=np.arange(6).reshape(2, 3).T),
        r"the embedding cannot be saved and loaded \(.*altered",
    ),
    "provenance that JSON changes": (
        recording(steps={1: 2, "1": 3}),
        r"the provenance is another after saving and loading; `record` what JSON can say",
    ),
    "provenance that JSON cannot say": (recording(steps=np.zeros(2)), r"cannot be saved and loaded \(TypeError"),
    "another seed": (recording(seed=0), r"the provenance says seed 0, but it was 1; `record` under another name"),
    "another task": (recording(task="rte"), r"the provenance says task 'rte', but it was 'sentiment_films'"),
    "another base": (recording(base_fingerprint="0"), r"the provenance says base_fingerprint '0', but it was"),
    "data changed": (giving(more=spoil_data), r"`arrays` changes the data that it is given \(of 'sentiment_films'\)"),
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
        r"is more similar to 'sentiment_films' \(.*\) than that task to itself",
    ),
    "any base": (
        {"similarity": must_match_key_only},
        r"compares an embedding with one that was computed on another base",
    ),
    "any settings": ({"similarity": must_match_base_only}, r"with one that was computed with other settings; call"),
    "too few scores": ({"similarities": lambda *_: [1.0]}, r"`similarities` gives 1 scores for 3 sources"),
    "scores that are none": ({"similarities": lambda *_: [None] * 3}, r"`similarities` gives None \(NoneType\)"),
    "others first": (
        {"similarities": lambda *_: [0.0, 0.5, 0.1]},
        r"'entail_travel' is more similar to 'sentiment_films' \(0\.5\)",
    ),
    "the adapter unnamed": (
        {"needs": "adapter", **recording(adapter=None)},
        r"the provenance says adapter None, but it was '\w{16}'",
    ),
    "the adapter changed": (
        {"needs": "adapter", **giving(more=spoil_adapter)},
        r"`arrays` changes the adapter that it is given \(of 'sentiment_films'\)",
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
    ids=lambda embedder: f"{embedder.name}-{embedder.inputs}",
)
def test_what_keeps_its_promises_passes(tiny, folder, embedder):
    check_embedder(embedder, load_base(tiny), folder=folder)


def test_what_is_no_embedder_is_told_what_to_write(tiny, folder):
    with pytest.raises(AssertionError, match=r"dict is not a tasksel\.Embedder; write `class … \(tasksel\.Embedder\)"):
        check_embedder({}, tiny, folder=folder)


def test_an_embedder_without_an_adapter_declared_is_shown_none(tiny, folder):
    with pytest.raises(ValueError, match='only where it declares needs = "adapter"'):
        check_embedder(broken(**giving(more=spoil_adapter)), tiny, folder=folder)


def test_an_embedder_of_the_targets_rows_is_shown_those(tiny, folder):
    seen = []

    def arrays(self, shown):
        seen.append((shown.task.name, shown.data.fingerprint, shown.trained.adapter))
        return Sound.arrays(self, shown)

    parts = {"needs": "adapter", "arrays": arrays}
    check_embedder(
        broken(**parts, inputs="target", similarity=lambda self, a, b: must_match(a, b) or 1.0), tiny, folder=folder
    )
    names = ["sentiment_films", "entail_travel", "rating_hotels", "sentiment_films"]
    assert [adapter for *_, adapter in seen] == names
    assert len({shown[:2] for shown in seen}) == 1
    seen.clear()
    check_embedder(broken(**parts), tiny, folder=folder)
    assert [task for task, *_ in seen] == [adapter for *_, adapter in seen] == names


@dataclass(frozen=True)
class SoundSelector(Selector):
    """Keeps every promise: prefers sources with as many rows as the target."""

    name = "sound-selector"
    key = "sound-selector-0"

    def scores(self, target, sources):
        return [-float(abs(len(source.data.train) - len(target.data.train))) for source in sources]


def scoring(score):
    """A `scores` of one function of (target, source)."""
    return {"scores": lambda self, target, sources: [score(target, source) for source in sources]}


def costing(**values):
    """A `cost` that says these."""
    cost = SelectionCost(**{"seconds": 1.0, **values})
    return {"cost": lambda *_: cost}


def spoil_rows(target, source):
    source.data.train.labels[0] += 1
    return 0.0


def spoil_weights(target, source):
    next(iter(source.trained.tensors.values())).mul_(2.0)
    return 0.0


BROKEN_SELECTORS = {
    "a key no file can have": ({"key": "a b"}, r"`key` is 'a b'; files are named by it"),
    "unknown needs": ({"needs": "adapters"}, r"`needs` is 'adapters'; it must be one of 'data', 'adapter'"),
    "unknown target needs": ({"target_needs": "rows"}, r"`target_needs` is 'rows'; it must be one of"),
    "another word": (
        {"score_name": "distance"},
        r"`score_name` is 'distance'; it must be one of 'score', 'similarity'",
    ),
    "too few": ({"scores": lambda *_: [0.5]}, r"`scores` gives 1 scores for 2 sources"),
    "no float": (scoring(lambda *_: 1), r"`scores` gives 1 \(int\), not a finite float"),
    "NaN": (scoring(lambda *_: float("nan")), r"`scores` gives nan \(float\), not a finite float"),
    "a source's adapter": (
        scoring(lambda target, source: source.trained.seconds),
        r"`needs` is 'data', but the trained adapter of 'entail_travel' is asked for; declare 'adapter'",
    ),
    "the target's adapter": (
        {"needs": "adapter", **scoring(lambda target, source: target.trained.seconds)},
        r"`target_needs` is 'data', but the trained adapter of 'sentiment_films' is asked for; declare 'adapter'",
    ),
    "negative seconds": (costing(seconds=-1.0), r"`cost` gives -1\.0 seconds, not a number from 0 on"),
    "endless bytes": (costing(bytes=float("inf")), r"`cost` gives inf bytes, not a number from 0 on"),
    "by place": (
        {"scores": lambda self, target, sources: [float(place) for place, _ in enumerate(sources)]},
        r"the same sources in another order get other scores; a score must go with its source",
    ),
    "luck": (scoring(lambda *_: random.random()), r"draw only from generators that the target's `seed` starts"),
    "data changed": (scoring(spoil_rows), r"`scores` changes the data that it is given \(of 'entail_travel'\)"),
    "the adapter changed": (
        {"needs": "adapter", **scoring(spoil_weights)},
        r"`scores` changes the adapter that it is given \(of 'entail_travel'\)",
    ),
}


@pytest.mark.parametrize("case", BROKEN_SELECTORS)
def test_a_promise_that_a_selector_breaks_is_named(tiny, folder, case):
    parts, sentence = BROKEN_SELECTORS[case]
    with pytest.raises(AssertionError, match=sentence):
        check_selector(type("Broken", (SoundSelector,), parts)(), tiny, folder=folder)


@pytest.mark.parametrize(
    "selector",
    [
        SoundSelector(),
        EmbeddingSelector(Sound()),
        EmbeddingSelector(Conductance(rows=4, steps=1, max_length=24, inputs="target")),
        Oracle({TASKS[0]: {TASKS[1]: 0.5, TASKS[2]: 0.25}}),
        *map(get_selector, ("kind", "logme", "closed-form", "esm", "weights", "vocabulary+nce")),
    ],
    ids=lambda selector: selector.name,
)
def test_a_selector_that_keeps_its_promises_passes(tiny, folder, selector):
    check_selector(selector, load_base(tiny), folder=folder)


def test_an_embedder_is_no_selector(tiny, folder):
    with pytest.raises(AssertionError, match=r"Sound is not a tasksel\.Selector"):
        check_selector(Sound(), tiny, folder=folder)


@pytest.mark.parametrize("check", [check_embedder, check_selector], ids=lambda check: check.__name__)
def test_the_example_in_its_docstring_runs_as_it_stands(tmp_path, monkeypatch, check):
    monkeypatch.chdir(tmp_path)
    [example] = doctest.DocTestFinder().find(
        check, check.__name__, module=tasksel.testing, globs={"__name__": __name__}
    )
    assert len(example.examples) >= 9
    assert doctest.DocTestRunner().run(example).failed == 0
    assert (tmp_path / "checked").exists() == (check is check_embedder)


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
    with _other_random_states():
        other = drawn()
    assert drawn() == wanted
    assert all(a != b for a, b in zip(other, wanted, strict=True))


class TestPage:
    def test_its_python_runs_as_it_stands(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        blocks = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
        assert len(blocks) == 5
        shared = {"__name__": __name__}  # of all blocks; a dataclass looks its module up
        for block in blocks:
            exec(compile(block, "add_a_selector.md", "exec"), shared)
        shown = capsys.readouterr().out
        assert "sources for sentiment_films by word-lengths" in shown
        assert "sources for sentiment_films by same-outputs" in shown
        assert list((tmp_path / "checked").rglob("*.safetensors"))

    def test_its_tables_name_every_method_and_no_other(self):
        cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
        named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
        assert sorted(named) == sorted([*SELECTORS, "a+b"])

    def test_what_its_tables_say_of_needs_is_so(self):
        rows = [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")
        ]
        for names, _, needs, _ in rows:
            for name in re.findall(r"`([^`]+)`", names):
                if name != "a+b":
                    assert get_selector(name).needs == ("adapter" if "adapter" in needs else "data"), name
