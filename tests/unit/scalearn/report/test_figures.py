"""The pictures: what is drawn from which rows, told apart without colour, the same bytes each time, each with its words."""

import itertools
import math
import sys
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest
from run_rows import SIMILARITY, SOURCES, TARGETS, made_map, made_rankings, made_rows, make_run

from scalearn.comparison.records import RunFolder
from scalearn.methods.registry import METHODS
from scalearn.report.figures import heat
from scalearn.report.figures.cost import costs_picture
from scalearn.report.figures.curves import few_shot_picture, gain_picture, in_colour
from scalearn.report.figures.gain import source_gain_pictures
from scalearn.report.figures.gallery import comparison_pictures, draw_gallery, map_pictures_of
from scalearn.report.figures.projection import plane
from scalearn.report.figures.scores import parameters_picture
from scalearn.report.figures.shown import shown_conditions
from scalearn.report.figures.style import SPARE, STYLES, styles
from scalearn.report.figures.sweep import sweep_picture
from scalearn.report.figures.task_map import map_pictures
from scalearn.report.figures.weights import mean_weights, weight_change, weight_pictures
from scalearn.report.page.inline_svg import inline
from scalearn.report.statistics import AVERAGE, Condition, comparisons
from scalearn.results.result import TransferResult
from tasksel.display import figures, layout
from tasksel.display.figures import file_name, look
from tasksel.display.layout import label_points, overhang, panels, shortened, text_width, texts
from tasksel.display.picture import Picture
from tasksel.errors import UserError
from tasksel.storage.atomic import write_json

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def our_look():
    """As `comparison_pictures` has it around each picture."""
    with look("test"):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return RunFolder(make_run(tmp_path_factory.mktemp("made") / "run"))


@pytest.fixture(scope="module")
def compared(run):
    return comparisons(run.rows, run.config)[0]


@pytest.fixture(scope="module")
def pictures(run, compared):
    return {picture.name: picture for picture in [*comparison_pictures(compared, run.rankings), *map_pictures_of(run)]}


def few(**kept):
    """A comparison of some of the made-up rows: those whose fields have the values."""
    rows = [row for row in made_rows() if all(getattr(row, name) in values for name, values in kept.items())]
    (found,) = comparisons(rows)
    return found


def words(picture):
    return [text.text for text in ET.fromstring(picture.svg).iter(f"{SVG}text")]


def bars(ax):
    """The intervals of curves: upright lines with finite ends."""
    lines = [line for line in ax.get_lines() if line.get_linewidth() == 1.0 and line.get_marker() == "None"]
    return [line for line in lines if len(set(line.get_xdata())) == 1]


def lines_of(ax, marker):
    return [line for line in ax.get_lines() if line.get_marker() == marker]


class TestLooks:
    def test_every_method_has_a_look_and_no_two_the_same_marker(self):
        assert METHODS.keys() <= STYLES.keys()
        for one, other in itertools.combinations([*STYLES.values(), *SPARE], 2):
            assert (one.marker, one.filled) != (other.marker, other.filled) or one.line != other.line
        for one, other in itertools.combinations(STYLES.values(), 2):
            assert (one.marker, one.filled) != (other.marker, other.filled)

    def test_methods_of_no_table_get_spare_looks(self):
        found = styles(["scalearn", "new", "newer"])
        assert found["scalearn"] == STYLES["scalearn"]
        assert found["new"] == SPARE[0]
        assert found["newer"] == SPARE[1]

    def test_ticks_outside_the_range_of_a_log_axis_take_no_room(self):
        with look("log"):
            drawn = panels(2, height=2.3)
            for ax in drawn.axes:
                ax.plot([1, 64], [600, 17_000])
                ax.set_yscale("log")
            layout.settle(drawn.figure)
            assert drawn.axes[0].get_position().height > 0.7

    def test_labels_cover_no_point_and_each_other_not(self):
        with look("labels"):
            ax = panels(1, height=3).axes[0]
            places = [(0.5, 0.5), (0.53, 0.5), (0.5, 0.54)]
            ax.set_xlim(0, 1)
            ax.set_ylim(0, 1)
            layout.settle(ax.figure)
            label_points(ax, places, ["first", "second", "third"])
            ax.figure.draw_without_rendering()
            boxes = [text.get_window_extent() for text in ax.texts]
        assert len(boxes) == 3
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        pixels = ax.transData.transform(places)
        assert not any(box.contains(*pixel) for box in boxes for pixel in pixels)


