"""The answer's tables can be read on any screen: aligned, within its width, whatever the labels are, and with commands that can be typed."""

import io
import shlex

import pytest
from rich.cells import cell_len
from rich.console import Console

import scalearn.cli.main as cli
from scalearn.results.answer import Answer, Gain
from scalearn.results.answer_table import answer_tables, name_of, next_commands, spent, time_line
from scalearn.results.mistakes import Confusion, LabelErrors, Labels, Place, Places, Residual, Residuals
from tasksel.display.streams import Screen

LONG = [f"infrastructure and utilities damage of kind {number}" for number in range(8)]
WIDE = ["非常に満足しています", "très déçu 😡", "[bold]x[/bold]", "red\x1b[31m", "two\nlines", ""]


def confusion(labels, *, right=3, wrong=1):
    count = len(labels)
    rows = tuple(tuple(right if t == p else wrong * (p == (t + 1) % count) for p in range(count)) for t in range(count))
    return Confusion(labels=tuple(labels), rows=rows)


def made_up(errors=None, **change):
    values = {
        "key": "k", "target": "reviews", "kind": "single_sentence_classification", "method": "scalearn", "metric": "accuracy",
        "seed": 0, "seed_scores": {0: 0.8}, "score": 0.8, "interval": (0.7, 0.9), "rows": 100, "validation_rows": 100,
        "train_rows": 180, "without": Gain(score=0.7, gain=0.1, interval=(0.02, 0.18)),
        "constant": Gain(score=0.5, gain=0.3, interval=(0.1, 0.5)), "mistakes": errors or confusion(["bad", "good"]),
        "sources": {"a": 0.9, "b": 0.6, "c": 0.5, "d": 0.1}, "parts": ("explain", "export"), "seconds": 4.1, "notes": (),
    }  # fmt: skip
    return Answer(**{**values, **change})


def shown(answer, width=80):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(answer_tables(answer))
    return out.getvalue()


def test_scores_gains_and_intervals_stand_in_columns():
    lines = shown(made_up()).splitlines()
    assert lines[0] == "reviews by scalearn, seed 0: 180 training rows, 100 validation rows"
    assert [line.split() for line in lines if line.startswith(("this", "no sources", "constant"))] == [
        ["this", "result", "80.0", "70.0", "to", "90.0"],
        ["no", "sources,", "closed", "form", "70.0", "+10.0", "+2.0", "to", "+18.0"],
        ["constant", "guess", "50.0", "+30.0", "+10.0", "to", "+50.0"],
    ]
    assert "The sources help" in shown(made_up())


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (Gain(score=0.7, gain=0.1, interval=(-0.01, 0.2)), "is open: the interval of the gain holds 0"),
        (Gain(score=0.9, gain=-0.1, interval=(-0.2, -0.01)), "No sources are better here"),
        (Gain(score=0.8, gain=0.0), "It scores as no sources do"),
        (Gain(score=0.7, gain=0.1), "Whether it gains over no sources is open."),
    ],
)
def test_the_gain_is_said_in_words(gain, words):
    assert words in shown(made_up(without=gain))


def test_only_three_sources_are_listed_and_the_others_counted():
    text = shown(made_up())
    assert "by mean weight, the first 3 of 4" in text
    assert [line.split() for line in text.splitlines() if line.startswith(("a ", "b ", "c ", "d "))] == [
        ["a", "0.900"],
        ["b", "0.600"],
        ["c", "0.500"],
    ]
    assert "the sources, in their order" in shown(made_up(sources={"a": None, "b": None}))


@pytest.mark.parametrize("labels", [LONG, WIDE, ["no", "yes"], [*"abcdefgh"], [*LONG, *WIDE]], ids=len)
@pytest.mark.parametrize("width", [80, 60])
def test_a_confusion_fits_the_screen_whatever_the_labels_are(labels, width):
    text = shown(made_up(confusion(labels)), width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "\x1b" not in text
    assert labels != WIDE or "[bold]x" in text


def test_lines_of_wide_letters_are_as_wide_as_the_others():
    lines = shown(made_up(confusion(["非常に満足しています", "bad"]))).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("true"))
    assert len({cell_len(line) for line in lines[at : at + 4]}) == 1


def test_many_classes_show_the_most_frequent_confusions():
    rows = [[5 if t == p else 0 for p in range(12)] for t in range(12)]
    rows[3][7], rows[4][5] = 9, 2
    errors = Confusion(labels=tuple(f"label {n}" for n in range(12)), rows=tuple(map(tuple, rows)))
    lines = [line.split() for line in shown(made_up(errors)).splitlines() if line.startswith("label ")]
    assert lines == [["label", "3", "label", "7", "9", "64", "%"], ["label", "4", "label", "5", "2", "29", "%"]]
    perfect = confusion([f"label {n}" for n in range(12)], wrong=0)
    assert "every validation row is right" in shown(made_up(perfect))


