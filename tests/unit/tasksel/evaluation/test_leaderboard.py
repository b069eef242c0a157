"""Tests of judging: synthetic matrices of known structure, floor and ceiling, intervals, tables."""

import dataclasses
import io
import re
import time
from itertools import combinations

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import kendalltau
from selector_scores import SEEDS, SOURCES, TARGETS, make_matrix, noisy, scored, three_methods, worth

from tasksel import UserError
from tasksel.evaluation.leaderboard import HEADLINE, _number, evaluate_selectors
from tasksel.evaluation.ranking_metrics import RANKING_METRICS, bootstrap, ndcg, regret
from tasksel.evaluation.transfer_matrix import TransferMatrix

REFERENCES = {"random", "oracle", "one seed"}


@pytest.fixture(scope="module")
def matrix():
    return make_matrix()


@pytest.fixture(scope="module")
def judged(matrix):
    return evaluate_selectors(matrix, three_methods())


class TestValues:
    def test_are_means_over_targets_and_ranking_seeds(self, matrix):
        told = noisy("good", 0.05)
        values = {}
        for one in told:
            truth = matrix.ground_truth(one.target)[1].mean(axis=0)
            predicted = np.array([one.scores[source] for source in SOURCES])
            values.setdefault(one.target, []).append((ndcg(predicted, truth, "taskweb"), regret(predicted, truth, 3)))
        row = evaluate_selectors(matrix, told).row("good")
        by_target = {target: np.mean(pairs, axis=0) for target, pairs in values.items()}
        for i, name in enumerate((HEADLINE, "regret@3")):
            assert row.values[name].mean == pytest.approx(np.mean([pair[i] for pair in by_target.values()]))
            assert {t: told[name] for t, told in row.per_target.items()} == pytest.approx(
                {target: pair[i] for target, pair in by_target.items()}
            )

    def test_the_order_of_the_sources_in_a_file_does_not_matter(self, matrix, judged):
        told = [
            dataclasses.replace(one, scores=dict(sorted(one.scores.items(), reverse=True)))
            for one in noisy("good", 0.02)
        ]
        told = [dataclasses.replace(one, scores=one.scores | {"never measured": 9.0}) for one in told]
        assert evaluate_selectors(matrix, told).row("good").values == judged.row("good").values

    def test_better_knowledge_ranks_higher(self, judged):
        names = [row.by for row in judged.rows]
        assert names[0] == "oracle"
        assert names.index("good") < names.index("poor") < names.index("random")
        assert judged.row("good").values["regret@1"].mean < judged.row("poor").values["regret@1"].mean

    def test_the_oracle_is_perfect(self, judged, matrix):
        values = judged.row("oracle").values
        for name, wanted in {"nDCG taskweb": 1, "nDCG lin": 1, "regret@1": 0, "rank of best": 1, "rank of first": 1}.items():  # fmt: skip
            assert (values[name].mean, values[name].low, values[name].high) == pytest.approx((wanted,) * 3)
        best = [matrix.ground_truth(target)[1].mean(axis=0).max() for target in TARGETS]
        assert values["top-1"].mean == pytest.approx(100 * np.mean(best))

    def test_random_is_any_order(self, judged, matrix):
        values = judged.row("random").values
        assert values["rank of best"].mean == pytest.approx(6.5)
        everything = np.mean([matrix.ground_truth(target)[1] for target in TARGETS])
        assert values["top-1"].mean == pytest.approx(100 * everything)
        assert values["top-5"].mean == pytest.approx(100 * everything)

    def test_one_seed_is_judged_by_the_others(self, matrix, judged):
        wanted = []
        for target in TARGETS:
            scores = matrix.ground_truth(target)[1]
            for seed in SEEDS:
                others = np.delete(scores, seed, axis=0).mean(axis=0)
                wanted.append(ndcg(scores[seed], others, "taskweb"))
        assert judged.row("one seed").values[HEADLINE].mean == pytest.approx(np.mean(wanted))
        assert judged.row("poor").values[HEADLINE].mean < np.mean(wanted) < 1

    def test_one_matrix_seed_has_no_ceiling(self):
        row = evaluate_selectors(make_matrix(seeds=[0]), noisy("good", 0.02)).row("one seed")
        assert np.isnan(row.values[HEADLINE].mean)
        assert np.isnan(row.tau)

    def test_costs_are_means_and_those_of_one_seed_the_matrixs(self, judged):
        assert (judged.row("poor").seconds, judged.row("poor").source_seconds, judged.row("poor").bytes) == (
            40,
            3,
            1161,
        )
        assert judged.row("one seed").seconds == 12 * 2.0
        assert judged.row("oracle").seconds == 5 * 12 * 2.0

    def test_tau_is_the_agreement_of_the_seeds(self, matrix, judged):
        told, taus = noisy("poor", 0.3), []
        for target in TARGETS:
            runs = [[one.scores[s] for s in SOURCES] for one in told if one.target == target]
            taus.append(np.mean([kendalltau(a, b).statistic for a, b in combinations(runs, 2)]))
        assert judged.row("poor").tau == pytest.approx(np.mean(taus))
        assert judged.row("good").tau > judged.row("poor").tau
        assert np.isnan(judged.row("task kind").tau)
        same = [one for seed in (0, 1) for one in scored("same", worth(), seed=seed)]
        flat = [one for seed in (0, 1) for one in scored("flat", 0 * worth(), seed=seed)]
        both = evaluate_selectors(matrix, same + flat)
        assert both.row("same").tau == pytest.approx(1.0)
        assert np.isnan(both.row("flat").tau)

    def test_another_method_of_transfer_is_another_truth(self, matrix):
        turned = tuple(
            dataclasses.replace(row, method="scalearn", score=round(1 - row.score, 4))
            for row in matrix.rows
            if row.source
        )
        both, told = TransferMatrix(matrix.rows + turned), noisy("good", 0.0)
        assert evaluate_selectors(both, told).row("good").values["rank of best"].mean < 2
        assert evaluate_selectors(both, told, method="scalearn").row("good").values["rank of best"].mean > 10