class TestFiles:
    def test_writes_each_picture_twice_and_the_same_again(self, reported, reported_again):
        first, second = (
            {path.name: path.read_bytes() for path in (run / "report" / "pictures").iterdir()}
            for run, _ in (reported, reported_again)
        )
        assert {"parameters.svg", "parameters.png", "few-shot.svg", "gain.png", "sources.svg", "costs.svg"} <= set(
            first
        )
        assert {"map.svg", "tree.svg", "weights-rte.svg", "source-gain-connectivity-scalearn-16.svg"} <= set(first)
        assert first.keys() == second.keys()
        assert [name for name, drawn in first.items() if drawn != second[name]] == []

    def test_tells_bases_apart(self, tmp_path):
        run = RunFolder(make_run(tmp_path / "run", bases=2))
        run.rows = [row for row in run.rows if row.size == "full" and row.seed < 2]
        names = {path.stem for path in draw_gallery(run, comparisons(run.rows, run.config)).save(tmp_path / "out")}
        assert {"minilm-sound-parameters", "roberta-base-sound-parameters", "map"} <= names

    def test_an_empty_run_has_only_its_map(self, tmp_path):
        run = RunFolder(make_run(tmp_path / "run", bases=0))
        assert {path.stem for path in draw_gallery(run, []).save(tmp_path / "out")} == {"map", "tree"}

    def test_names_that_clash_are_both_kept(self):
        rows = [row.model_copy(update={"target": name}) for name in ("a/b", "a-b") for row in made_rows() if row.target == "rte"]  # fmt: skip
        (compared,) = comparisons(rows)
        names = [picture.name for picture in comparison_pictures(compared, [])]
        assert len(names) == len(set(names))
        assert {"weights-a-b", "weights-a-b--2"} <= set(names)

    def test_says_what_to_install_without_matplotlib(self, run, compared, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        gallery = draw_gallery(run, [compared])
        assert gallery.missing == 'No pictures: pictures need matplotlib: pip install "scalearn[plot]"'
        assert gallery.save(tmp_path) == []

    @pytest.mark.parametrize("told", [{"names": ["a"]}, [], {"by": "x", "base": "b", "names": ["a", "b"], "similarity": [[1.0]]}])  # fmt: skip
    def test_refuses_a_broken_map(self, told, tmp_path):
        folder = make_run(tmp_path / "run", bases=0)
        write_json(folder / "map.json", told)
        with pytest.raises(UserError, match=r"map\.json: .*run again"):
            map_pictures_of(RunFolder(folder))

    def test_any_name_is_drawn_as_it_is(self, tmp_path):
        name = "<script>$x$ & 'y'</script>"
        rows = [row.model_copy(update={"target": name}) for row in made_rows() if row.target == "rte"]
        (compared,) = comparisons(rows)
        picture = few_shot_picture(compared, "few-shot")
        assert name in words(picture)
        assert "<script>" not in picture.svg
        assert picture.save(tmp_path)[0].is_file()

    def test_a_file_name_is_never_empty(self):
        assert file_name("../", "") == "picture"


class TestWords:
    def test_every_picture_has_words_of_its_own(self, pictures):
        for picture in pictures.values():
            assert len(picture.alt) > 40
            assert len(picture.caption) > 40
            assert picture.title
        assert len({picture.alt for picture in pictures.values()}) == len(pictures)

    def test_the_alternative_stands_in_the_file(self, pictures):
        told = "".join(ET.fromstring(pictures["parameters"].svg).itertext())
        assert pictures["parameters"].alt in told


class TestParameters:
    def test_places_each_average_by_what_is_learned(self, compared, pictures):
        axes = [ax for ax in pictures["parameters"].figure.axes if ax.axison]
        assert [ax.get_title(loc="left") for ax in axes] == ["4 rows", "16 rows", "all rows"]
        (condition,) = (condition for condition in compared.conditions if condition.method == "single-adapter")
        (point,) = lines_of(axes[2], "X")
        assert point.get_xdata()[0] == pytest.approx(math.log10(3200))
        assert point.get_ydata()[0] == pytest.approx(100 * compared.mean_cell("full", condition).mean)

    def test_nothing_learned_stands_left_of_a_line(self, pictures):
        ax = pictures["parameters"].figure.axes[0]
        (none,) = lines_of(ax, "v")
        assert ax.get_xticklabels()[0].get_text() == "none"
        assert none.get_xdata()[0] == ax.get_xticks()[0]
        assert all(line.get_xdata()[0] > none.get_xdata()[0] + 0.5 for line in lines_of(ax, "o"))

    def test_says_the_best_and_the_lowest(self, compared, pictures):
        best, _ = compared.best(AVERAGE, "full")
        mean = 100 * compared.mean_cell("full", best).mean
        assert f"With all rows, the highest average is {mean:.1f} by {compared.label(best)} with 256" in pictures["parameters"].alt  # fmt: skip
        assert "by head-only with 0" in pictures["parameters"].alt

    def test_none_without_a_whole_average(self):
        rows = [row for row in made_rows() if row.target != "stsb"]
        (compared,) = comparisons(rows, {"targets": {"tasks": list(TARGETS)}})
        assert parameters_picture(compared, "p") is None


class TestCurves:
    def test_one_panel_per_target_and_one_for_the_average_with_intervals(self, compared, pictures):
        axes = [ax for ax in pictures["few-shot"].figure.axes if ax.axison]
        assert [ax.get_title(loc="left") for ax in axes] == [AVERAGE, *TARGETS]
        assert all(len(bars(ax)) == 3 * len(compared.methods) for ax in axes)  # at three sizes
        assert [label.get_text() for label in axes[0].get_xticklabels()] == ["4", "16", "all"]

    def test_curves_hold_the_means(self, compared, pictures):
        ax = [ax for ax in pictures["few-shot"].figure.axes if ax.axison][1]
        (line,) = lines_of(ax, "X")
        (condition,) = (condition for condition in compared.conditions if condition.method == "single-adapter")
        means = [100 * compared.cell("rte", size, condition).mean for size in (4, 16, "full")]
        assert list(line.get_ydata()) == pytest.approx(means)

    def test_the_gain_is_the_paired_difference(self, compared, pictures):
        ax = pictures["gain"].figure.axes[0]
        (line,) = lines_of(ax, "v")
        (condition,) = (condition for condition in compared.conditions if condition.method == "head-only")
        found = [100 * compared.paired(size, condition, "single-adapter").difference for size in (4, 16, "full")]
        assert list(line.get_ydata()) == pytest.approx(found)
        assert lines_of(ax, "X") == []

    def test_the_way_that_stands_for_a_method_looks_at_no_score(self, compared):
        assert {(condition.by, condition.k) for condition in shown_conditions(compared)} == {(None, 0), ("all", 5)}

    def test_one_size_has_no_curves(self):
        compared = few(size=["full"])
        assert few_shot_picture(compared, "f") is None
        assert gain_picture(compared, "l") is None

    def test_no_gain_without_the_reference(self):
        assert gain_picture(few(method=["scalearn", "fusion"]), "l") is None

    def test_one_seed_has_no_interval(self):
        picture = few_shot_picture(few(seed=[0], target=["rte"]), "f")
        (ax,) = (ax for ax in picture.figure.axes if ax.axison)
        assert bars(ax) == []

    def test_the_references_and_the_best_stand_in_colour_and_the_rest_in_grey_with_its_names(self):
        names = ["single-adapter", "full", *(f"method-{number}" for number in range(7))]
        curves = {Condition(name): [(float(place), 0.0, 0.0)] for place, name in enumerate(names)}
        assert [one.method for one in in_colour(curves)] == ["single-adapter", "full", *names[-3:]]
        rows = [row for row in made_rows() if row.by in (None, "all")]
        more = [row.model_copy(update={"method": f"weak-{number}", "score": row.score / 2}) for number in range(3) for row in rows if row.method == "average"]  # fmt: skip
        (compared,) = comparisons([*rows, *more])
        picture = few_shot_picture(compared, "few-shot")
        titles = {title.text for title in ET.fromstring(picture.svg).iter(f"{SVG}title")}
        assert {"weak-0", "weak-1", "weak-2"} < titles
        assert "scalearn" not in titles
        assert "4 others" in words(picture)
        assert "grey: head-only, weak-0, weak-1, weak-2." in picture.caption


class TestSweep:
    def test_scores_by_the_number_of_sources(self, compared, pictures):
        ax = [ax for ax in pictures["sources"].figure.axes if ax.axison][2]
        (line,) = lines_of(ax, "o")
        conditions = [
            condition
            for condition in compared.conditions
            if condition.method == "scalearn" and condition.by == "connectivity"
        ]
        assert list(line.get_xdata()) == [2, 3, 5]
        assert list(line.get_ydata()) == pytest.approx(
            [100 * compared.mean_cell("full", condition).mean for condition in conditions]
        )

    def test_all_sources_end_the_line(self):
        rows = [row for row in made_rows() if row.by in ("connectivity", "all", None) and (row.by, row.k) != ("connectivity", 5)]  # fmt: skip
        (compared,) = comparisons(rows)
        (line,) = lines_of(sweep_picture(compared, "s").figure.axes[0], "o")
        assert list(line.get_xdata()) == [2, 3, 5]

    def test_the_reference_is_a_level(self, compared, pictures):
        ax = [ax for ax in pictures["sources"].figure.axes if ax.axison][2]
        (condition,) = (condition for condition in compared.conditions if condition.method == "single-adapter")
        level = 100 * compared.mean_cell("full", condition).mean
        assert any(list(line.get_ydata()) == pytest.approx([level, level]) for line in ax.get_lines())

    def test_none_with_one_number_of_sources(self):
        assert sweep_picture(few(by=[None, "all"]), "s") is None


class TestCosts:
    def test_bars_are_means_over_targets(self, pictures):
        left, right = pictures["costs"].figure.axes
        widths = {label.get_text(): bar.get_width() for label, bar in zip(left.get_yticklabels(), left.patches, strict=True)}  # fmt: skip
        assert widths["head-only"] == pytest.approx(6.0)
        assert widths["scalearn"] == pytest.approx(8.5)
        assert [bar.get_width() for bar in right.patches][-1] == pytest.approx(205e6)

    def test_a_large_range_has_a_log_axis(self):
        rows = [row.model_copy(update={"seconds": 900.0 if row.method == "fusion" else 2.0}) for row in made_rows()]
        (compared,) = comparisons(rows)
        left, _ = costs_picture(compared, "c").figure.axes
        assert left.get_xscale() == "log"
        assert "(log)" in left.get_title(loc="left")

    def test_memory_that_nobody_measured_is_left_out(self):
        rows = [row.model_copy(update={"peak_memory": None}) for row in made_rows()]
        (compared,) = comparisons(rows)
        picture = costs_picture(compared, "c")
        assert len([ax for ax in picture.figure.axes if ax.axison]) == 1
        assert "memory" not in picture.alt


class TestWeights:
    def test_means_over_seeds_by_source_and_layer(self, compared):
        (condition,) = (condition for condition in shown_conditions(compared) if condition.method == "scalearn")
        rows = [
            row
            for row in compared.rows
            if row.target == "rte" and row.size == "full" and compared.condition(row) == condition
        ]
        found = mean_weights(rows, condition)
        assert found.sources == SOURCES
        assert found.values.shape == (5, 4)
        assert found.values[3] == pytest.approx([0.4 * (SIMILARITY["rte"][3] + 0.05 * layer) for layer in range(4)])
        assert found.seeds == (5,) * 5

    def test_a_source_counts_for_the_seeds_that_took_it(self):
        rows = [row for row in made_rows() if (row.target, row.size, row.method, row.by, row.k) == ("rte", "full", "scalearn", "connectivity", 2)]  # fmt: skip
        other = rows[0].model_copy(update={"seed": 9, "sources": {"cola": "0" * 16}, "omega": ((0.5,),) * 4})
        found = mean_weights([*rows, other], few(by=["connectivity"]).conditions[0])
        assert dict(zip(found.sources, found.seeds, strict=True)) == {"mnli": 5, "qnli": 5, "cola": 1}
        assert found.values[2] == pytest.approx([0.5] * 4)

    def test_shared_weights_stand_in_one_panel_a_column_a_method(self, pictures):
        own, shared = (ax for ax in pictures["weights-rte"].figure.axes if ax.get_title(loc="left"))
        assert own.get_title(loc="left") == "scalearn"
        assert [label.get_text() for label in own.get_yticklabels()] == list(SOURCES)
        assert [label.get_text() for label in shared.get_xticklabels()] == ["average", "scalearn-uniform++"]
        assert {"0.42", "0.18"} <= {text.get_text() for ax in (own, shared) for text in ax.texts}

    def test_zero_is_in_the_middle_of_the_colours(self, pictures):
        mesh = pictures["weights-rte"].figure.axes[0].collections[0]
        assert mesh.norm.vmin == -mesh.norm.vmax
        assert mesh.norm.vmax == pytest.approx(0.42)
        red, green, blue, _ = mesh.cmap(0.5)
        assert min(red, green, blue) > 0.95

    def test_many_cells_have_no_numbers(self, monkeypatch):
        monkeypatch.setattr(heat, "IN_CELLS", 5)
        picture = weight_pictures(few(size=["full"]), "")[0]
        assert len(picture.figure.axes[0].texts) == 0

    def test_none_without_a_mix(self):
        assert weight_pictures(few(method=["fusion", "single-adapter"]), "") == []


class TestChange:
    def test_a_scalar_moved_from_2_over_n(self, compared):
        row = next(row for row in compared.rows if row.method == "scalearn-uniform++" and row.k == 5)
        assert weight_change(row) == pytest.approx(np.abs(np.array(row.omega) - 0.4))

    def test_a_vector_moves_though_its_mean_stays(self, compared, tmp_path, monkeypatch):
        row = next(row for row in compared.rows if row.method == "scalearn" and row.k == 2)
        assert weight_change(row) is None
        assert weight_change(row, tmp_path) is None
        write_json(tmp_path / row.key / "result.json", {})
        omega = np.full((4, 2, 8), 1.0, dtype="float32")
        omega[1, 0, ::2], omega[1, 0, 1::2] = 1.25, 0.75
        monkeypatch.setattr(TransferResult, "load", lambda folder: SimpleNamespace(omega=lambda seed: omega))
        expected = np.zeros((4, 2))
        expected[1, 0] = 0.25
        assert weight_change(row, tmp_path) == pytest.approx(expected)

    def test_a_weight_that_is_set_did_not_move(self, compared):
        row = next(row for row in compared.rows if row.method == "average")
        assert weight_change(row) is None

    def test_stands_beside_the_weights_and_says_what_is_not_known(self, compared, pictures):
        axes = pictures["weights-rte"].figure.axes
        assert "change not known" in axes[1].texts[0].get_text()
        (way,) = (one for one in shown_conditions(compared) if one.method == "scalearn-uniform++")
        rows = [
            row for row in compared.rows if (row.target, row.size) == ("rte", "full") and compared.condition(row) == way
        ]
        mean = np.mean([np.abs(np.array(row.omega[0]) - 0.4) for row in rows], axis=0)
        assert axes[3].collections[0].get_array().filled(np.nan)[:, 1].tolist() == pytest.approx(mean)
        assert "Not known of scalearn: the run kept no models." in pictures["weights-rte"].caption

    def test_is_left_out_where_nothing_is_known(self):
        (picture, *_) = weight_pictures(few(size=["full"], method=["scalearn"]), "")
        assert [bool(ax.get_title(loc="left")) for ax in picture.figure.axes] == [True, False]  # and its colours
        assert "is not shown: the run kept no models" in picture.caption


LONG = {
    name: f"{name}_of_a_suite_whose_tasks_have_names_that_no_one_shortens_{name}"[:60] for name in (*SOURCES, *TARGETS)
}


@pytest.fixture(scope="module")
def long_pictures(tmp_path_factory):
    """Every picture, of tasks with names of 60 letters."""
    folder = make_run(tmp_path_factory.mktemp("long") / "run")
    told = made_map()
    names = [LONG[name] for name in told["names"]]
    suites = {name: f"suite {place % 3} {name}" for place, name in enumerate(names)}
    write_json(folder / "map.json", told | {"names": names, "suites": suites})
    run = RunFolder(folder)
    run.rows = [row.model_copy(update={"target": LONG[row.target], "sources": {LONG[name]: print_ for name, print_ in row.sources.items()}}) for row in run.rows]  # fmt: skip
    run.rankings = [row.model_copy(update={"target": LONG[row.target], "names": tuple(LONG[name] for name in row.names)}) for row in run.rankings]  # fmt: skip
    return draw_gallery(run, comparisons(run.rows)).pictures


class TestNoLabelIsCut:
    def test_every_sort_of_picture_is_there(self, long_pictures):
        starts = {picture.name.split("-")[0] for picture in long_pictures}
        assert starts == {"parameters", "few", "gain", "sources", "costs", "source", "weights", "map", "tree"}

    def test_every_text_stands_inside_its_picture(self, long_pictures):
        for picture in long_pictures:
            picture.figure.draw_without_rendering()
            wide, high = picture.figure.bbox.size
            for text in texts(picture.figure):
                box = text.get_window_extent()
                assert min(box.x0, box.y0) >= -0.5, (picture.name, text)
                assert box.x1 <= wide + 0.5, (picture.name, text)
                assert box.y1 <= high + 0.5, (picture.name, text)

    def test_also_with_the_wider_letters_of_a_browser(self, long_pictures, pictures):
        for picture in [*long_pictures, *pictures.values()]:
            picture.figure.draw_without_rendering()  # labels remember where the last file had them
            assert max(overhang(picture.figure)) <= 0.5, picture.name

    def test_no_tick_label_lies_on_another(self, long_pictures):
        for picture in long_pictures:
            picture.figure.draw_without_rendering()
            for ax in picture.figure.axes:
                for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
                    shown = [
                        one
                        for one in labels
                        if one.get_text() and one.get_visible() and one.get_rotation() == 0 and ax.axison
                    ]
                    boxes = [one.get_window_extent() for one in shown]
                    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2)), picture.name

    def test_a_name_that_fits_is_whole_and_one_that_does_not_tells_itself_under_the_pointer(self, long_pictures):
        assert shortened("sentiment_restaurants", text_width("sentiment_restaurants")) == "sentiment_restaurants"
        few_shot = next(picture for picture in long_pictures if picture.name == "few-shot")
        titles = [title.text for title in ET.fromstring(few_shot.svg).iter(f"{SVG}title")]
        assert {LONG[name] for name in TARGETS} <= set(titles)
        assert any("…" in word for word in words(few_shot))


