"""An answer as tables for the terminal, and the commands that come next; readable without colour.

accuracy in %                    score  95 % interval   gain   95 % interval
this result                       80.0   67.5 to 92.5
no sources, closed form           72.5                  +7.5  -2.5 to +17.5
constant guess                    52.5                 +27.5  +7.5 to +47.5
"""

from __future__ import annotations

import math
import shlex
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from scalearn.results.mistakes import Confusion, Labels, Places, Residuals, WrittenTexts
from tasksel.display.streams import printable
from tasksel.tasks.prompts import GENERATION

if TYPE_CHECKING:
    from scalearn.results.answer import Answer, Gain

WHOLE = 8  # classes, or labels, of which all are shown
WORST = 5  # of more, those that are shown
HELPFUL = 3  # sources that are shown
NAME, HEAD, HEADS = 32, 14, 40  # columns of the screen: of a label, of one above a table, of all above a table
NOTHING = "–"


def answer_tables(answer: Answer) -> Group:
    """The whole answer: scores and gains, where the result errs, the most helpful sources, what limits it.

    >>> rich.print(answer_tables(answer(result)))  # doctest: +SKIP
    """
    total = f" of {answer.validation_rows:,}" if answer.rows < answer.validation_rows else ""
    validation = f"{answer.rows:,}{total} validation row{'s' * (answer.validation_rows != 1)}"
    counted = f"{answer.train_rows:,} training rows, {validation}"
    return Group(
        Text(f"{answer.target} by {answer.method}, seed {answer.seed}: {counted}\n", overflow="fold"),
        _scores(answer),
        *(Text(line, overflow="fold") for line in _words(answer)),
        Text(""),
        *_mistakes(answer),
        *_sources(answer),
        *([Text("")] if answer.notes else []),
        *(Text(f"note: {note}", style="dim", overflow="fold") for note in answer.notes),
    )


def next_commands(answer: Answer, folder: Path) -> str:
    """The commands that make use of a result, as they are typed.

    >>> print(next_commands(answer(result), result.folder))  # doctest: +SKIP
    next:
      scalearn predict out/reviews new.csv --out predictions.csv
      scalearn explain out/reviews
    """
    place = shlex.quote(str(folder))
    lines = [f"scalearn predict {place} new.csv --out predictions.csv"]
    if "explain" in answer.parts:
        lines.append(f"scalearn explain {place}")
    if "export" in answer.parts:
        lines.append(f"scalearn export {place} --out {shlex.quote(f'{folder}-adapter')}")
    return "\n".join(["next:", *(f"  {line}" for line in lines)])


def time_line(answer: Answer, seconds: float, selecting: float) -> str:
    """What the command took, and of that the choice of sources and the training, which may have been stored.

    >>> time_line(answer(result), seconds=14.2, selecting=8.2)  # doctest: +SKIP
    'time: 14.2 s (selecting sources 8.2 s, training 3.5 s)'
    """
    training = f"training {spent(answer.seconds)}"
    if answer.seconds > seconds - selecting:
        training += " before, stored"
    parts = [f"selecting sources {spent(selecting)}"] * bool(answer.sources) + [training]
    return f"time: {spent(seconds)} ({', '.join(parts)})"


def spent(seconds: float) -> str:
    """A time in words.

    >>> spent(4.14), spent(200)
    ('4.1 s', '3 min 20 s')
    """
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


# --- scores


