"""The built-in suite: sizes, balance, determinism, no leak, and no shortcut by keyword, bag of words or overlap."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from typing import get_args

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tasksel.errors import UserError
from tasksel.tasks.builtin import FAMILIES, ROWS, builtin_rows, builtin_tasks
from tasksel.tasks.task import BuiltinSource, Kind

TASKS = {task.name: task for task in builtin_tasks()}
CLASSIFICATION = [name for name, task in TASKS.items() if task.kind.endswith("classification")]
PAIRS = [name for name, task in TASKS.items() if task.kind == "pair_classification"]
COMPOSITIONAL = [name for name in CLASSIFICATION if name != "question_type"]
KEYWORD_BOUND = {2: 0.60, 5: 0.45}  # by number of classes; chance is 0.50 and 0.20


@cache
def rows_of(name):
    splits = builtin_rows(name)
    return splits["train"] + splits["validation"]


def words_in(text):
    return set(re.findall(r"[\w'-]+", text.lower()))


def features(name):
    """Each row's words; in a pair, marked with the sentence that they stand in."""
    return [
        {f"{column}:{word}" for column in TASKS[name].text for word in words_in(row[column])} for row in rows_of(name)
    ]


def labels_of(name):
    return np.array([row["label"] for row in rows_of(name)])


def rule_accuracy(present, labels):
    """The accuracy of the best rule "one class where it is present, one where it is not"."""
    return sum(np.bincount(part).max() for part in (labels[present], labels[~present]) if len(part)) / len(labels)


def best_word(rows, labels):
    """The accuracy of the best rule by one word's presence, and the word."""
    return max((rule_accuracy(np.array([word in row for row in rows]), labels), word) for word in set().union(*rows))


def overlap(name):
    first, second = TASKS[name].text
    pairs = [(words_in(row[first]), words_in(row[second])) for row in rows_of(name)]
    return np.array([len(one & two) / len(one | two) for one, two in pairs])


def test_the_suite_has_all_kinds_but_generation_and_at_least_twelve_tasks():
    assert len(TASKS) >= 12
    assert {task.kind for task in TASKS.values()} == set(get_args(Kind)) - {"generation"}
    assert {task.suite for task in TASKS.values()} == {"builtin"}


def test_families_cover_every_task_once():
    assert sorted(name for names in FAMILIES.values() for name in names) == sorted(TASKS)
    assert sum(len(names) == 1 for names in FAMILIES.values()) >= 2  # some tasks have no kin


def test_the_seed_goes_into_the_source_and_so_into_the_fingerprint():
    (first, *_), (second, *_) = builtin_tasks(seed=0), builtin_tasks(seed=5)
    assert second.source == BuiltinSource(seed=5)
    assert first.fingerprint != second.fingerprint


def test_rows_have_the_columns_and_sizes_that_the_task_tells():
    for name, task in TASKS.items():
        splits, columns = builtin_rows(name), {*task.text, "label", *(["choices"] if task.choices else [])}
        assert {split: len(rows) for split, rows in splits.items()} == ROWS == {"train": 600, "validation": 200}, name
        assert all(set(row) == columns for rows in splits.values() for row in rows), name


def test_sentences_are_readable():
    def readable(text):  # no slot left open, no form left unchosen
        return text[0].isupper() and text[-1] in ".?…" and not re.search(r"[{}/|]|\s\s", text)

    texts = [(name, row[column]) for name in TASKS for row in rows_of(name) for column in TASKS[name].text]
    assert [(name, text) for name, text in texts if not readable(text)] == []


def test_no_text_of_validation_occurs_in_train():
    offenders = []
    for name, task in TASKS.items():
        train, validation = ([row[task.text[0]] for row in builtin_rows(name)[split]] for split in ROWS)
        if set(train) & set(validation) or len(set(train)) < len(train):
            offenders.append(name)
    assert offenders == []


def balanced(task, labels):
    """Whether no value, label or class is met much more often than another."""
    if task.kind == "regression":
        return len(set(labels)) >= 6 and max(np.unique(labels, return_counts=True)[1]) < 0.35 * len(labels)
    if task.kind == "multi_label":
        return labels.shape[1] == len(task.labels) and (np.abs(labels.mean(0) - 0.45) < 0.1).all()
    counts = np.bincount(labels, minlength=task.outputs)
    return len(counts) == task.outputs and max(counts) - min(counts) <= 1


