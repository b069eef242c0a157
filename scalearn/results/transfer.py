"""Stage 2: from sources to a target, by one method, for each seed; a killed run goes on from the last finished seed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from scalearn.layers.fusion import penalty
from scalearn.layers.stacking import stack
from scalearn.methods.base import Method, build, check_count, get_method, learned_parameters, learned_state
from scalearn.methods.grid import best_of_grid
from scalearn.methods.joint import Lesson, identity, lesson, partners, train_joint
from scalearn.methods.search import need_cma, searched
from scalearn.methods.soup import merge, shares
from scalearn.results.result import PROJECTIONS, Run, Seed, TransferResult, read_record
from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.adapters.pool import Source
from tasksel.display.progress import bar
from tasksel.errors import UserError
from tasksel.model.base import Base, describe, load_base
from tasksel.processes import accelerator
from tasksel.storage.atomic import file_hash, value_hash, whole_folder, write_json
from tasksel.storage.provenance import versions
from tasksel.tasks.load import Data, load
from tasksel.tasks.task import Task
from tasksel.training.loop import TEMPERATURE, Fit, fit
from tasksel.training.memory import Peak
from tasksel.training.predict import encode_split, evaluate_all
from tasksel.training.recipe import Recipe
from tasksel.training.state import load_trained


@dataclass(frozen=True)
class Job:
    """What is to be computed, but for the seeds.

    `store` is where trainings that several targets share are kept; it decides no number.
    """

    folder: Path
    target: Task
    method: Method
    base: Base
    sources: tuple[Source, ...]
    rows: int | None
    recipe: Recipe
    similarities: tuple[float, ...] | None
    store: Path | None = None

    @cached_property
    def stacked(self) -> tuple[dict[str, Bottlenecks], dict[str, Any]]:
        """The sources' projections by slot path (merged into one for a soup), and their adapter configuration.

        Empty for "joint", which learns the sources' tasks and does not use their adapters.
        """
        if self.method.course == "joint":
            return {}, {}
        layers, config = stack(self.sources)
        if self.method.merge:
            layers = merge(layers, shares(self.similarities or [1.0] * len(self.sources)))
        return layers, config

    @cached_property
    def lessons(self) -> list[Lesson]:
        """The sources' tasks with their rows, in the order of the tasks' names; what "joint" learns beside the target."""
        return sorted((lesson(source) for source in self.sources), key=lambda pair: pair[0].name)

    @cached_property
    def key(self) -> str:
        """16 hex digits of everything that decides the outcome, but for the seeds."""
        content = load(self.target, rows=self.rows).fingerprint
        target = [self.target.name, self.target.kind, self.target.labels, self.target.metric, content]
        weights: list[Any] = [(source.name, source.fingerprint) for source in self.sources]  # in omega's order
        if self.method.course == "joint":
            weights = [TEMPERATURE, [identity(task, data) for task, data in self.lessons]]
        recipe = self.recipe.model_dump(exclude={"log_with"})
        told = [target, self.method.name, self.base.fingerprint, self.rows, weights, recipe]
        return value_hash(told if self.similarities is None else [*told, self.similarities])


def transfer(
    target: Task,
    sources: Sequence[Source],
    *,
    method: str = "scalearn",
    seeds: Sequence[int] = (0,),
    rows: int | None = None,
    recipe: Recipe | None = None,
    base: str | Base | None = None,
    out: str | Path | None = None,
    similarities: Sequence[float] | None = None,
    store: str | Path | None = None,
) -> TransferResult:
    """Trains a method on a target and scores the public validation set.

    Args:
        sources: from `AdapterPool.select`, best first; a method that takes fewer (none, "sequential" the first, "fixed-grid" the first
            two) may be given all.
        method: a row of `scalearn.methods.base.METHODS`.
        seeds: each draws its own rows, dev set, head, omega and order.
        rows: at most so many training rows of the target.
        recipe: by default the method's own.
        base: needed only where there are no sources.
        out: the result's folder; by default a temporary one (see `TransferResult.save`).
        similarities: each source's to the target, larger is nearer, as a ranking gives them; only "soup-similarity" reads them.
        store: where trainings that several targets share are kept; only "joint" reads it. None trains anew.

    Raises:
        UserError: too few or ill-matched sources, an unknown method, similarities that are missing or cannot be weights, a folder that
            holds a different run, bad data; for "joint", a source without a task.
        Diverged: the loss became NaN; finished seeds and the last good state are kept.
    """
    chosen = get_method(method)
    recipe = recipe or chosen.recipe
    model_base = _base(sources, base)
    _check(chosen, sources, seeds)
    used, weighed = tuple(sources[: chosen.most]), _similarities(chosen, sources, similarities)
    if chosen.course == "joint":
        used = partners(target, sources)
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="scalearn-"))
    job = Job(folder, target, chosen, model_base, used, rows, recipe, weighed, Path(store) if store else None)
    _begin(job)
    with bar(f"{target.name} by {method}", len(seeds)) as advance:
        for seed in seeds:
            if not (folder / f"seed-{seed}" / "seed.json").is_file():
                _train_seed(job, seed)
            advance("")
    world = accelerator()
    if world.is_main_process:
        finished = {int(path.parent.name.removeprefix("seed-")) for path in folder.glob("seed-*/seed.json")}
        write_json(folder / "result.json", {"seeds": sorted(finished)})
    world.wait_for_everyone()
    return TransferResult.load(folder)


def _base(sources: Sequence[Source], base: str | Base | None) -> Base:
    if base is None and not sources:
        raise UserError("no sources and no base: name the base model (base='minilm', a hub id or a folder)")
    found = base if isinstance(base, Base) else load_base(base or sources[0].card.base["name"])
    for source in sources:
        source.check_base(found)
    return found


def _check(method: Method, sources: Sequence[Source], seeds: Sequence[int]) -> None:
    """Refuses what could only fail later."""
    check_count(method, len(sources))
    if method.course == "search":
        need_cma()
    names = [source.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(
            f"source '{twice}' is given twice; names must differ (rename an entry's folder to tell two apart)"
        )
    if not seeds or len(set(seeds)) != len(seeds):
        raise UserError(f"seeds {list(seeds)}: give one or more, none twice")


def _similarities(method: Method, sources: Sequence[Source], given: Sequence[float] | None) -> tuple[float, ...] | None:
    """The similarities, where the method reads them."""
    if given is not None and len(given) != len(sources):
        raise UserError(f"{len(given)} similarities for {len(sources)} sources: give one a source, in the same order")
    if method.merge != "similarity":
        return None
    if given is None:
        raise UserError(
            f"method '{method.name}' weighs the sources by their similarity to the target, and none is given: "
            "let a ranking choose the sources, pass similarities=[...], or use 'soup', which weighs all alike"
        )
    shares(given)
    return tuple(float(value) for value in given)


def _begin(job: Job) -> None:
    """Writes down what is computed, with the sources' weights, all at once; or finds it written.

    Raises:
        UserError: the folder holds a different run (what differs is named), or something else.
    """
    found = job.folder / "run.json"
    if found.is_file():
        run = read_record(found, Run)
        if run.key != job.key:
            raise UserError(
                f"{job.folder} holds a different run ({_difference(run, job)}): choose another --out, or delete it"
            )
    elif job.folder.is_file() or (job.folder.is_dir() and any(job.folder.iterdir())):
        raise UserError(f"{job.folder} is not empty and holds no transfer: choose another --out")
    begun, world = found.is_file(), accelerator()
    world.wait_for_everyone()  # all have looked before one writes
    if not begun and world.is_main_process:
        with whole_folder(job.folder) as fresh:
            write_json(fresh / "run.json", _run(job, fresh).model_dump(mode="json"))
    world.wait_for_everyone()


def _run(job: Job, folder: Path) -> Run:
    """The record of a job; its sources' projections are written into the folder."""
    layers, config = job.stacked
    digest = None
    if layers:
        tensors = {
            f"{path}/{name}": getattr(part, name).contiguous() for path, part in layers.items() for name in PROJECTIONS
        }
        save_file(tensors, folder / "sources.safetensors")
        digest = file_hash(folder / "sources.safetensors")
    return Run(
        key=job.key,
        task=job.target,
        method=job.method.name,
        base=describe(job.base),
        sources={source.name: source.fingerprint for source in job.sources},
        adapter_config=config,
        rows=job.rows,
        recipe=job.recipe,
        sources_file=digest,
        versions=versions(),
        similarities=job.similarities,
    )