class TestSourceGains:
    def test_gains_are_those_of_a_source_alone(self, compared, run):
        picture = next(p for p in source_gain_pictures(compared, run.rankings, "") if p.name.endswith("full"))
        ax = picture.figure.axes[0]
        points = {text.get_text(): text.xy for text in ax.texts}
        condition = next(condition for condition in compared.conditions if condition.source == "mnli")
        gain = compared.paired("full", condition, "single-adapter", "rte").difference
        assert points["mnli"] == pytest.approx((SIMILARITY["rte"][3], 100 * gain))
        assert points.keys() == set(SOURCES)

    def test_tells_spearmans_rho(self, compared, run):
        picture = next(p for p in source_gain_pictures(compared, run.rankings, "") if p.name.endswith("full"))
        assert [ax.get_title(loc="left") for ax in picture.figure.axes][:2] == ["rte  (rho 1.00)", "mrpc  (rho 1.00)"]
        assert "mean over 3 targets: 0.97" in picture.caption
        assert "stsb: rho 0.90" in picture.alt

    def test_a_turned_ranking_has_a_negative_rho(self, compared):
        turned = [row.model_copy(update={"scores": tuple(-score for score in row.scores)}) for row in made_rankings()]
        assert "rho −1.00" in source_gain_pictures(compared, turned, "")[0].alt

    def test_none_without_rankings_or_sources_alone(self, compared):
        assert source_gain_pictures(compared, [], "") == []
        assert source_gain_pictures(few(by=[None, "all", "connectivity"]), made_rankings(), "") == []


