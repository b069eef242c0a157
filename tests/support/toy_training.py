"""Short trainings of a tiny model, each with other options of the loop, which tests kill and let go on."""

import json
import random

import numpy as np
import torch

from tasksel.adapters.train import add_new_adapter, freeze_base
from tasksel.model.base import load_base
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head
from tasksel.tasks.examples import Split
from tasksel.tasks.task import BuiltinSource, Task
from tasksel.training.checkpoints import Checkpoints
from tasksel.training.loop import fit_parts
from tasksel.training.recipe import Recipe
from tasksel.training.run import Part
from tasksel.training.state import trained_state

RECIPE = {"lr": 1e-3, "epochs": 3, "batch": 8, "micro_batch": 4, "max_length": 16, "patience": None}
CASES = {  # rows of each part, and what differs from RECIPE
    "one part": ({"toy": 44}, {}),
    "three parts": ({"few": 9, "some": 16, "many": 41}, {"head_lr": 1e-4}),
    "a solved start": ({"toy": 30}, {"start": "solved", "select": "metric-loss", "weight_decay": 0.1}),
    "patience": ({"toy": 16}, {"lr": 1e-6, "epochs": 9, "patience": 1}),
    "steps that end within an epoch": ({"few": 16, "many": 30}, {"max_steps": 13}),
    "no dev rows": ({"toy": 44}, {"epochs": 2}),
}


def split(count, seed):
    """Short texts of several lengths; a good word or a bad one decides."""
    draw = random.Random(seed)
    labels = [i % 2 for i in range(count)]
    words = [draw.choice((("bad", "awful"), ("good", "great"))[label]) for label in labels]
    texts = [(" ".join([word, *["the film"] * draw.randrange(4)]),) for word in words]
    return Split(texts, None, np.array(labels))


def toy_task(name="toy"):
    labels = ("blame", "praise")
    return Task(name=name, kind="single_sentence_classification", text=("t",), labels=labels, metric="accuracy", source=BuiltinSource())  # fmt: skip


TOY = toy_task()


def toy_rows(folder):
    """Sixteen rows of two words as token ids of a base."""
    rows = Split([("bad film",), ("good film",)] * 8, None, np.arange(16) % 2)
    return encode_split(rows, TOY, load_base(folder).tokenizer, max_length=16)


def toy_model(folder):
    """A new model of a base with a head for them, drawn by one seed."""
    model = load_base(folder).model()
    torch.manual_seed(1)
    add_head(model, TOY, name="toy")
    return model


def model_and_parts(folder, case):
    """A new model with an adapter and a head for each part of a case, and the parts."""
    base, (rows, _) = load_base(folder), CASES[case]
    model, parts = base.model(), []
    torch.manual_seed(1)
    for number, (name, count) in enumerate(rows.items()):
        task = toy_task(name)
        add_head(model, task, name=name)
        train, dev = (encode_split(split(n, seed), task, base.tokenizer, max_length=16) for n, seed in ((count, number), (12, 99)))  # fmt: skip
        parts.append(Part(task, train, None if case == "no dev rows" else dev))
    add_new_adapter(model, "shared")
    freeze_base(model)
    return model, parts


def train(folder, case, place=None, *, seed=3, key="key", recipe=None, **options):
    """Trains a case, from what lies at a place if anything does: the weights, and how it went."""
    model, parts = model_and_parts(folder, case)
    settings = Recipe(**{**RECIPE, **CASES[case][1], **(recipe or {})})
    checkpoints = None if place is None else Checkpoints(place, key)
    run = fit_parts(model, parts, settings, seed=seed, checkpoints=checkpoints, label="a toy", **options)
    return trained_state(model), (run.history, run.score, run.scores, run.epoch, run.steps)


def same(one, other):
    """Whether two trainings ended alike, to the bit; before the first step the loss is no number."""
    (a, said_a), (b, said_b) = one, other
    if json.dumps(said_a) != json.dumps(said_b) or a.keys() != b.keys():
        return False
    return all(torch.equal(tensor, b[name]) for name, tensor in a.items())
