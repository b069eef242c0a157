"""The built-in suite: generated English tasks that are related in known ways, the default when neither hub nor data is at hand.

    opinions   praise and blame under negation and contrast: three reviews, a rating, a list of complaints
    pairs      does the second sentence follow from, repeat or resemble the first?
    grammar    is the sentence well formed?
    questions  what kind of answer is asked for?
    endings    what happened next?

A task is a row of values over one generator; related tasks are rows of the same generator over disjoint nouns, so that what
carries over from one to the other is the skill. Words are drawn alike for every label: no single word gives it away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, NamedTuple

from tasksel.errors import unknown
from tasksel.tasks import builtin_words as words
from tasksel.tasks.infer import DEFAULT_METRIC
from tasksel.tasks.task import BuiltinSource, Kind, Task

Row = dict[str, Any]
Draw = Callable[
    [Random, int], Row
]  # (rng, turn) -> one row; `turn` counts rows up, so turn % classes keeps the balance

ROWS = {"train": 600, "validation": 200}

FAMILIES: dict[str, tuple[str, ...]] = {
    "opinions": ("sentiment_films", "sentiment_restaurants", "sentiment_phones", "rating_hotels", "complaints_orders"),
    "pairs": ("entail_travel", "entail_kitchen", "paraphrase_office", "similarity_market"),
    "grammar": ("grammar_garden", "grammar_school"),
    "questions": ("question_type",),
    "endings": ("endings_daily",),
}
"""Related tasks: those of one family need the same skill; a family of one has no related task in the suite."""


# --- the template engine ----------------------------------------------------------------------------------------------


def _fill(rng: Random, template: str, **slots: str | Sequence[str]) -> str:
    """The template with each `{slot}` replaced by its value, or by one drawn from its list of values."""

    def value(match: re.Match[str]) -> str:
        choices = slots[match[1]]
        return choices if isinstance(choices, str) else rng.choice(choices)

    return re.sub(r"\{(\w+)\}", value, template)


def _form(phrase: str, second: bool) -> str:
    """The first or second of each pair of forms: `caught/catch the bus` is `caught the bus` or `catch the bus`."""
    return re.sub(r"([\w'-]+)/([\w'-]+)", lambda match: match[1 + second].replace("-", " "), phrase)


def _sentence(text: str, end: str = ".") -> str:
    """The text with a capital and a full stop."""
    return text[0].upper() + text[1:] + end


# --- opinions ---------------------------------------------------------------------------------------------------------


def _opinion(rng: Random, nouns: Sequence[str], sign: int) -> tuple[str, int]:
    """A clause of praise (sign 1) or blame (-1) and its strength; every other one says it by denying the opposite."""
    strength = rng.choice((1, 2))
    if rng.random() < 0.5:
        adjective = rng.choice(words.ADJECTIVES[sign * strength])
        return _fill(rng, rng.choice(words.PLAIN), noun=nouns, adjective=adjective), sign * strength
    adjective = rng.choice(words.ADJECTIVES[-sign * strength])
    return _fill(rng, rng.choice(words.NEGATED), noun=nouns, adjective=adjective), sign


def _verdict(rng: Random, nouns: Sequence[str], sign: int) -> str:
    """A clause about the whole: `we did not regret the film`."""
    who, noun = rng.choice(("I", "we", "my friends", "both of us")), rng.choice(nouns)
    if rng.random() < 0.5:
        return f"{who} {_form(rng.choice(words.VERDICTS[sign]), False)} the {noun}"
    return f"{who} did not {_form(rng.choice(words.VERDICTS[-sign]), True)} the {noun}"


def _sentiment(rng: Random, turn: int, *, venue: words.Venue) -> Row:
    """A review; in a contrast, the opinion of the whole counts and that of a part does not."""
    label = turn % 2
    sign = 1 if label else -1
    major = _verdict(rng, venue.whole, sign) if rng.random() < 0.5 else _opinion(rng, venue.whole, sign)[0]
    if rng.random() < 0.4:
        minor, _ = _opinion(rng, venue.parts, -sign)
        text = _sentence(_fill(rng, rng.choice(words.CONTRASTS), major=major, minor=minor))
    else:
        text = _sentence(major)
    if rng.random() < 0.5:
        text = f"{rng.choice(venue.remarks)} {text}"
    return {"text": text, "label": label}


def _rating(rng: Random, turn: int, *, venue: words.Venue) -> Row:
    """Two or three opinions: all praise, all blame, or mixed; the rating, 1 to 5, is their mean strength about 3."""
    parts = rng.sample((rng.choice(venue.whole), *venue.parts), rng.choice((2, 3)))
    signs = [rng.choice((1, -1)) if turn % 3 == 2 else (1, -1)[turn % 3] for _ in parts]
    drawn = [_opinion(rng, [part], sign) for part, sign in zip(parts, signs, strict=True)]
    text = " ".join((rng.choice(venue.remarks), *(_sentence(clause) for clause, _ in drawn)))
    return {"text": text, "label": round(3 + sum(strength for _, strength in drawn) / len(drawn), 2)}


def _complaints(rng: Random, turn: int) -> Row:
    """Three of four sides of an order, each praised or blamed; the labels are the blamed ones."""
    sides = list(words.ORDERS)
    label = [0] * len(sides)
    clauses = []
    for side in rng.sample(range(len(sides)), 3):
        blamed = rng.random() < 0.6
        label[side] = int(blamed)
        clauses.append(_sentence(_opinion(rng, words.ORDERS[sides[side]], -1 if blamed else 1)[0]))
    return {"text": " ".join(clauses), "label": label}


# --- pairs ------------------------------------------------------------------------------------------------------------


def _claim(rng: Random, row: Sequence[str], side: int, *, true: bool, repeat: float = 0.0) -> str:
    """What the deed on one side (0 or 2) of the row implies, or rules out; one in six by denying the opposite.

    `repeat` is how often the deed's own words are used, and not those that mean the same.
    """
    denied = rng.random() < 1 / 6
    implied = row[(side if true != denied else 2 - side) + (rng.random() >= repeat)]
    return f"did not {_form(implied, True)}" if denied else _form(implied, False)


def _entailment(rng: Random, turn: int, *, things: words.Table) -> Row:
    """What somebody did to a thing, and a claim that follows, is the opposite, or is about another thing.

    How often words are repeated is set so that the three have about as many words in common with the premise.
    """
    label = turn % 2
    who, deed, side = rng.choice(words.NAMES), rng.choice(words.DEEDS), rng.choice((0, 2))
    (name, same), another = rng.sample(things, 2)
    elsewhere = label == 1 and rng.random() < 0.4
    claim = _claim(rng, deed, side, true=label == 0 or elsewhere, repeat=0.8 if elsewhere else 0.3)
    thing = rng.choice(another if elsewhere else (name, name, name, same))
    premise = f"{who} {_form(deed[side], False)} the {name}"
    if rng.random() < 0.5:
        premise = f"{premise} {rng.choice(words.TIMES)}"
    return {"sentence1": _sentence(premise), "sentence2": _sentence(f"{who} {claim} the {thing}"), "label": label}


def _paraphrase(rng: Random, turn: int) -> Row:
    """One event in two wordings and orders, or two that differ in who, in what was done, or to what."""
    label = turn % 2
    deed, side, when = rng.choice(words.DEEDS), rng.choice((0, 2)), rng.choice(words.TIMES)
    (who, stranger), ((name, same), another) = rng.sample(words.ROLES, 2), rng.sample(words.OFFICE, 2)
    change = None if label else rng.choice(("deed", "deed", "deed", "who", "thing"))
    claim = _claim(rng, deed, side, true=change != "deed", repeat=0.8 if change in ("who", "thing") else 0.3)
    thing = rng.choice(another if change == "thing" else (name, name, name, same))
    first = f"the {who} {_form(deed[side], False)} the {name} {when}"
    teller = f"the {stranger if change == 'who' else who}"
    second = _fill(rng, rng.choice(words.CLEFTS), who=teller, deed=claim, thing=f"the {thing}")
    return {"sentence1": _sentence(first), "sentence2": _sentence(second), "label": label}


def _similarity(rng: Random, turn: int) -> Row:
    """Who did what with what and when, twice; 0 to 5 for the parts that mean the same, where what was done counts 2."""
    tables, weights = (words.SELLERS, words.ACTIONS, words.GOODS, words.MOMENTS), (1, 2, 1, 1)
    same = set(rng.sample(range(4), turn % 5))
    first, second = [], []
    for place, table in enumerate(tables):
        same_meaning, other_meaning = rng.sample(table, 2)
        first.append(rng.choice(same_meaning))
        second.append(rng.choice(same_meaning if place in same else other_meaning))
    score = float(sum(weights[place] for place in same))
    return {"sentence1": _sentence(" ".join(first)), "sentence2": _sentence(" ".join(second)), "label": score}


# --- grammar, questions, endings --------------------------------------------------------------------------------------


def _grammar(rng: Random, turn: int, *, scene: words.Scene) -> Row:
    """A well formed sentence, or one with a wrong verb form, a wrong determiner, or two words in the wrong order."""
    label = turn % 2
    plural, noun = rng.random() < 0.5, rng.choice(scene.nouns)
    fault = None if label else rng.choice(("order", "order", "verb", "determiner"))
    determiner = rng.choice((("this", "that", "every"), ("these", "those", "many"))[plural != (fault == "determiner")])
    text = f"{determiner} {rng.choice(scene.adjectives)} {_form(noun, plural)}"
    if rng.random() < 0.4:  # a second noun, whose number the verb must not follow
        text += f" {_form(rng.choice(scene.places), False)} the {_form(rng.choice(scene.nouns), rng.random() < 0.5)}"
    order = f"{text} {_form(rng.choice(scene.predicates), plural != (fault == 'verb'))}".split()
    if fault == "order":
        here = rng.randrange(3)  # up to the fifth word: later ones may swap and still be English ("was again late")
        order[here], order[here + 1] = order[here + 1], order[here]
    return {"text": _sentence(" ".join(order)), "label": label}


def _question(rng: Random, turn: int) -> Row:
    """A question; the label is the kind of answer that it asks for."""
    label = turn % len(words.QUESTIONS)
    template = rng.choice(words.QUESTIONS[list(words.QUESTIONS)[label]])
    slots = {"work": words.WORKS, "made": words.MADE, "founder": words.FOUNDERS}
    return {"text": _sentence(_fill(rng, template, **slots), ""), "label": label}


def _ending(rng: Random, turn: int) -> Row:
    """A situation and three endings: of this situation, of its opposite, and of something else."""
    label = turn % 3
    row, elsewhere = rng.sample(words.EVENTS, 2)
    side, name = rng.choice((0, 2)), rng.choice(words.NAMES)
    wrong = [row[3 - side], elsewhere[rng.choice((1, 3))]]
    rng.shuffle(wrong)
    endings = [*wrong[:label], row[side + 1], *wrong[label:]]
    text = _sentence(f"{rng.choice(words.TIMES)}, {row[side]}, so {name}", " …")
    return {"text": text, "choices": [f"{ending}." for ending in endings], "label": label}


# --- the suite --------------------------------------------------------------------------------------------------------


class _Spec(NamedTuple):
    """One task of the suite: its kind, how a row is drawn, the label names, and what it asks."""

    kind: Kind
    draw: Draw
    labels: tuple[str, ...]
    note: str


SINGLE: Kind = "single_sentence_classification"
PAIR: Kind = "pair_classification"
OPINION = ("negative", "positive")
ENTAILED = ("entailment", "not_entailment")
GRAMMAR = ("unacceptable", "acceptable")

_SPECS: Mapping[str, _Spec] = {
    "sentiment_films": _Spec(SINGLE, partial(_sentiment, venue=words.FILMS), OPINION, "Is the film liked?"),
    "sentiment_restaurants": _Spec(
        SINGLE, partial(_sentiment, venue=words.RESTAURANTS), OPINION, "Is the restaurant liked?"
    ),
    "sentiment_phones": _Spec(SINGLE, partial(_sentiment, venue=words.PHONES), OPINION, "Is the phone liked?"),
    "rating_hotels": _Spec(
        "regression", partial(_rating, venue=words.HOTELS), (), "How many stars, 1 to 5, for the hotel?"
    ),
    "complaints_orders": _Spec("multi_label", _complaints, tuple(words.ORDERS), "What is complained about?"),
    "entail_travel": _Spec(PAIR, partial(_entailment, things=words.TRAVEL), ENTAILED, "Does it follow? On the road."),
    "entail_kitchen": _Spec(
        PAIR, partial(_entailment, things=words.KITCHEN), ENTAILED, "Does it follow? In the kitchen."
    ),
    "paraphrase_office": _Spec(PAIR, _paraphrase, ("different", "paraphrase"), "Do both say the same?"),
    "similarity_market": _Spec("regression", _similarity, (), "How much, 0 to 5, do both say the same?"),
    "grammar_garden": _Spec(SINGLE, partial(_grammar, scene=words.GARDEN), GRAMMAR, "Well formed? In the garden."),
    "grammar_school": _Spec(SINGLE, partial(_grammar, scene=words.SCHOOL), GRAMMAR, "Well formed? At school."),
    "question_type": _Spec(SINGLE, _question, tuple(words.QUESTIONS), "What kind of answer is asked for?"),
    "endings_daily": _Spec("multiple_choice", _ending, (), "Which ending follows?"),
}


def builtin_tasks(seed: int = 0) -> list[Task]:
    """The tasks of the suite, as values; `builtin_rows` generates their rows.

    >>> [task.name for task in builtin_tasks()][:2]
    ['sentiment_films', 'sentiment_restaurants']
    """
    return [_task(name, spec, seed) for name, spec in _SPECS.items()]


def _task(name: str, spec: _Spec, seed: int) -> Task:
    columns = tuple(spec.draw(Random(name), 0))
    many = spec.kind == "multiple_choice"
    return Task(
        name=name,
        suite="builtin",
        kind=spec.kind,
        text=tuple(column for column in columns if column not in ("label", "choices")),
        labels=spec.labels,
        choices="choices" if many else None,
        num_choices=3 if many else None,
        metric=DEFAULT_METRIC[spec.kind],
        source=BuiltinSource(seed=seed),
        licence="Apache-2.0 (generated)",
        note=spec.note,
    )


def builtin_rows(name: str, seed: int = 0) -> dict[str, list[Row]]:
    """The rows of one task: 600 training and 200 validation rows, the same on every machine for the same seed.

    The first text column of each row differs from that of every other row, so no row is in both splits.

    >>> {split: len(rows) for split, rows in builtin_rows("question_type").items()}
    {'train': 600, 'validation': 200}

    Raises:
        UserError: no such task in the suite.
    """
    if name not in _SPECS:
        raise unknown("built-in task", name, _SPECS)
    rng, draw = Random(f"{name}-{seed}"), _SPECS[name].draw
    seen: set[str] = set()
    splits: dict[str, list[Row]] = {}
    for split, size in ROWS.items():
        rows: list[Row] = []
        while len(rows) < size:
            row = draw(rng, len(rows))
            key = next(iter(row.values()))
            if key not in seen:
                seen.add(key)
                rows.append(row)
        rng.shuffle(rows)
        splits[split] = rows
    return splits
