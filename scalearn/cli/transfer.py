"""Commands about one transfer: transfer, explain, predict, export, push."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from scalearn.cli.pool import DEFAULT_POOL, PoolFolder
from scalearn.comparison.config import RecipeChange
from tasksel.cli.app import show
from tasksel.cli.arguments import CACHE_DIR, By, Data, Folder, Label, Name, Rows, Text
from tasksel.errors import UserError
from tasksel.processes import is_main

if TYPE_CHECKING:
    from tasksel.adapters.pool import AdapterPool, Source
    from tasksel.tasks.task import Task

OneText = tyro.conf.UseAppendAction[tuple[str, ...]]
METHOD = "a transfer method: scalearn, scalearn-uniform, fusion, … (docs/reference/transfer_methods.md lists them)"


def transfer(
    target: Name, out_folder: Annotated[Path, tyro.conf.arg(name="out", help="the result's folder")], pool_folder: PoolFolder = DEFAULT_POOL,
    method: Annotated[str, tyro.conf.arg(help=METHOD)] = "scalearn",
    sources: Annotated[tuple[str, ...], tyro.conf.arg(help="sources by name, or 'all'; without it, the top k of a ranking")] = (),
    top: Annotated[int, tyro.conf.arg(help="how many sources the ranking gives")] = 4, by: By = "connectivity",
    include_target: Annotated[bool, tyro.conf.arg(help="the target adapter may be among the sources")] = False,
    data: Data = None, rows: Rows = None, seeds: tuple[int, ...] = (0,), text: Text = (), label: Label = "label", validation: str | None = None,
    recipe: RecipeChange = RecipeChange(),
) -> None:  # fmt: skip
    """Combine sources of a pool for a target; store the result.

    Sources are ranked for the target unless --sources names them; the result is scored on the validation set.

    For example:
      scalearn transfer entail_kitchen --pool pools/mine --top 4 --out out/entail
      scalearn transfer reviews.csv --text body --label stars --pool pools/mine --method scalearn-uniform --seeds 0 1 2 --out out/reviews
      scalearn transfer rte --data path/to/tasks --sources mrpc qnli --out out/rte
    """
    from scalearn.methods.registry import get_method
    from scalearn.results.transfer import transfer as run_transfer
    from tasksel.adapters.pool import AdapterPool
    from tasksel.tasks.registry import resolve_task

    task = resolve_task(target, data=data, text=text, label=label, validation=validation)
    transfer_method = get_method(method)
    pool = AdapterPool(pool_folder)
    selected: list[Source] = []
    similarities: tuple[float, ...] | None = None
    if transfer_method.takes_sources:
        seed = seeds[0] if seeds else 0
        selected, similarities = _sources(
            pool, task, sources, top=top, by=by, include_target=include_target, rows=rows, seed=seed
        )
    result = run_transfer(
        task, selected, method=method, rows=rows, recipe=recipe.of(transfer_method.recipe), seeds=seeds, base=pool.base,
        similarities=similarities, out=out_folder,
    )  # fmt: skip
    show(f"{result}\nstored in {result.folder}")


def _sources(
    pool: AdapterPool, task: Task, names: tuple[str, ...], *, top: int, by: str, include_target: bool, rows: int | None, seed: int
) -> tuple[list[Source], tuple[float, ...] | None]:  # fmt: skip
    """Sources by name, all of them, or the best of a ranking with their scores."""
    from tasksel.selection.ranking import rank

    allowed = [source for source in pool if include_target or source.name != task.name]
    if names == ("all",):
        return allowed, None
    if names:
        return pool.select(names), None
    if not 1 <= top <= len(allowed):
        raise UserError(
            f"--top {top}, but the pool {pool.folder} has {len(allowed)} sources for '{task.name}': choose 1 to {len(allowed)}"
        )
    shared = not os.access(pool.folder, os.W_OK)  # others', which this user only reads
    kept = CACHE_DIR if shared else pool.folder / ".targets"
    ranking = rank(task, pool, by=by, rows=rows, seed=seed, include_target=include_target, cache_dir=kept)
    show(str(ranking))
    return pool.select(ranking.top(top)), ranking.scores[:top]


def export(result: Folder, out_folder: Annotated[Path, tyro.conf.arg(name="out")], seed: int | None = None) -> None:
    """Write a result as one adapter that plain `adapters` loads.

    Example: scalearn export out/rte --out out/rte-adapter
    """
    from scalearn.results.result import TransferResult

    show(f"exported to {TransferResult.load(result).export(out_folder, seed=seed)}")


def predict(
    model: Folder,
    file: tyro.conf.Positional[Path | None] = None,
    text: Annotated[OneText, tyro.conf.arg(help="a text instead of a file; --text twice for a pair")] = (),
    choice: Annotated[OneText, tyro.conf.arg(help="with --text, for multiple choice: once per choice")] = (),
    out_file: Annotated[Path | None, tyro.conf.arg(name="out", help="JSONL or CSV")] = None,
    seed: int | None = None,
) -> None:
    """Predict a file's rows, or one text.

    MODEL is a result's folder or an export. Where the file has labels, the predictions are scored.

    For example:
      scalearn predict out/rte new.jsonl --out predictions.jsonl
      scalearn predict out/rte-adapter new.csv
      scalearn predict out/reviews --text "would buy again"
      scalearn predict out/rte --text "Two cooks peel carrots" --text "Nobody cooks"
      scalearn predict out/copa --text "The glass fell." --choice "It broke." --choice "It flew."
    """
    from scalearn.results.predict import predict_file, write_predictions

    if (file is None) == (not text) or (choice and not text):
        raise UserError("give a FILE, or --text (twice for a pair, with --choice for multiple choice), and not both")
    if file is None:
        _predict_text(model, text, choice, out_file, seed)
        return
    predictions, score = predict_file(model, file, seed=seed)
    if out_file:
        write_predictions(predictions, out_file)
        show(f"{len(predictions)} predictions in {out_file}")
    else:
        for row in predictions:
            show(f"{row['prediction']}\t{row['scores']}")
    if score is not None:
        show(f"score on the labels in {file}: {score:.4f}")


def _predict_text(
    model: Path, text: tuple[str, ...], choice: tuple[str, ...], out_file: Path | None, seed: int | None
) -> None:
    """Predicts one text and prints it, or writes it to a file."""
    from scalearn.results.predict import predict_text, prediction_lines, write_predictions

    prediction = predict_text(model, text, choices=choice, seed=seed)
    if out_file:
        write_predictions([{key: prediction[key] for key in ("prediction", "scores")}], out_file)
        show(f"1 prediction in {out_file}")
    else:
        show("\n".join(prediction_lines(prediction)))


def explain(
    folder: Folder,
    target: tyro.conf.Positional[str | None] = None,
    method: Annotated[str | None, tyro.conf.arg(help="of a run's folder; by default the first that has a mix")] = None,
    seed: Annotated[int | None, tyro.conf.arg(help="by default the best, by its dev score")] = None,
    size: Annotated[
        str | None, tyro.conf.arg(help="of a run's folder: 'full' or a number of training rows; by default the most")
    ] = None,
    rows: Annotated[int | None, tyro.conf.arg(help="score at most so many validation rows")] = None,
    out_file: Annotated[Path | None, tyro.conf.arg(name="out", help="also write it as JSON")] = None,
) -> None:
    """Show which sources a stored mix draws on, by layer.

    Also its score without each source. FOLDER is a result's folder, or a run's folder followed by one of its targets.

    For example:
      scalearn explain out/reviews
      scalearn explain out/reviews --seed 1 --rows 500 --out explained.json
      scalearn explain runs/quickstart entail_kitchen --method scalearn
    """
    from scalearn.comparison.find_result import find_result
    from scalearn.results.explain import explain as explain_result
    from scalearn.results.explain_table import explanation_tables
    from tasksel.storage.atomic import write_json

    if out_file and out_file.suffix != ".json":
        raise UserError(f"{out_file}: cannot write '{out_file.suffix}'; allowed: .json")
    explanation = explain_result(find_result(folder, target, method, seed=seed, size=size), seed=seed, rows=rows)
    show(explanation_tables(explanation))
    if out_file and is_main():
        write_json(out_file, explanation.to_json())
        show(f"written to {out_file}")


def push(
    export: Folder,
    to: Annotated[str, tyro.conf.arg(help="user/name on the hub")],
    private: Annotated[bool, tyro.conf.arg(help="a repository that only you see")] = False,
    yes: Annotated[bool, tyro.conf.arg(help="send; without it, only say what would be sent")] = False,
) -> None:
    """Upload an export to the hub.

    Without --yes, lists what would be sent where, and sends nothing.

    For example:
      scalearn push out/rte-adapter --to me/rte-adapter
      scalearn push out/rte-adapter --to me/rte-adapter --private --yes
    """
    from scalearn.results.push import local_paths, plan_push

    plan = plan_push(export, to=to, private=private)
    show(str(plan))
    for path in local_paths(export):
        show(f"note: {path} of this machine is named in these files, for all who may read it")
    if not yes:
        show("nothing was sent; --yes sends it")
    elif is_main():
        show(f"sent: {plan.send()}")
