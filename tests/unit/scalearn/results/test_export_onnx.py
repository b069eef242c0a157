"""An ONNX export is the whole model: onnxruntime gives its logits with nothing of this project, at every length."""

import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from scalearn import transfer
from scalearn.cli.main import main
from scalearn.results import export_onnx
from scalearn.results.export_onnx import Graph, write_onnx
from scalearn.results.predict import predict_text
from tasksel import UserError, get_task

LONG = "The pan is hot and clean, " * 12
PAIRS = [
    [("The pan is hot and clean", "The pan is clean")],
    [("Two cooks peel carrots", "Nobody peels anything"), ("a", "b"), (LONG, LONG)],
    [("a", "")],
]
SINGLES = [[first for first, _ in batch] for batch in PAIRS]
READER = """
    import json, sys
    from onnxruntime import InferenceSession
    from transformers import AutoTokenizer

    logits = {}
    for name, (folder, length, batches) in json.load(sys.stdin).items():
        tokenizer, session = AutoTokenizer.from_pretrained(folder), InferenceSession(folder + "/model.onnx")
        for batch in batches:
            texts = [list(column) for column in zip(*batch)] if isinstance(batch[0], list) else [batch]
            inputs = tokenizer(*texts, padding=True, truncation=True, max_length=length, return_tensors="np")
            (found,) = session.run(["logits"], {each.name: inputs[each.name] for each in session.get_inputs()})
            logits.setdefault(name, []).append(found.tolist())
    assert sys.modules["scalearn"] is sys.modules["tasksel"] is None
    print(json.dumps(logits))
"""


@pytest.fixture(scope="module")
def loud_results(make_base, fill, recipe, tmp_path_factory):
    """Results on bases whose weights are large, so that texts differ: of a mix, and of a fusion on a base without segments whose positions
    are counted from its padding, with a head for several labels on the mean of the tokens."""
    root = tmp_path_factory.mktemp("results")
    bert = make_base(num_hidden_layers=1, initializer_range=0.3)
    roberta = make_base("roberta", num_hidden_layers=1, initializer_range=0.3, pad_token_id=1, type_vocab_size=1)
    mean = recipe.model_copy(update={"pooling": "mean"})

    def result(name, task, method, base, recipe):
        sources = fill(root / f"pool-{name}", base, "one", "other")
        return transfer(get_task(task), sources, method=method, base=base, rows=24, recipe=recipe, out=root / name)

    return {
        "mix": result("mix", "entail_kitchen", "scalearn", bert, recipe),
        "labels": result("labels", "complaints_orders", "fusion", roberta, mean),
    }


@pytest.fixture(scope="module")
def exported(loud_results, tmp_path_factory):
    """Each result with the folder of its ONNX export; the first written by the command."""
    root = tmp_path_factory.mktemp("onnx")
    main(["export", str(loud_results["mix"].folder), "--out", str(root / "mix"), "--onnx"])
    loud_results["labels"].export_onnx(root / "labels")
    return loud_results, root


def test_onnxruntime_alone_gives_the_same_logits_at_every_length(exported, fresh_process):
    loaded, root = exported
    batches = {name: SINGLES if name == "labels" else PAIRS for name in loaded}
    asked = {name: [str(root / name), each.run.recipe.max_length, batches[name]] for name, each in loaded.items()}
    found = json.loads(fresh_process(re.sub(r"^    ", "", READER, flags=re.MULTILINE), json.dumps(asked)))
    for name, result in loaded.items():
        for batch, logits in zip(batches[name], found[name], strict=True):
            np.testing.assert_allclose(logits, result.predict(batch), atol=1e-4, rtol=0)
        assert np.ptp(np.concatenate(found[name]), axis=0).max() > 0.03  # so that another text or mask would be seen


