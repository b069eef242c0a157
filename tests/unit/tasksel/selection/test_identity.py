"""A selector whose settings or version changed under the same name is another one in keys."""

from tasksel import SELECTORS, Selector
from tasksel.embeddings.text import Text
from tasksel.selection.identity import RELEASED, selector_identity
from tasksel.selection.selectors import EmbeddingSelector


def test_the_selectors_of_version_0_1_are_known_by_their_names_alone():
    assert {name: selector_identity(name) for name in RELEASED} == {name: name for name in RELEASED}
    assert selector_identity("text+vocabulary+leep") == "text+vocabulary+leep"


def test_a_default_that_changes_is_another_identity(monkeypatch):
    monkeypatch.setitem(SELECTORS, "text", lambda: EmbeddingSelector(Text(rows=7), "text"))
    name, (settings,) = selector_identity("text")
    assert (name, settings["embedder"]["rows"]) == ("text", 7)
    assert selector_identity("leep+text")[0] == "leep+text"
    assert selector_identity("leep") == "leep"


def test_a_version_that_is_raised_is_another_identity_and_another_key_of_embeddings(monkeypatch):
    key = Text().key
    monkeypatch.setattr(Text, "version", 2)
    assert selector_identity("text") != "text"
    assert Text().key != key
    monkeypatch.setattr(type(SELECTORS["leep"]()), "version", 2)
    assert selector_identity("leep")[1][0]["version"] == 2


def test_a_selector_that_is_no_dataclass_is_known_by_its_key(monkeypatch):
    class Mine(Selector):
        name = "mine"
        key = "mine-3"

        def scores(self, target, sources):
            return [0.0 for _ in sources]

    monkeypatch.setitem(SELECTORS, "mine", Mine)
    assert selector_identity("mine") == ["mine", [{"class": "Mine", "version": 1, "key": "mine-3"}]]