class TestMap:
    def test_the_plane_keeps_distances_that_fit_in_it(self):
        rng = np.random.default_rng(0)
        places = rng.uniform(0, 0.5, (6, 2))
        apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
        points, kept = plane(1 - apart)
        assert kept == pytest.approx(1.0)
        assert np.linalg.norm(points[:, None] - points[None], axis=-1) == pytest.approx(apart)

    def test_a_plane_that_is_too_small_says_so(self):
        points, kept = plane(np.eye(5))
        assert points.shape == (5, 2)
        assert kept == pytest.approx(0.5)

    def test_tasks_that_are_alike_join_first(self, pictures):
        order = [label.get_text() for label in pictures["tree"].figure.axes[0].get_yticklabels()]
        told = made_map()
        assert sorted(order) == sorted(told["names"])
        assert abs(order.index("mrpc") - order.index("qqp")) == 1
        assert "Most alike: qqp and mrpc (0.90)" in pictures["tree"].alt

    def test_suites_have_markers_of_their_own(self):
        told = made_map() | {"suites": dict.fromkeys(TARGETS, "mine")}
        (ax, *_) = map_pictures(told, "")[0].figure.axes
        assert {line.get_marker() for line in ax.get_lines()} == {"o", "s"}

    def test_two_tasks_are_no_map(self):
        assert map_pictures({"by": "x", "base": "b", "names": ["a", "b"], "similarity": [[1, 0], [0, 1]]}, "") == []