def _difference(run: Run, job: Job) -> str:
    pairs = {
        "target": (run.task.name, job.target.name),
        "metric": (run.task.metric, job.target.metric),
        "method": (run.method, job.method.name),
        "sources": (", ".join(run.sources), ", ".join(source.name for source in job.sources)),
        "similarities": (run.similarities, job.similarities),
        "rows": (run.rows, job.rows),
        **{f"recipe.{name}": (getattr(run.recipe, name), getattr(job.recipe, name)) for name in Recipe.model_fields},
    }
    differing = [f"{what} {old}, asked {new}" for what, (old, new) in pairs.items() if old != new]
    return "; ".join(differing) or "the data, the base or a source's weights differ"


@dataclass(frozen=True)
class Learned:
    """A seed's trained model, how its training went, and the most memory that it held."""

    model: Any
    fitted: Fit
    grid: list[dict[str, float]] | None
    peak_memory: int | None


def _learn(job: Job, seed: int, data: Data) -> Learned:
    """Builds and trains one seed's model, as the method's course says."""
    if job.method.course == "joint":
        return _learn_jointly(job, seed, data)
    target, recipe, tokenizer, method = job.target, job.recipe, job.base.tokenizer, job.method
    train, dev = (
        encode_split(split, target, tokenizer, max_length=recipe.max_length) for split in (data.train, data.dev)
    )
    peak = Peak(accelerator().device)
    model = build(job.base, target, method, *job.stacked, seed=seed)
    options: dict[str, Any] = {"seed": seed, "label": f"{target.name} by {method.name}, seed {seed}"}
    options["rescue"] = _rescue(job, seed)
    if method.slot == "fusion":
        options["penalty"] = partial(penalty, model)

    def once(model: Any) -> Fit:
        return fit(model, target, train, dev, recipe, **options)

    grid = None
    if method.course == "grid":
        fitted, grid = best_of_grid(model, once)
    elif method.course == "search":
        fitted = searched(model, target, train, once, count=len(job.sources), seed=seed)
    else:
        fitted = once(model)
    return Learned(model, fitted, grid, peak.bytes())