def test_the_file_says_what_it_is_and_names_its_axes(exported):
    import onnx

    loaded, root = exported
    for name, result in loaded.items():
        model = onnx.load(root / name / "model.onnx")
        facts = {entry.key: entry.value for entry in model.metadata_props}
        assert [entry.version for entry in model.opset_import if entry.domain == ""] == [int(facts["opset"])] == [18]
        assert facts["base_fingerprint"] == result.base.fingerprint
        assert json.loads(facts["labels"]) == list(result.task.labels)
        inputs = {each.name: [axis.dim_param for axis in each.type.tensor_type.shape.dim] for each in model.graph.input}
        tokens = ["input_ids", "attention_mask"] + ["token_type_ids"] * (name != "labels")
        assert inputs == {token: ["batch", "tokens"] for token in tokens}
        config = json.loads((root / name / "config.json").read_text())
        assert config["id2label"] == {str(number): label for number, label in enumerate(result.task.labels)}
        assert config["problem_type"] == (
            "multi_label_classification" if name == "labels" else "single_label_classification"
        )


def test_the_card_states_opset_and_scores_and_no_file_a_path_of_this_machine(exported):
    loaded, root = exported
    for name, result in loaded.items():
        card = (root / name / "README.md").read_text()
        assert "`model.onnx` (opset 18)" in card
        assert "\n  - onnx\n" in card or "\n- onnx\n" in card
        assert f"{result.seeds[result.best_seed].scores[result.task.metric]:.4f}" in card
        assert float(re.search(r"largest difference (\S+)\.\n", card)[1]) < 1e-4
        texts = {path.name: path.read_bytes() for path in (root / name).iterdir()}
        assert [file for file, content in texts.items() if result.base.path.encode() in content] == []


def test_the_code_in_the_card_predicts(exported, monkeypatch, capsys):
    loaded, root = exported
    monkeypatch.chdir(root)
    for name in loaded:
        code = re.search(r"```python\n(.*?)```", (root / name / "README.md").read_text(), re.DOTALL)[1]
        exec(code, {})
        said = capsys.readouterr().out.strip()
        assert (said if name != "labels" else "[") in (*loaded[name].task.labels, "[")


def test_predict_says_that_onnxruntime_reads_it(exported):
    with pytest.raises(UserError, match=r"it holds an ONNX export: its README\.md shows how onnxruntime predicts$"):
        predict_text(exported[1] / "mix", ("a", "b"))


def test_a_file_of_other_logits_is_refused(exported):
    loaded, root = exported
    result = loaded["labels"]
    graph = Graph(result.model())
    bias = list(graph.model.heads[graph.model.active_head].children())[-1].bias
    with_more = bias.data.clone()
    try:
        bias.data += 1e-3
        with pytest.raises(
            UserError, match=r"computes other logits than the model: they differ by 0\.001 .*nothing was written"
        ):
            export_onnx._difference(graph, result, ["input_ids", "attention_mask"], root / "labels" / "model.onnx")
    finally:
        bias.data = with_more
    assert (
        export_onnx._difference(graph, result, ["input_ids", "attention_mask"], root / "labels" / "model.onnx") < 1e-4
    )


def test_what_is_not_written_is_said_before_work_begins(
    loud_results, tiny, recipe, tmp_path_factory, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.onnx.export", lambda *_args, **_options: pytest.fail("it was exported"))
    choices, out = get_task("endings_daily"), tmp_path_factory.mktemp("choices") / "result"
    choices = transfer(choices, [], method="head-only", base=tiny, rows=24, recipe=recipe, out=out)
    with pytest.raises(UserError, match=r"^'endings_daily' is multiple choice, .*; `scalearn export` without --onnx"):
        write_onnx(choices, tmp_path / "out")
    writes = SimpleNamespace(task=SimpleNamespace(kind="generation", name="chat"), seed=lambda seed: 0)
    with pytest.raises(
        UserError, match=r"^'chat' is generation, which decodes token by token: ONNX is written of a classifier"
    ):
        write_onnx(writes, tmp_path / "out")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds no ONNX export: choose another folder"):
        write_onnx(loud_results["mix"], tmp_path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"^--onnx needs the package onnxscript: pip install 'scalearn\[onnx\]'$"):
        write_onnx(loud_results["mix"], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_exporter_that_fails_is_one_line_and_leaves_nothing(loud_results, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr("torch.onnx.export", fail)
    with pytest.raises(UserError, match=r"^torch \S+ cannot write a bert as ONNX: no such operator and more$"):
        write_onnx(loud_results["mix"], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