class TestIntervals:
    def test_hold_the_value_and_keep_the_range(self, judged):
        for row in judged.rows:
            for name, value in row.values.items():
                assert (
                    RANKING_METRICS[name].least <= value.low <= value.mean <= value.high <= RANKING_METRICS[name].most
                )

    def test_are_wider_where_the_matrix_is_noisier(self):
        def width(matrix):
            value = evaluate_selectors(matrix, scored("a", worth())).row("a").values["nDCG lin"]
            return value.high - value.low

        assert width(make_matrix(noise=0.0)) == pytest.approx(0, abs=1e-9)
        assert width(make_matrix(noise=0.002)) < width(make_matrix(noise=0.03))

    def test_equal_a_bootstrap_in_loops_about_the_value(self):
        matrix, told = make_matrix(noise=0.15), noisy("good", 0.1)
        runs = {t: [[o.scores[s] for s in SOURCES] for o in told if o.target == t] for t in TARGETS}
        truth, rng, draws = {t: matrix.ground_truth(t)[1] for t in TARGETS}, np.random.default_rng(7), []
        for _ in range(1000):
            values = []
            for target in rng.choice(TARGETS, 4):
                drawn = truth[target][rng.integers(0, 5, 5)].mean(axis=0)
                values.append(ndcg(np.array(runs[target][rng.integers(0, 3)]), drawn, "taskweb"))
            draws.append(np.mean(values))
        value = evaluate_selectors(matrix, told, draws=4000).row("good").values[HEADLINE]
        wanted = np.quantile(draws, [0.025, 0.975]) - np.mean(draws) + value.mean
        assert abs(np.mean(draws) - value.mean) > 0.03  # else this could not see that the interval is moved
        np.testing.assert_allclose([value.low, value.high], np.minimum(wanted, 1), atol=0.02)

    def test_a_resampled_seed_is_never_judged_by_itself(self):
        matrix = make_matrix(noise=0.1, seeds=[0, 1])  # the truth of one seed is the other, in every draw
        pairs = [(scores[one], scores[1 - one]) for _, scores in map(matrix.ground_truth, TARGETS) for one in (0, 1)]
        values = np.array([ndcg(*pair, "taskweb") for pair in pairs]).reshape(len(TARGETS), 2)
        value = evaluate_selectors(matrix, []).row("one seed").values[HEADLINE]
        _, low, high = bootstrap(values, within=1, seed=8, draws=4000)
        np.testing.assert_allclose([value.low, value.high], [low, high], atol=0.02)

    def test_a_seed_repeats_them(self, matrix, judged):
        told = [*noisy("good", 0.02), *noisy("poor", 0.3, seconds=40.0)]
        assert evaluate_selectors(matrix, told).row("good") == evaluate_selectors(matrix, told[:12]).row("good")
        assert (
            evaluate_selectors(matrix, told, seed=5).row("good").values
            != evaluate_selectors(matrix, told).row("good").values
        )


class TestWhatIsRefused:
    def test_a_target_that_was_not_measured(self, matrix):
        with pytest.raises(UserError, match="no target in the matrix 'target_9'; did you mean 'target_"):
            evaluate_selectors(matrix, [*scored("a", worth()), *scored("a", worth(), targets=["target_9"])])

    def test_a_source_without_a_score(self, matrix):
        one, *others = scored("a", worth())
        short = dataclasses.replace(one, scores={k: v for k, v in one.scores.items() if k != "source_7"})
        with pytest.raises(UserError, match="'a' has no score for source 'source_7' of target 'target_0', seed 0"):
            evaluate_selectors(matrix, [short, *others])

    def test_the_same_ranking_twice(self, matrix):
        with pytest.raises(UserError, match="'a' ranks target 'target_0' twice under seed 0: keep one"):
            evaluate_selectors(matrix, scored("a", worth()) * 2)

    def test_methods_that_have_no_target_in_common(self, matrix):
        with pytest.raises(
            UserError, match=r"no target that every selector has ranked .*'a' has not ranked them: target_1"
        ):
            evaluate_selectors(
                matrix, [*scored("a", worth(), targets=TARGETS[:1]), *scored("b", worth(), targets=TARGETS[1:])]
            )

    def test_an_unknown_row_and_an_unknown_measure(self, judged):
        with pytest.raises(UserError, match="no evaluated selector 'goood'; did you mean 'good'"):
            judged.row("goood")
        with pytest.raises(UserError, match="no metric 'regret@2'; did you mean 'regret@"):
            judged.per_target_markdown("regret@2")


