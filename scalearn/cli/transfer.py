"""Commands about one transfer: transfer, explain, predict, export, push."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from scalearn.cli.pool import DEFAULT_POOL, PoolFolder
from scalearn.comparison.config import RecipeChange
from tasksel.cli.app import show
from tasksel.cli.arguments import NO_COLUMNS, ChosenPrecision, Columns, Data, Folder, Name, Rows, StoredBase
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.processes import is_main
from tasksel.training.recipe import Start

if TYPE_CHECKING:
    from scalearn.methods.registry import TransferMethod
    from scalearn.results.result import TransferResult
    from tasksel.adapters.kind import Kind
    from tasksel.adapters.pool import AdapterPool, Source
    from tasksel.selection.base import Selector
    from tasksel.tasks.task import Task
    from tasksel.training.recipe import Recipe

Ranked = Annotated[
    str | None,
    tyro.conf.arg(help="a selector, by default auto (docs/reference/selectors.md lists them); a+b fuses two"),
]
DEFAULT_TOP = 2  # of which `auto` uses one, two or none
OneText = tyro.conf.UseAppendAction[tuple[str, ...]]
METHOD = "auto tries several and keeps the best by cross-validation; or one of docs/reference/transfer_methods.md: closed-form, scalearn, fusion, …"
BUDGET = "seconds (of a nominal machine) that gradient steps may take: auto's in all, another method's training; auto has 120, 0 trains nothing"
RANK = "over LoRAs: narrow to the best of this rank in each module, and say what is lost"
SERVER = "over LoRAs: in a rank that it accepts, without modules_to_save"
PORTABLE = "the head reads the first token, as the heads of plain `adapters` do, whatever the base was trained with"


def transfer(
    target: Name, out_folder: Annotated[Path, tyro.conf.arg(name="out", help="the result's folder")], pool_folder: PoolFolder = DEFAULT_POOL,
    method: Annotated[str, tyro.conf.arg(help=METHOD)] = "auto",
    sources: Annotated[tuple[str, ...], tyro.conf.arg(help="sources by name, or 'all'; without it, the top k of a ranking")] = (),
    top: Annotated[int | None, tyro.conf.arg(help="how many sources the ranking gives; by default 2")] = None, by: Ranked = None,
    include_target: Annotated[bool, tyro.conf.arg(help="the target adapter may be among the sources")] = False,
    data: Data = None, rows: Rows = None, seeds: tuple[int, ...] = (0,), columns: Columns = NO_COLUMNS,
    start: Annotated[Start | None, tyro.conf.arg(help="of the head: at the closed form (the default), or at random")] = None,
    budget: Annotated[float | None, tyro.conf.arg(help=BUDGET)] = None,
    portable: Annotated[bool, tyro.conf.arg(help=PORTABLE)] = False, precision: ChosenPrecision = "auto",
    recipe: RecipeChange = RecipeChange(), base: StoredBase = None,
) -> None:  # fmt: skip
    """Combine sources of a pool for a target; store the result.

    Sources are ranked for the target unless --sources names them; the result is scored on the validation set.

    For example:
      scalearn transfer reviews.csv --text body --label stars --pool pools/mine --out out/reviews
      scalearn transfer rte --data path/to/tasks --sources mrpc qnli --seeds 0 1 2 --out out/rte
      scalearn transfer entail_kitchen --pool pools/mine --method scalearn --top 4 --out out/entail
    """
    from scalearn.methods.registry import get_method
    from scalearn.results.transfer import transfer as run_transfer
    from tasksel.adapters.pool import AdapterPool
    from tasksel.adapters.usual_lora import usual_lora

    begun = time.perf_counter()
    task = columns.task(target, data=data)
    transfer_method = get_method(method)
    pool = AdapterPool(pool_folder, base=base)
    transfer_method.check_kind(pool.kind)
    lora = usual_lora(pool) if transfer_method.adds_new else None
    selected: list[Source] = []
    similarities: tuple[float, ...] | None = None
    asked = {"start": start, "budget": budget, "pooling": "first" if portable else None}
    changed = recipe.model_copy(update={name: value for name, value in asked.items() if value is not None})
    if transfer_method.takes_sources:
        selector = by or _default_selector(transfer_method, changed)
        seed = seeds[0] if seeds else 0
        selected, similarities = _sources(
            pool, task, sources, top=top, by=selector, include_target=include_target, rows=rows, seed=seed
        )
    selecting = time.perf_counter() - begun
    result = run_transfer(
        task, selected, method=method, rows=rows, recipe=_recipe(transfer_method, task, rows, changed, pool.kind or "bottleneck"), seeds=seeds,
        base=pool.base, similarities=similarities, out=out_folder, lora=lora, precision=None if precision == "auto" else precision,
    )  # fmt: skip
    _show_answer(result, begun, selecting)


def _recipe(method: TransferMethod, task: Task, rows: int | None, change: RecipeChange, kind: Kind) -> Recipe:
    """The method's recipe for the task's rows, with what was asked for."""
    from scalearn.methods.few_rows import recipe_for
    from tasksel.tasks.load import load_data

    return recipe_for(method, lambda: len(load_data(task, rows=rows).train), change.of, kind=kind)


def _default_selector(method: TransferMethod, recipe: RecipeChange) -> str | Selector:
    """`auto`, on tokens pooled as the head will read them; connectivity for a method that weighs by similarity, which has none below 0."""
    from tasksel.selection.selectors import get_selector

    if method.needs_similarities:
        return "connectivity"
    return get_selector("auto", pooling=recipe.pooling or "base")


def _show_answer(result: TransferResult, begun: float, selecting: float) -> None:
    """What the result comes to, the time and the next commands.

    Args:
        begun: when the command began, by `time.perf_counter`. selecting: seconds until the sources were chosen.
    """
    from scalearn.results.answer import answer
    from scalearn.results.answer_table import answer_tables, next_commands, time_line

    show(f"{result}\nstored in {result.folder}\n")
    summary = answer(result)
    show(answer_tables(summary))
    seconds = time.perf_counter() - begun
    show(f"\n{time_line(summary, seconds, selecting)}\n{next_commands(summary, result.folder)}")


def _sources(
    pool: AdapterPool, task: Task, names: tuple[str, ...], *, top: int | None, by: str | Selector, include_target: bool, rows: int | None, seed: int
) -> tuple[list[Source], tuple[float, ...] | None]:  # fmt: skip
    """Sources by name, all of them, or the best of a ranking with their scores."""
    from tasksel.selection.candidate import is_writable, say_read_only
    from tasksel.selection.own import own_names, without_own
    from tasksel.selection.ranking import rank
    from tasksel.tasks.stored_rows import cache_root

    if names and names != ("all",):
        selected = pool.select(names)
        if own := own_names(task, selected):
            say(f"trained on the rows of '{task.name}' itself: {', '.join(own)}")
        return selected, None
    allowed = list(pool) if include_target else without_own(task, list(pool))
    if names:
        return allowed, None
    if not allowed:
        raise UserError(f"the pool {pool.folder} has no sources for '{task.name}': train some, or add some")
    top = min(DEFAULT_TOP, len(allowed)) if top is None else top
    if not 1 <= top <= len(allowed):
        raise UserError(
            f"--top {top}, but the pool {pool.folder} has {len(allowed)} sources for '{task.name}': choose 1 to {len(allowed)}"
        )
    cache_dir = pool.folder / ".targets"
    if not is_writable(cache_dir):
        cache_dir = cache_root() / "targets"
        say_read_only(pool.folder, cache_dir)
    ranking = rank(
        task,
        allowed,
        by=by,
        base=pool.base,
        rows=rows,
        seed=seed,
        include_target=True,
        cache_dir=cache_dir,
    )
    show(str(ranking))
    return pool.select(ranking.top(top)), ranking.scores[:top]


def export(
    result: Folder,
    out_folder: Annotated[Path, tyro.conf.arg(name="out")],
    seed: int | None = None,
    rank: Annotated[int | None, tyro.conf.arg(help=RANK)] = None,
    server: Annotated[Literal["vllm"] | None, tyro.conf.arg(name="for", help=SERVER)] = None,
    onnx: Annotated[
        bool, tyro.conf.arg(help="the whole model as one ONNX file, of every method (extra: onnx)")
    ] = False,
    merged: Annotated[
        bool, tyro.conf.arg(help="a dense model folder of transformers, a LoRA merged into its weights")
    ] = False,
    base: StoredBase = None,
) -> None:
    """Write a result as one adapter that plain `adapters` loads, or as one LoRA that stock PEFT loads, and print the code that does so.

    `scalearn predict` and `push` take it without either library. A head on the mean of the tokens is applied by the printed code.

    For example:
      scalearn export out/rte --out out/rte-adapter
      scalearn export out/rte --out out/rte-lora --rank 16 --for vllm
      scalearn export out/rte --out out/rte-onnx --onnx
      scalearn export out/rte --out out/rte-model --merged
    """
    from scalearn.results.export import how_to_load, how_to_serve, read_export
    from scalearn.results.result import TransferResult

    if (onnx or merged) and (rank is not None or server is not None or (onnx and merged)):
        raise UserError("--onnx and --merged write the whole model: give one of them, without --rank and --for")
    if merged:
        folder = TransferResult.load(result, base=base).export_merged(out_folder, seed=seed)
        show(f"exported to {folder}; {folder / 'README.md'} holds the code that predicts with it by transformers alone")
        return
    if onnx:
        folder = TransferResult.load(result, base=base).export_onnx(out_folder, seed=seed)
        show(f"exported to {folder}; {folder / 'README.md'} holds the code that predicts with it by onnxruntime alone")
        return
    folder = TransferResult.load(result, base=base).export(out_folder, seed=seed, rank=rank, server=server)
    exported = read_export(folder)
    if exported.narrowed:
        show(f"{exported.narrowed}\n{exported.narrowed.compared(exported.scores)}")
    if server is not None:
        show(f"{how_to_serve(folder)}\n")
    show(f"exported to {folder}, for `scalearn predict`; {how_to_load(folder)}".rstrip())


def predict(
    model: Folder,
    file: tyro.conf.Positional[Path | None] = None,
    text: Annotated[OneText, tyro.conf.arg(help="a text instead of a file; --text twice for a pair")] = (),
    choice: Annotated[OneText, tyro.conf.arg(help="with --text, for multiple choice: once per choice")] = (),
    out_file: Annotated[Path | None, tyro.conf.arg(name="out", help="a file, .jsonl or .csv")] = None,
    form: Annotated[
        Literal["jsonl", "csv"] | None, tyro.conf.arg(name="format", help="by default that of the file's ending")
    ] = None,
    seed: int | None = None,
    label: Annotated[
        tuple[str, ...], tyro.conf.arg(help="the file's label column (or columns), where it is not the task's")
    ] = (),
    metric: Annotated[str | None, tyro.conf.arg(help="by default the task's")] = None,
    separator: Annotated[
        str | None, tyro.conf.arg(help="between the cells of a CSV or TSV file; by default found")
    ] = None,
    encoding: Annotated[str | None, tyro.conf.arg(help="of a text file; by default found, or UTF-8")] = None,
    base: StoredBase = None,
) -> None:
    """Predict a file's rows, or one text.

    MODEL is a result's folder or an export. Each row has its id (the file's column id or idx, else its number) and a score per label.
    The predictions are scored on the rows that have a label of the task.

    For example:
      scalearn predict out/rte new.jsonl --out predictions.jsonl
      scalearn predict out/rte-adapter new.csv --format csv
      scalearn predict out/reviews --text "would buy again"
      scalearn predict out/rte --text "Two cooks peel carrots" --text "Nobody cooks"
      scalearn predict out/copa --text "The glass fell." --choice "It broke." --choice "It flew."
    """
    from scalearn.results.predict import predict_file
    from scalearn.results.prediction_files import format_of, prediction_line

    if (file is None) == (not text) or (choice and not text):
        raise UserError("give a FILE, or --text (twice for a pair, with --choice for multiple choice), and not both")
    if file is None:
        _predict_text(model, text, choice, out_file, form, seed, base)
        return
    form = format_of(out_file, form)
    reading = {"separator": separator, "encoding": encoding}
    predictions, score = predict_file(model, file, seed=seed, label=label or None, metric=metric, base=base, **reading)
    if form is None:
        show("\n".join(map(prediction_line, predictions)))
    else:
        _write(predictions, out_file, form)
    if score is not None:
        (say if form and not out_file else show)(f"score on the labels in {file}: {score:.4f}")


def _write(predictions: list[dict[str, Any]], out_file: Path | None, form: Literal["jsonl", "csv"]) -> None:
    """Predictions into a file or, without one, to standard output."""
    from scalearn.results.prediction_files import prediction_text, write_predictions

    if out_file is None:
        show(prediction_text(predictions, form).removesuffix("\n"))
        return
    write_predictions(predictions, out_file, form)
    show(f"{len(predictions)} prediction{'s' * (len(predictions) != 1)} in {out_file}")


def _predict_text(
    model: Path, text: tuple[str, ...], choice: tuple[str, ...], out_file: Path | None, form: Literal["jsonl", "csv"] | None,
    seed: int | None, base: str | None,
) -> None:  # fmt: skip
    """Predicts one text and prints it, or writes it to a file, choices by their index as for the rows of a file."""
    from scalearn.results.predict import predict_text, prediction_lines
    from scalearn.results.prediction_files import format_of

    form = format_of(out_file, form)
    prediction = predict_text(model, text, choices=choice, seed=seed, base=base)
    if form is None:
        show("\n".join(prediction_lines(prediction)))
        return
    names = map(str, range(len(choice))) if choice else prediction["names"]
    scores = dict(zip(names, prediction["scores"], strict=False))  # a number has a score and no name
    _write([{"id": 1, "prediction": prediction["prediction"], "scores": scores}], out_file, form)


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
    base: StoredBase = None,
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
    result = find_result(folder, target, method, seed=seed, size=size, base=base)
    explanation = explain_result(result, seed=seed, rows=rows)
    show(explanation_tables(explanation))
    if out_file and is_main():
        write_json(out_file, explanation.to_json())
        show(f"written to {out_file}")


def push(
    export: Folder,
    to: Annotated[str, tyro.conf.arg(help="user/name on the hub")],
    private: Annotated[bool, tyro.conf.arg(help="a repository that only you see")] = False,
    yes: Annotated[bool, tyro.conf.arg(help="send; without it, only say what would be sent")] = False,
    base: Annotated[str | None, tyro.conf.arg(help="refuse unless the export is for this base")] = None,
) -> None:
    """Upload an export to the hub.

    Without --yes, lists what would be sent where, and sends nothing.

    For example:
      scalearn push out/rte-adapter --to me/rte-adapter
      scalearn push out/rte-adapter --to me/rte-adapter --private --yes
    """
    from scalearn.results.push import local_paths, plan_push

    plan = plan_push(export, to=to, private=private, base=base)
    show(str(plan))
    for path in local_paths(export):
        show(f"note: {path} of this machine is named in these files, for all who may read it")
    if not yes:
        show("nothing was sent; --yes sends it")
    elif is_main():
        show(f"sent: {plan.send()}")