def test_many_labels_show_the_worst_that_are_there():
    some = [LabelErrors(label=f"l{n}", rows=10, predicted=10, right=n) for n in range(9)]
    absent = LabelErrors(label="absent", rows=0, predicted=0, right=0)
    text = shown(made_up(Labels(labels=(absent, *reversed(some)))))
    assert "the worst of 10 labels" in text
    assert [line.split()[0] for line in text.splitlines() if line.startswith("l") and line[1].isdigit()] == [
        "l0", "l1", "l2", "l3", "l4",
    ]  # fmt: skip
    assert "absent" not in text
    few = shown(made_up(Labels(labels=(absent, some[4]))))
    assert "absent     0          0      0          –       –" in few
    assert "40 %    40 %" in few


def test_residuals_and_places_are_listed():
    largest = (Residual(row=7, text="a\tlong [bold]text", label=4.0, predicted=1.25),)
    text = shown(made_up(Residuals(mean_absolute=0.5, constant=1.0, bias=-0.25, largest=largest)), 100)
    assert "mean absolute error 0.5000 (constant guess: 1.000); mean residual -0.2500, too low" in text
    assert "4.000      1.250      -2.750" in text
    assert "[bold]text" in text
    places = (Place(place=1, rows=4, predicted=8, right=4), Place(place=2, rows=0, predicted=0, right=0))
    text = shown(made_up(Places(places=places)))
    assert "number 1         4          8  100 %" in text
    assert "number 2         0          0      –" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.5, "1,234"), (998912.3, "998,912"), (-0.00012, "-0.0001200"), (1e-9, "1.000e-09"), (3e12, "3.000e+12")],
)  # fmt: skip
def test_numbers_of_any_size_can_be_read(value, text):
    errors = Residuals(mean_absolute=abs(value), constant=1.0, bias=value, largest=())
    assert f"mean absolute error {text.removeprefix('-')} " in shown(made_up(errors))


def test_what_does_not_beat_a_constant_guess_says_so():
    assert shown(made_up()).count("constant guess") == 1
    below = made_up(constant=Gain(score=0.9, gain=-0.1, interval=(-0.2, -0.05)))
    assert "A constant guess scores more." in shown(below)
    near = made_up(constant=Gain(score=0.8, gain=0.0))
    assert "It is not clearly above a constant guess." in shown(near)
    assert "clearly" not in shown(made_up(method="majority", without=None, constant=Gain(score=0.8, gain=0.0)))


def test_equal_weights_give_no_order():
    assert "the sources, in their order (their weights are alike)" in shown(made_up(sources={"a": 1.0, "b": 1.0}))


def test_the_next_commands_are_understood(tmp_path):
    folder = tmp_path / "my 'out' $HOME"
    folder.mkdir()
    title, *lines = next_commands(made_up(), folder).splitlines()
    assert title == "next:"
    assert [shlex.split(line)[:3] for line in lines] == [
        ["scalearn", verb, str(folder)] for verb in ("predict", "explain", "export")
    ]
    for line in lines:
        assert callable(cli.parse(shlex.split(line)[1:]))
    assert len(next_commands(made_up(parts=()), folder).splitlines()) == 2


def test_the_time_says_what_was_stored():
    assert time_line(made_up(), 14.2, 8.2) == "time: 14.2 s (selecting sources 8.2 s, training 4.1 s)"
    assert time_line(made_up(), 0.2, 0.1) == "time: 0.2 s (selecting sources 0.1 s, training 4.1 s before, stored)"
    assert time_line(made_up(sources={}), 5.0, 0.0) == "time: 5.0 s (training 4.1 s)"
    assert spent(59.99) == "60.0 s"
    assert spent(3725) == "62 min 5 s"


def test_printed_in_python_it_is_whole_and_its_name_is_one_line():
    text = str(made_up(confusion(LONG)))
    assert text.splitlines()[0].startswith("reviews by scalearn")
    assert all(label[:10] in text for label in LONG)
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert repr(made_up()) == "Answer(reviews by scalearn, seed 0: accuracy 0.8000, +10.0 over no sources)"


def test_without_a_terminal_nothing_is_folded_and_ascii_is_enough():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", errors="legible")
    Screen(file=out).print(answer_tables(made_up(confusion(WIDE), notes=("word " * 60,))))
    out.flush()
    lines = raw.getvalue().decode("ascii").splitlines()
    assert any(line.startswith("note: ") and line.count("word") == 60 for line in lines)


def test_a_name_keeps_both_ends():
    assert name_of("short") == "short"
    assert name_of("") == "''"
    assert [cell_len(name_of(label, 14)) <= 14 for label in (*LONG, *WIDE)] == [True] * 14
    assert name_of("crisis and a thing of kind 1", 14) != name_of("crisis and a thing of kind 2", 14)