class TestNotes:
    def test_targets_that_a_method_has_not_ranked_are_left_out_for_all(self, matrix, capsys):
        told = [*scored("a", worth()), *scored("b", worth()[:3], targets=TARGETS[:3])]
        found = evaluate_selectors(matrix, told)
        assert found.targets == TARGETS[:3]
        note = "Left out for every selector, as 'b' has not ranked them: target_3."
        assert found.notes == (note,)
        assert note in found.markdown()
        assert note in " ".join(capsys.readouterr().err.split())
        assert found.row("a").values == evaluate_selectors(matrix, told[:3]).row("a").values

    def test_sources_that_diverged_are_told(self, matrix):
        lost = ("target_1", "source_4", "sequential", 2)
        rows = tuple(dataclasses.replace(row, score=None) if row.key == lost else row for row in matrix.rows)
        found = evaluate_selectors(TransferMatrix(rows), scored("a", worth()))
        assert found.notes == (
            "Not in the ground truth of 'target_1', as runs are missing or diverged: source source_4.",
        )
        assert "from 11-12 sources" in found.about

    def test_a_given_random_is_not_used(self, matrix, judged):
        found = evaluate_selectors(matrix, [*noisy("good", 0.02), *scored("random", worth())])
        assert found.row("random") == judged.row("random")
        assert found.notes == ("The scores given as 'random' are not used: that row is exact.",)

    def test_the_references_stand_alone_too(self, matrix):
        assert {row.by for row in evaluate_selectors(matrix, []).rows} == REFERENCES


class TestTables:
    def test_markdown_is_aligned_and_says_its_conventions(self, judged):
        about, _, *table = judged.markdown().rstrip().splitlines()
        assert about.startswith(
            "4 targets; ground truth: mean of 5 seeds of 'sequential' transfer from 12 sources. nDCG (0 to 1):"
        )
        assert len({len(line) for line in table}) == 1
        assert len({tuple(i for i, letter in enumerate(line) if letter == "|") for line in table}) == 1
        assert len(table) == 2 + len(judged.rows)
        heads = [cell.strip() for cell in table[0].strip("|").split("|")]
        assert heads[:4] == ["selector", "nDCG taskweb", "nDCG lin = schulte", "regret@1"]

    def test_markdown_holds_the_values(self, judged):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in judged.markdown().splitlines()]
        (good,) = (line for line in lines if line[0] == "good")
        value = judged.row("good").values[HEADLINE]
        assert good[1] == f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"
        assert good[-4:] == [f"{judged.row('good').tau:.2f}", "1.00", "3.00", "1,161"]
        (random,) = (line for line in lines if line[0] == "random")
        assert random[-4:] == ["-", "0", "-", "-"]

    def test_lin_and_schulte_are_one_number_here(self, judged):
        for row in judged.rows:
            assert row.values["nDCG lin"] == row.values["nDCG schulte"]

    @pytest.mark.parametrize("measure", [HEADLINE, "regret@1"])
    def test_each_target_has_its_column(self, judged, measure):
        lines = judged.per_target_markdown(measure).splitlines()
        assert lines[0] == f"{measure} of each target."
        assert re.findall(r"target_\d", lines[2]) == list(TARGETS)
        (good,) = (line for line in lines if line.startswith("| good"))
        told, digits = judged.row("good").per_target, RANKING_METRICS[measure].digits
        assert [cell.strip() for cell in good.strip("|").split("|")[1:]] == [
            f"{told[target][measure]:.{digits}f}" for target in TARGETS
        ]

    def test_the_table_fits_a_terminal(self, judged):
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(judged.table())
        text = console.export_text()
        value = judged.row("poor").values[HEADLINE]
        assert f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]" in text
        assert "…" not in text

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0, "0"), (0.0123456, "0.0123"), (1.234, "1.23"), (85.24, "85.2"), (1244.6, "1,245"), (float("nan"), "-")],
    )
    def test_numbers_have_three_digits(self, value, text):
        assert _number(value) == text


def test_forty_methods_on_eight_targets_take_seconds():
    rows = make_matrix().rows
    more = tuple(dataclasses.replace(row, target=row.target + "b") for row in rows)
    told = [
        dataclasses.replace(one, by=f"{i}", target=one.target + end)
        for i in range(8)
        for one in noisy("m", 0.1)
        for end in ("", "b")
    ]
    begun = time.process_time()
    evaluate_selectors(TransferMatrix(rows + more), told)
    assert time.process_time() - begun < 4  # a fifth of the methods, in a fifth of 20 s