def test_labels_are_balanced():
    splits = [(name, split, builtin_rows(name)[split]) for name in TASKS for split in ROWS]
    assert [f"{name}/{split}" for name, split, rows in splits
            if not balanced(TASKS[name], np.array([row["label"] for row in rows]))] == []  # fmt: skip


def test_no_single_word_gives_the_class_away():
    best = {name: best_word(features(name), labels_of(name)) for name in CLASSIFICATION}
    assert {name: rule for name, rule in best.items() if rule[0] >= KEYWORD_BOUND[TASKS[name].outputs]} == {}


def test_no_single_word_gives_a_complaint_away():
    labels, rows = labels_of("complaints_orders"), features("complaints_orders")
    for side in range(labels.shape[1]):
        assert best_word(rows, labels[:, side])[0] < 0.70


def test_a_bag_of_words_does_not_solve_what_needs_composition():
    size, accuracy = ROWS["train"], {}
    for name in COMPOSITIONAL:
        words, labels = CountVectorizer(analyzer=sorted).fit_transform(features(name)), labels_of(name)
        model = LogisticRegression(max_iter=500).fit(words[:size], labels[:size])
        accuracy[name] = model.score(words[size:], labels[size:])
    assert {name: value for name, value in accuracy.items() if value >= 0.85} == {}


def test_word_overlap_does_not_solve_a_pair_task():
    best = {}
    for name in PAIRS:
        shared, labels = overlap(name), labels_of(name)
        best[name] = max(rule_accuracy(shared > bound, labels) for bound in np.unique(shared))
    assert {name: value for name, value in best.items() if value >= 0.70} == {}


def test_word_overlap_does_not_solve_the_similarity_task():
    assert pearsonr(overlap("similarity_market"), labels_of("similarity_market"))[0] < 0.75


def test_an_ending_is_right_as_often_as_it_is_wrong():
    """Each ending answers its own situation, and stands as a wrong choice for others: the ending alone says little."""
    offered, right = {}, {}
    for row in rows_of("endings_daily"):
        for index, choice in enumerate(row["choices"]):
            offered[choice] = offered.get(choice, 0) + 1
            right[choice] = right.get(choice, 0) + (index == row["label"])
    assert max(right[choice] / offered[choice] for choice in offered) < 0.6  # chance is one third
    assert min(right.values()) > 0


def test_denial_occurs_evenly_in_both_classes():
    for name in ("sentiment_films", "sentiment_restaurants", "sentiment_phones", "entail_travel", "entail_kitchen"):
        column, labels = TASKS[name].text[-1], labels_of(name)
        denied = np.array(
            [bool(words_in(row[column]) & {"not", "never", "nobody", "far", "anything"}) for row in rows_of(name)]
        )
        assert denied.mean() > 0.1
        assert abs(denied[labels == 0].mean() - denied[labels == 1].mean()) < 0.1


def test_kin_share_no_noun_that_names_their_domain():
    """The same skill in different domains: what the films and the phones have in common is opinion, not topic."""
    parts = [set().union(*features(name)) for name in FAMILIES["opinions"][:3]]
    for own, other in ((0, 1), (0, 2), (1, 2)):
        assert len(parts[own] - parts[other]) > 20


def test_another_process_with_another_hash_seed_makes_the_same_rows():
    code = "import json; from tasksel.tasks.builtin import *; print(json.dumps([builtin_rows(t.name) for t in builtin_tasks()]))"
    made = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(made.stdout) == [builtin_rows(name) for name in TASKS]


def test_another_seed_makes_other_rows():
    assert [name for name in TASKS if builtin_rows(name, seed=0) != builtin_rows(name, seed=0)] == []
    assert [name for name in TASKS if builtin_rows(name, seed=0) == builtin_rows(name, seed=1)] == []


def test_rows_are_the_callers_own():
    builtin_rows("sentiment_films")["train"][0]["text"] = "spoilt"
    assert builtin_rows("sentiment_films")["train"][0]["text"] != "spoilt"


def test_an_unknown_task_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="no built-in task 'entail_travle'; did you mean 'entail_travel'"):
        builtin_rows("entail_travle")
