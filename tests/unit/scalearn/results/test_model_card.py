"""The card of an export: a header the hub reads, words that cannot become markup, and code that runs as it stands."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard as HubCard
from markdown_it import MarkdownIt
from transformers import MPNetConfig, MPNetModel

from scalearn import METHODS, Recipe, transfer
from scalearn.cli.main import main
from scalearn.results.export import write_adapter
from scalearn.results.model_card import IN_LIBRARY, ModelCard, escape, header, scalearn_snippet, snippet
from tasksel import get_task
from tasksel.display.streams import printable
from tasksel.model.base import load_base
from tasksel.model.slot import FAMILIES
from tasksel.tasks.task import FileSource, HubSource

HOSTILE = "<script>x</script> | [a](http://b) `c` **d** _e_ ![f](g)\n# h &amp; $i$ ```"


def card(**change):
    told = {
        "folder": "rte-adapter",
        "task": get_task("entail_kitchen"),
        "method": "scalearn",
        "base": "some/base",
        "seed": 1,
    }
    told |= {"scores": {"accuracy": 0.75}, "max_length": 128, "model_type": "bert", "sources": {"a": 0.5, "b": -0.25}}
    return ModelCard(**{**told, **change})


def own_task(**change):
    told = get_task("entail_kitchen").model_dump() | {"source": FileSource(files={"train": "/home/me/secret.csv"})}
    return type(get_task("entail_kitchen"))(**{**told, **change})


def front(text):
    """The header, as YAML."""
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])


def blocks(text):
    """The code of a card: for plain `adapters` (where it has such a model), and for scalearn."""
    return [token.content for token in MarkdownIt().parse(text) if token.type == "fence" and token.info == "python"]


def test_the_header_is_what_the_hub_reads():
    text = str(card())
    assert front(text) == {
        "base_model": "some/base",
        "library_name": "adapter-transformers",
        "license": "unknown",
        "tags": ["adapter-transformers", "scalearn", "bert", "text-classification"],
        "model-index": [
            {
                "name": "entail_kitchen by scalearn",
                "results": [
                    {
                        "task": {"type": "text-classification"},
                        "dataset": {"name": "entail_kitchen", "type": "entail_kitchen"},
                        "metrics": [{"type": "accuracy", "value": 0.75, "name": "accuracy"}],
                    }
                ],
            }
        ],
    }
    (read,) = HubCard(text).data.eval_results  # the hub's own reader
    assert (read.metric_value, read.metric_type) == (0.75, "accuracy")


def test_a_hub_data_set_is_named_and_a_file_is_not():
    hub = HubSource(path="nyu-mll/glue", config="rte", revision="abc")
    told = front(str(card(task=own_task(source=hub, licence="CC BY 4.0"))))
    assert told["datasets"] == ["nyu-mll/glue"]
    assert told["model-index"][0]["results"][0]["dataset"] == {
        "name": "entail_kitchen",
        "type": "nyu-mll/glue",
        "config": "rte",
        "split": "validation",
        "revision": "abc",
    }
    text = str(card(task=own_task(), base="/home/me/models/my-bert"))
    assert "/home/me" not in text
    assert {"datasets", "base_model", "language"} & front(text).keys() == set()
    assert "a local folder, my-bert" in text


def test_metrics_go_by_the_hubs_names():
    task = own_task(metric="matthews")
    (metric,) = front(str(card(task=task, scores={"matthews": np.float64(0.5)})))["model-index"][0]["results"][0][
        "metrics"
    ]
    assert metric == {"type": "matthews_correlation", "value": 0.5, "name": "matthews"}


def test_the_licence_of_the_data_is_the_tasks_own_or_unknown():
    assert "Licence of the data: unknown." in str(card(task=own_task(licence="not stated")))
    assert "Licence of the data: CC BY-SA 3.0." in str(card(task=own_task(licence="CC BY-SA 3.0")))
    assert "Licence of this adapter: unknown" in str(card())


def test_scores_weights_and_versions_are_told():
    text = str(card(seed_scores={0: 0.5, 1: 0.75}, versions={"torch": "2.1"}))
    for line in ("| accuracy | 0.7500 |", "| 0 | 0.5000 |", "| 1 | 0.7500 |", "| a | 0.5000 |", "| b | -0.2500 |"):
        assert line in text.splitlines()
    assert "Versions: torch 2.1." in text
    assert "scalearn export" not in text, "what was called may name what is nobody else's business"
    plain = str(card(sources={"a": None}, seed_scores={1: 0.75}))
    assert "| a |" in plain.splitlines()
    assert "Every seed" not in plain
    assert "Sources" not in str(card(sources={}))


def test_names_that_users_chose_are_never_markup():
    task = own_task(labels=("no", HOSTILE), licence=HOSTILE)
    text = str(
        card(
            task=task,
            sources={HOSTILE: 0.5},
            folder='a```b"c',
            base=f"/x/{HOSTILE}",
            versions={"torch": HOSTILE},
        )
    )
    front(text)
    found = MarkdownIt("commonmark").enable("table").parse(text.split("---\n", 2)[2])
    inside = [child.type for token in found for child in token.children or ()]
    assert not {"html_inline", "image", "em_open", "strong_open"} & set(inside)
    assert inside.count("link_open") == 1  # our own, to the library
    assert inside.count("code_inline") == 5  # ours: pip, transformers, pipeline, pip, adapters; nothing of theirs
    assert "html_block" not in {token.type for token in found}
    assert [token.tag for token in found if token.type == "heading_open"] == ["h1", *["h2"] * 5]
    assert sum(token.type == "tr_open" for token in found) == 4  # two tables of a head and a row
    assert [token.type for token in found].count("fence") == 2
    for block in blocks(text.split("---\n", 2)[2]):
        compile(block, "card", "exec")
    (alone,) = blocks(str(card(model_type=HOSTILE, task=task)).split("---\n", 2)[2])
    assert "adapters" not in alone


STEERING = "\x1b[31mred\x1b[0m\r\n---\nlicense: mit\u202eevil\u2028\x00\x9b2J"


@pytest.mark.parametrize(
    "name",
    [STEERING, "\n---\nlicense: mit\n---\n", "---", ": [", "- a\n- b", "\ud800", "!!python/object:x", "\x27\x22"],
)
def test_no_name_ends_the_header_or_steers_a_terminal(name):
    task = own_task(labels=("no", name), licence=name)
    object.__setattr__(task, "name", name)  # whatever a task may be called one day
    text = str(card(task=task, sources={name: 0.5}, folder=name, versions={"torch": name}, base=f"/x/{name}"))
    assert text.encode()
    assert printable(text) == text
    (before, _, after) = re.match(r"(---\n.*?\n)(---)(\n.*)", text, re.DOTALL).groups()
    told = yaml.safe_load(before)
    assert told["license"] == "unknown"
    assert told.keys() == {"library_name", "license", "tags", "model-index"}
    assert told["model-index"][0]["name"].endswith(" by scalearn")
    assert HubCard(text).data.license == "unknown"
    found = MarkdownIt("commonmark").enable("table").parse(after)
    assert [token.tag for token in found if token.type == "heading_open"] == ["h1", *["h2"] * 5]
    assert not {"hr", "html_block", "bullet_list_open"} & {token.type for token in found}
    namespace = {}
    lines = [line for line in blocks(after)[0].splitlines() if line.startswith("labels = ")]
    exec("\n".join(lines), namespace)
    assert namespace["labels"] == ["no", name]


def test_an_address_or_a_name_is_no_link():
    assert escape("http://x.org www.x.org a@b.c @me") == r"http\://x.org www\.x.org a\@b.c \@me"


def test_escaping_leaves_plain_words_alone():
    assert escape("entail_kitchen, 3-way (v1.2)") == "entail_kitchen, 3-way (v1.2)"
    assert escape("_a_ b*") == r"\_a\_ b\*"
    assert escape("two\nlines") == "two lines"


def test_an_alias_is_found_in_its_package_and_a_revision_is_kept():
    namespace = {}
    lines = snippet(card(base="minilm")).splitlines()
    exec("\n".join(line for line in lines if line.startswith(("from importlib", "from pathlib", "base ="))), namespace)
    assert (Path(namespace["base"]) / "config.json").is_file()
    assert 'from_pretrained(base, revision="v2")' in snippet(card(base="some/base@v2"))
    assert header(card(base="some/base@v2")).base_model == "some/base"
    assert header(card(base="minilm")).base_model is None


def test_the_snippet_runs_as_plain_adapters_code_for_every_kind(kinds, fresh_process, tmp_path, library):
    codes = []
    for kind, result in kinds.items():
        folder = result.export(tmp_path / kind.replace(" ", "-"))
        codes.append(blocks((folder / "README.md").read_text())[0])
        base = Path(result.base.path)
    (tmp_path / base.name).symlink_to(base)
    said = dict(zip(kinds, fresh_process("\n".join(codes), cwd=tmp_path).splitlines(), strict=True))
    pair = kinds["pair"].predict([("A text", "The other text")])
    assert said["pair"] == kinds["pair"].task.labels[int(pair.argmax())]
    assert float(said["number"]) == pytest.approx(float(kinds["number"].predict(["A text"])[0, 0]), abs=1e-5)
    choices = kinds["choices"].predict([("A text", ["choice 1", "choice 2", "choice 3"])])
    assert int(said["choices"]) == int(choices.argmax())


def test_the_snippet_of_scalearn_runs_without_adapters_for_every_kind(kinds, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "adapters", None)  # whoever imports it fails
    monkeypatch.chdir(tmp_path)
    texts = {"pair": [("A text", "The other text")], "choices": [("A text", ["choice 1", "choice 2", "choice 3"])]}
    for kind, result in kinds.items():
        folder = result.export(tmp_path / kind.replace(" ", "-"))
        (tmp_path / Path(result.base.path).name).unlink(missing_ok=True)
        (tmp_path / Path(result.base.path).name).symlink_to(result.base.path)
        capsys.readouterr()
        exec(blocks((folder / "README.md").read_text())[1], {})
        printed, (logits,) = capsys.readouterr().out.strip(), result.predict(texts.get(kind, ["A text"]))
        labels = result.task.labels
        if kind == "number":
            assert float(printed) == pytest.approx(float(logits[0]), abs=1e-5)
        elif kind == "several labels":
            assert printed == str([label for label, logit in zip(labels, logits, strict=True) if logit > 0])
        else:
            assert printed == (labels[int(logits.argmax())] if labels else str(int(logits.argmax())))


@pytest.mark.parametrize(("base", "call"), [("minilm", ""), ("some/base@v2", ""), ("/x/my-bert", ", base=base")])
def test_the_snippet_of_scalearn_names_a_base_only_where_the_export_cannot(base, call):
    text = scalearn_snippet(card(base=base))
    assert f'["A text", "The other text"]{call})' in text
    assert ('base = "my-bert"' in text) == bool(call)


def test_a_base_that_the_library_lacks_has_the_snippet_of_scalearn_alone():
    text = str(card(model_type="mpnet"))
    (block,) = blocks(text)
    assert block == scalearn_snippet(card())
    assert "Plain `adapters` has no model of the type mpnet, so it cannot load this one." in text
    assert front(text)["library_name"] == "scalearn"
    assert front(text)["tags"] == ["scalearn", "mpnet", "text-classification"]


def test_every_base_but_mpnet_is_in_the_library(library):
    assert {*IN_LIBRARY, "mpnet"} == set(FAMILIES)
    known = import_module(f"{library.__name__}.models.auto.adapter_model").ADAPTER_MODEL_MAPPING_NAMES
    assert {kind for kind in FAMILIES if kind in known} == set(IN_LIBRARY)


def test_a_package_that_was_not_installed_is_not_listed():
    text = str(card(versions={"torch": "2.1", "adapters": "not installed"}))
    assert "Versions: torch 2.1." in text


def test_an_export_tells_its_weights_and_every_seed_that_it_is_told(results, tmp_path):
    result = results["scalearn"]
    text = (result.export(tmp_path / "one", seed=1) / "README.md").read_text()
    for name, weight in zip(result.run.sources, result.omega(seed=1).mean(axis=(0, 2)), strict=True):
        assert f"| {name} | {weight:.4f} |" in text
    assert "Seed 1, which is this adapter, on the public validation set:" in text
    told = {
        "method": "scalearn",
        "sources": list(result.run.sources),
        "seed": 0,
        "max_length": 32,
        "scores": {"accuracy": 0.5},
    }
    told |= {"seed_scores": {0: 0.5, 1: 0.25}, "versions": {"torch": "9"}}
    write_adapter(
        result.model(seed=0),
        result.base,
        result.task,
        METHODS["scalearn"],
        result.run.adapter_config,
        tmp_path / "two",
        told,
    )
    text = (tmp_path / "two" / "README.md").read_text()
    assert "| 1 | 0.2500 |" in text
    assert "Versions: torch 9." in text


def test_an_export_of_a_method_without_a_mix_names_sources_without_weights(results, tmp_path):
    text = (results["sequential"].export(tmp_path / "out") / "README.md").read_text()
    assert f"| {next(iter(results['sequential'].run.sources))} |\n" in text
    assert "mean weight" not in text
    assert json.loads((tmp_path / "out" / "scalearn.json").read_text())["files"].keys() >= {"adapter_config.json"}


def test_an_export_for_an_mpnet_is_for_scalearn_alone(tmp_path, capsys, monkeypatch):
    """The library has no MPNet: neither the command nor the card shows its code; predict and push take the export."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = MPNetModel(MPNetConfig(vocab_size=30522, pad_token_id=0, max_position_embeddings=64, **sizes))
    model.save_pretrained(tmp_path / "mpnet")
    load_base("minilm").tokenizer.save_pretrained(tmp_path / "mpnet")
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(lr=1e-3, epochs=1, batch=8, max_length=24)
    target = get_task("entail_kitchen")
    result = transfer(target, [], method="single-adapter", base="mpnet", rows=16, recipe=recipe, out="result")
    capsys.readouterr()
    assert main(["export", "result", "--out", "adapter"]) == 0
    assert capsys.readouterr().out.strip() == (
        "exported to adapter, for `scalearn predict`; plain `adapters` has no model for its base"
    )
    (code,) = blocks(Path("adapter/README.md").read_text())
    exec(code, {})
    (logits,) = result.predict([("A text", "The other text")])
    assert capsys.readouterr().out.strip() == target.labels[int(logits.argmax())]
    assert main(["push", "adapter", "--to", "me/adapter"]) == 0
    assert "nothing was sent" in capsys.readouterr().out