def _learn_jointly(job: Job, seed: int, data: Data) -> Learned:
    """One seed's model of the target alone, with the adapter and the head that it learned together with the sources' tasks."""
    target = job.target
    done = train_joint(
        [(target, data), *job.lessons],
        job.base,
        job.recipe,
        seed=seed,
        store=job.store,
        label=f"{target.name} with {', '.join(task.name for task, _ in job.lessons)}, seed {seed}",
        rescue=_rescue(job, seed),
    )
    model = build(job.base, target, job.method, *job.stacked, seed=seed)
    load_trained(model, done.of(target.name))
    model.eval().to(accelerator().device)
    return Learned(model, done.fit(target.name), None, done.told.peak_memory)


def _rescue(job: Job, seed: int) -> Path:
    """Where the last good state of a seed that diverges lies."""
    return job.folder / f"seed-{seed}-last-good.safetensors"


def _train_seed(job: Job, seed: int) -> None:
    """Trains and scores one seed, and stores it whole."""
    data = load(job.target, rows=job.rows, seed=seed)
    learned = _learn(job, seed, data)
    model, fitted = learned.model, learned.fitted
    scores = evaluate_all(model, job.target, data, job.base.tokenizer, max_length=job.recipe.max_length)
    world = accelerator()
    if world.is_main_process:
        own = (job.folder / "sources.safetensors").stat().st_size if job.method.merge else 0
        with whole_folder(job.folder / f"seed-{seed}") as fresh:
            state = fresh / "state.safetensors"
            save_file(learned_state(model), state)
            entry = Seed(
                seed=seed,
                scores=scores,
                dev=fitted.score or 0.0,
                epoch=fitted.epoch or 0,
                steps=fitted.steps,
                seconds=fitted.seconds,
                parameters=learned_parameters(model),
                data=data.fingerprint,
                state_file=file_hash(state),
                bytes=state.stat().st_size + own,
                peak_memory=learned.peak_memory,
                grid=tuple(learned.grid) if learned.grid else None,
            )
            write_json(fresh / "seed.json", entry.model_dump(mode="json"))
    world.wait_for_everyone()