class TestInline:
    def test_ids_are_the_pictures_own_and_all_found(self, pictures):
        seen = set()
        for picture in pictures.values():
            root = ET.fromstring(inline(picture))
            ids = [element.get("id") for element in root.iter() if element.get("id")]
            assert len(ids) == len(set(ids))
            assert not seen & set(ids)
            seen |= set(ids)
            pointed = {value[1:] for element in root.iter() if (value := element.get("href"))}
            pointed |= {value.split("url(#")[1].split(")")[0] for element in root.iter() for value in element.attrib.values() if "url(#" in value}  # fmt: skip
            assert pointed == set(ids)

    def test_brings_no_style_no_image_and_no_ink_of_its_own(self, pictures):
        for picture in pictures.values():
            told = inline(picture)
            assert not any(part in told for part in ("<style", "<image", "<metadata", "data:", figures.INK, "xlink"))
            root = ET.fromstring(told)
            assert root.get("role") == "img"
            assert root.get("aria-label") == picture.alt
            assert "viewBox" in root.attrib
            assert "width" not in root.attrib

    def test_a_name_stays_text(self):
        with look("x"):
            drawn = panels(1, height=2)
            drawn.axes[0].set_title("</svg><script>alert(1)</script>")
            picture = Picture("x", "t", '"<b>', "c", drawn.figure)
        told = inline(picture)
        assert "<script" not in told
        assert 'aria-label="&quot;&lt;b&gt;"' in told
