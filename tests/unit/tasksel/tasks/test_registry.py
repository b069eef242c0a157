"""Tests of the catalogues: every entry is a task, named, placed and scored as it should be."""

import re

import pytest
import yaml

from tasksel.errors import UserError
from tasksel.tasks.files import template_columns
from tasksel.tasks.metrics import METRICS
from tasksel.tasks.registry import CATALOG, find_tasks, get_task, get_tasks, suites
from tasksel.tasks.task import FileSource, HubSource, Task

TOPICS = ("abortion", "atheism", "climate", "feminist", "hillary")
TWEETS = ("emoji", "emotion", "hate", "irony", "offensive", "sentiment", *(f"stance_{topic}" for topic in TOPICS))
NAMES = {
    "glue": "cola sst2 mrpc stsb qqp mnli qnli rte wnli",
    "superglue": "boolq cb copa multirc record rte wic wsc",
    "humset": "sectors pillars_1d subpillars_1d pillars_2d subpillars_2d",
    "trec_is": "trec_is",
    "tweeteval": " ".join(f"tweeteval_{name}" for name in TWEETS),
}
METRIC = {  # all else is accuracy in GLUE and SuperGLUE, macro F1 elsewhere
    ("glue", "cola"): "matthews",
    ("glue", "stsb"): "pearson_spearman",
    ("superglue", "multirc"): "f1",
    ("superglue", "record"): "f1",
}
OUTPUTS = {"cb": 3, "mnli": 3, "copa": 2, "stsb": 1, "trec_is": 25, "sectors": 11, "pillars_1d": 7, "pillars_2d": 6}
OUTPUTS |= {"subpillars_1d": 33, "subpillars_2d": 18, "tweeteval_emoji": 20, "record": 2}
ALL = [task for suite in suites().values() for task in suite]


def test_every_catalogue_holds_its_tasks_in_order():
    assert {name: " ".join(suite.names) for name, suite in suites().items()} == NAMES


def test_no_entry_is_lost_to_another_of_the_same_name():
    written = {path.stem: len(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in CATALOG.glob("*.yaml")}
    assert {name: len(suite) for name, suite in suites().items()} == written


def offenders(holds):
    """The entries for which a fact does not hold, by suite and name."""
    return [f"{task.suite}/{task.name}" for task in ALL if not holds(task)]


class TestEveryEntry:
    """One test per fact; what fails lists every entry that offends."""

    def test_reads_back_from_what_it_writes(self):
        assert offenders(lambda task: Task(**task.model_dump(mode="json")) == task) == []

    def test_has_the_metric_of_its_suite(self):
        def usual(task):
            return "accuracy" if task.suite in ("glue", "superglue") else "macro_f1"

        assert offenders(lambda task: task.metric == METRIC.get((task.suite, task.name), usual(task))) == []
        assert offenders(lambda task: task.metric in METRICS) == []

    def test_says_its_licence_and_never_the_default(self):
        assert offenders(lambda task: task.licence and task.licence != "not stated") == []

    def test_names_train_and_validation_and_no_unlabelled_test_split(self):
        def splits(task):
            return task.source.splits if isinstance(task.source, HubSource) else task.source.files

        assert offenders(lambda task: "train" in splits(task)) == []
        assert offenders(lambda task: "validation" in splits(task)) == ["trec_is/trec_is"]
        with_test = {task.suite for task in ALL if "test" in splits(task)}
        assert with_test <= {"humset"}  # its test rows are labelled

    def test_pins_a_commit_or_names_the_parquet_branch(self):
        def pinned(task):
            if not isinstance(source := task.source, HubSource):
                return True
            parquet, commit = (
                source.revision == "refs/convert/parquet",
                re.fullmatch(r"[0-9a-f]{40}", source.revision or ""),
            )
            return bool(commit) != parquet and bool(source.folder) == parquet and bool(source.config) != parquet

        assert offenders(pinned) == []

    def test_renders_from_columns_that_are_not_the_label(self):
        alone = ("single_sentence_classification", "multi_label", "multiple_choice")
        assert offenders(lambda task: task.label not in template_columns(task.text)) == []
        assert offenders(lambda task: len(task.text) == (1 if task.kind in alone else 2)) == []

    def test_has_as_many_outputs_as_labels(self):
        assert offenders(lambda task: task.outputs == OUTPUTS.get(task.name, task.outputs)) == []
        assert offenders(lambda task: task.outputs >= 1) == []


def test_hub_ids_and_which_of_them_need_the_parquet_branch():
    hub = [task.source for task in ALL if isinstance(task.source, HubSource)]
    assert {source.path for source in hub} == {
        "nyu-mll/glue",
        "aps/super_glue",
        "nlp-thedeep/humset",
        "cardiffnlp/tweet_eval",
    }
    assert {source.path for source in hub if source.revision == "refs/convert/parquet"} == {"nlp-thedeep/humset"}


def test_one_suite_is_one_revision():
    for name, suite in suites().items():
        assert len({task.source.revision for task in suite if isinstance(task.source, HubSource)}) <= 1, name


def test_trec_is_asks_for_ones_own_copy():
    task = suites()["trec_is"]["trec_is"]
    assert isinstance(task.source, FileSource)
    assert "own copy" in task.note


def test_mnli_is_scored_on_matched_and_keeps_mismatched():
    splits = suites()["glue"]["mnli"].source.splits
    assert splits["validation"] == "validation_matched"
    assert splits["validation_mismatched"] == "validation_mismatched"


def test_texts_follow_the_authors_template():
    superglue = suites()["superglue"]
    assert (
        superglue["wsc"].text[0].format(span2_text="it", text="The cup broke as it fell.")
        == "it: The cup broke as it fell."
    )
    wic = superglue["wic"].text[0].format(sentence1="A bank.", sentence2="The bank.", word="bank")
    assert wic == "A bank. The bank. Does bank have the same meaning in both sentences?"
    assert superglue["record"].explode == "entities"
    assert superglue["record"].label == "answers"


def test_binary_f1_is_of_the_positive_class():
    for task in (suites()["superglue"]["multirc"], suites()["superglue"]["record"]):
        assert task.labels[1] == "True"


def test_a_suite_of_the_hub_by_name():
    assert get_tasks("glue", data="hub").names == NAMES["glue"].split()
    assert "sectors" in find_tasks("hub")


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda: get_tasks("gleu", data="hub"), "no suite 'gleu'; did you mean 'glue'?"),
        (lambda: suites()["glue"]["rt"], "no task 'rt'; did you mean 'rte'? 9 known"),
        (lambda: get_task("subpillar_1d", data="hub"), "did you mean 'subpillars_1d'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(ask, answer):
    with pytest.raises(UserError, match=re.escape(answer)):
        ask()