def _scores(answer: Answer) -> Table:
    """The score, and below it the simpler predictions with what is gained over each."""
    shown = _table(f"{answer.metric} in %")
    for column in ("score", "95 % interval", "gain", "95 % interval"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_row(
        Text("this result", style="bold"), Text(_percent(answer.score), style="bold"), _range(answer.interval), "", ""
    )
    without = "the base as it is" if answer.kind == GENERATION else "no sources, closed form"
    simpler = {without: answer.without, "constant guess": answer.constant}
    for name, gain in simpler.items():
        if gain is not None:
            shown.add_row(name, _percent(gain.score), "", _change(gain.gain), _range(gain.interval, change=True))
    return shown


def _words(answer: Answer) -> list[str]:
    """What the gain means, and the spread over seeds."""
    lines = (
        [_gained(answer.without, answer.kind)]
        if answer.without
        else [f"'{answer.method}' has no sources to gain from."]
    )
    if answer.without and not answer.sources:
        lines = [f"'{answer.method}' has no sources: the gain is that of its training."]
    if answer.constant.verdict == "worse":
        lines.append("A constant guess scores more.")
    elif answer.constant.verdict == "no difference" and answer.method != "majority":
        lines.append("It is not clearly above a constant guess.")
    scores = list(answer.seed_scores.values())
    if len(scores) > 1:
        spread = f"{100 * statistics.fmean(scores):.1f} ± {100 * statistics.stdev(scores):.1f}"
        lines.append(
            f"over {len(scores)} seeds: {spread} ({_percent(min(scores))} to {_percent(max(scores))}); above, the best one by its dev score."
        )
    return lines


def _gained(gain: Gain, kind: str) -> str:
    if gain.verdict == "better":
        return "The sources help: the interval of the gain over no sources lies above 0."
    if gain.verdict == "worse":
        without = "the base as it is" if kind == GENERATION else "--method closed-form-base"
        return f"No sources are better here: {without}."
    if gain.interval is None:
        return "It scores as no sources do." if abs(gain.gain) < 1e-9 else "Whether it gains over no sources is open."
    return "Whether it gains over no sources is open: the interval of the gain holds 0."


# --- where it errs


def _mistakes(answer: Answer) -> list[Text | Table]:
    errors = answer.mistakes
    if isinstance(errors, Confusion):
        return _confusion(errors) if len(errors.labels) <= WHOLE else _confused(errors)
    if isinstance(errors, Labels):
        return _labels(errors)
    if isinstance(errors, WrittenTexts):
        return _texts(errors)
    return _residuals(errors) if isinstance(errors, Residuals) else _places(errors)


def _confusion(errors: Confusion) -> list[Text | Table]:
    """Every class: rows by true label, columns by predicted label."""
    heads = [name_of(label, HEAD) for label in errors.labels]
    rows = [name_of(label) for label in errors.labels]
    if sum(cell_len(head) + 2 for head in heads) > HEADS or len(set(heads)) < len(heads):
        heads = [str(number) for number in range(1, len(rows) + 1)]
        rows = [f"{number} {row}" for number, row in zip(heads, rows, strict=True)]
    shown = _table("true")
    for head in heads:
        shown.add_column(Text(head), justify="right", no_wrap=True)
    shown.add_column("right", justify="right", no_wrap=True)
    for number, (row, counts) in enumerate(zip(rows, errors.rows, strict=True)):
        cells = [Text(str(count), style="bold" if place == number else "") for place, count in enumerate(counts)]
        shown.add_row(Text(row), *cells, _share(counts[number], sum(counts)))
    return [Text("validation rows by true label (lines) and predicted label (columns)"), shown]


def _confused(errors: Confusion) -> list[Text | Table]:
    """The most frequent confusions of many classes."""
    counts = errors.rows
    pairs = [(t, p) for t in range(len(counts)) for p in range(len(counts)) if t != p and counts[t][p]]
    pairs.sort(key=lambda pair: -counts[pair[0]][pair[1]])
    if not pairs:
        return [Text("every validation row is right")]
    shown = _table("true")
    shown.add_column("predicted", overflow="fold")
    for column in ("rows", "of the label's rows"):
        shown.add_column(column, justify="right", no_wrap=True)
    for true, said in pairs[:WORST]:
        labels = (Text(name_of(errors.labels[label])) for label in (true, said))
        shown.add_row(*labels, str(counts[true][said]), _share(counts[true][said], sum(counts[true])))
    return [Text(f"most frequent confusions among {len(errors.labels)} labels"), shown]


def _labels(errors: Labels) -> list[Text | Table]:
    labels, title = errors.labels, "validation rows by label"
    if len(labels) > WHOLE:
        seen = sorted((label for label in labels if label.f1 is not None), key=lambda label: (label.f1, -label.rows))
        labels, title = tuple(seen[:WORST]), f"the worst of {len(labels)} labels"
    shown = _table("label")
    for column in ("rows", "predicted", "right", "precision", "recall"):
        shown.add_column(column, justify="right", no_wrap=True)
    for label in labels:
        counts = (str(count) for count in (label.rows, label.predicted, label.right))
        shares = (_share(label.right, of) for of in (label.predicted, label.rows))
        shown.add_row(Text(name_of(label.label)), *counts, *shares)
    return [Text(title), shown]


def _residuals(errors: Residuals) -> list[Text | Table]:
    shown = _table("row", justify="right")
    for column in ("true", "predicted", "difference"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("text", overflow="fold")
    for one in errors.largest:
        numbers = _number(one.label), _number(one.predicted), _number(one.predicted - one.label, "+")
        shown.add_row(str(one.row), *numbers, Text(printable(one.text)))
    error = f"mean absolute error {_number(errors.mean_absolute)} (constant guess: {_number(errors.constant)})"
    way = "" if not errors.bias else ", too high" if errors.bias > 0 else ", too low"
    return [
        Text(
            f"{error}; mean residual {_number(errors.bias, '+')}{way}\nthe validation rows with the largest residuals"
        ),
        shown,
    ]


def _texts(errors: WrittenTexts) -> list[Text | Table]:
    shown = _table("row", justify="right")
    shown.add_column("score", justify="right", no_wrap=True)
    for column in ("prompt", "target", "written"):
        shown.add_column(column, overflow="fold")
    for one in errors.lowest:
        texts = (Text(printable(text)) for text in (one.prompt, one.target, one.written or NOTHING))
        shown.add_row(str(one.row), _percent(one.score), *texts)
    empty = f"; nothing was written for {errors.empty:,}" if errors.empty else ""
    return [Text(f"{errors.exact:,} of {errors.rows:,} texts are the target{empty}\nthe lowest scores"), shown]


def _places(errors: Places) -> list[Text | Table]:
    shown = _table("right choice")
    for column in ("rows", "predicted", "right"):
        shown.add_column(column, justify="right", no_wrap=True)
    for place in errors.places:
        shown.add_row(f"number {place.place}", str(place.rows), str(place.predicted), _share(place.right, place.rows))
    return [Text("validation rows by the place of the right choice"), shown]


# --- sources


def _sources(answer: Answer) -> list[Text | Table]:
    names = list(answer.sources.items())
    if not names:
        return []
    weights = [weight for _, weight in names if weight is not None]
    title = "the most helpful sources, by mean weight" if weights else "the sources, in their order"
    if weights and max(weights) - min(weights) < 5e-4:
        title = "the sources, in their order (their weights are alike)"
    title += f", the first {HELPFUL} of {len(names)}" if len(names) > HELPFUL else ""
    shown = _table("source")
    if weights:
        shown.add_column("mean weight", justify="right", no_wrap=True)
    for name, weight in names[:HELPFUL]:
        shown.add_row(Text(name_of(name, 2 * NAME)), *([f"{weight:.3f}"] if weight is not None else []))
    return [Text(f"\n{title}" if len(names) > 1 else "\nthe source"), shown]


# --- cells


def name_of(label: str, most: int = NAME) -> str:
    """A user's name on one line, cut in its middle where it takes more columns of a screen.

    >>> name_of("infrastructure and utilities damage", 15)
    'infrast… damage'
    """
    name = " ".join(printable(label).split()) or "''"
    kept, cut = len(name), name
    while cell_len(cut) > most:
        kept -= 1
        cut = f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"
    return cut


def _table(first: str, *, justify: str = "left") -> Table:
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column(first, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return shown


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _change(value: float) -> str:
    return f"{100 * value:+.1f}"


def _number(value: float, sign: str = "") -> str:
    """Four digits, and all of those before the point."""
    size = abs(value)
    if size and not 1e-4 <= size < 1e9:
        return f"{value:{sign}.3e}"
    places = 3 - math.floor(math.log10(size)) if size else 0
    return f"{value:{sign},.{max(places, 0)}f}"


def _range(interval: tuple[float, float] | None, *, change: bool = False) -> str:
    if interval is None:
        return NOTHING
    return " to ".join((_change if change else _percent)(value) for value in interval)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else NOTHING
