"""A comparison of transfer methods in Python: its plan, its units, its report.

python examples/compare_methods.py
python examples/compare_methods.py --seeds 0 1 2 --jobs 2
"""

import statistics
from pathlib import Path

import tyro

import scalearn as sl


def main(
    base: str = "minilm", rows: int = 600, epochs: int = 5, seeds: tuple[int, ...] = (0, 1), jobs: int = 1,
    out: Path = Path("out/compare"),
):  # fmt: skip
    """Two sources chosen by LogME, under two transfer methods, beside an adapter of the target alone."""
    training = {"batch": 8, "epochs": epochs, "max_length": 64}
    experiment = sl.Experiment(
        name="compare_methods",
        base=base,
        sources={
            "tasks": ("sentiment_films", "entail_travel", "grammar_garden"),
            "rows": rows,
            "recipe": {"lr": 1e-3, **training},
        },
        targets={"tasks": ("sentiment_phones",), "sizes": (50,), "seeds": seeds},
        rank={"by": ("logme",), "top": (2,)},
        methods=("scalearn-uniform", "soup", "single-adapter"),
        recipe=training,
        few_shot={"max_steps": 50},
    )
    run = experiment.run(out, jobs=jobs)
    for method in experiment.methods:
        scores = [row.score for row in run.rows if row.method == method]
        print(f"{method:<20} {statistics.fmean(scores):.3f} over {len(scores)} seeds")
    print(f"report: {sl.write_report(run)}")


if __name__ == "__main__":  # worker processes import this file
    tyro.cli(main)
