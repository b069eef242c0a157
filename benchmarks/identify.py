"""Does a connectivity pattern identify its task? Each task is embedded under two seeds (other rows, head and order).

A task is identified if its two embeddings are more similar to each other than either is to any other task's.

    accelerate launch --mixed_precision bf16 -m benchmarks.identify --data PATH/TO/TASKS --pool runs/glue_minilm/store/sources/*/seed-0

With a pool, the table compares the seconds of an embedding with those of training the task's source adapter.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from scalearn import AdapterPool
from tasksel import TaskEmbedding, find_tasks, load_base, load_data
from tasksel.display.progress import bar
from tasksel.embeddings.connectivity import Connectivity
from tasksel.embeddings.similarity import Grouping

TASKS = ("mnli", "qqp", "qnli", "sst2", "stsb", "mrpc", "rte", "cola", "subj", "trec")
FORMS = {"weights frozen": Connectivity(), "weights co-trained": Connectivity(co_train=True)}
GROUPINGS: tuple[Grouping, ...] = ("all", "neurons", "heads", "balanced")
Embeddings = dict[tuple[str, int], TaskEmbedding]


def embed_all(embedder: Connectivity, names: list[str], data: str, rows: int, store: Path) -> Embeddings:
    """Every task under seeds 0 and 1; stored embeddings are not computed again."""
    base, tasks = load_base("minilm"), find_tasks(data)
    embeddings: Embeddings = {}
    with bar(embedder.key, 2 * len(names)) as advance:
        for name in names:
            for seed in (0, 1):
                path = store / f"{name}-{embedder.key}-seed{seed}.safetensors"
                if not path.is_file():
                    embedder.embed(tasks[name], load_data(tasks[name], rows=rows, seed=seed), base, seed=seed).save(
                        path
                    )
                embeddings[name, seed] = TaskEmbedding.load(path)
                advance(name)
    return embeddings


def nearest(embedder: Connectivity, embeddings: Embeddings, name: str) -> tuple[float, str, float]:
    """Similarity of a task to itself under the other seed; the nearest other task, and its similarity."""
    both_seeds = [embeddings[name, 0], embeddings[name, 1]]
    others = [
        (max(embedder.similarity(one, other) for one in both_seeds), task)
        for (task, _), other in embeddings.items()
        if task != name
    ]
    similarity, nearest_task = max(others)
    return embedder.similarity(*both_seeds), nearest_task, similarity


def table(form: str, embedder: Connectivity, embeddings: Embeddings, names: list[str], pool: AdapterPool | None) -> str:
    """The table of frozen or co-trained weights, and how many tasks each grouping identifies."""
    lines = [
        f"### {form}",
        "",
        "| task | same task, other seed | nearest other task | identified | steps | seconds | of the source adapter's seconds |",
    ]
    lines.append("|---|--:|---|---|--:|--:|--:|")
    for name in names:
        same, other_task, other = nearest(embedder, embeddings, name)
        provenance = embeddings[name, 0].provenance
        card = pool[name].card if pool is not None and name in pool else None
        share = (
            f"{100 * provenance['seconds'] / card.seconds:.0f} % of {card.seconds:.0f}"
            if card and card.seconds
            else "-"
        )
        identified = "yes" if same > other else "no"
        lines.append(
            f"| {name} | {same:.3f} | {other_task} {other:.3f} | {identified} | {provenance['steps']} | {provenance['seconds']:.1f} | {share} |"
        )
    lines += [
        "",
        "| grouping | identified | mean similarity: same task | mean of the nearest other |",
        "|---|--:|--:|--:|",
    ]
    for grouping in GROUPINGS:
        rows = [nearest(replace(embedder, grouping=grouping), embeddings, name) for name in names]
        hits = sum(same > other for same, _, other in rows)
        means = [sum(row[i] for row in rows) / len(rows) for i in (0, 2)]
        lines.append(f"| {grouping} | {hits} of {len(rows)} | {means[0]:.3f} | {means[1]:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Embeds all tasks, compares them, prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of task folders")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--pool", type=Path, help="a pool of the same tasks, for its seconds")
    parser.add_argument("--store", type=Path, default=Path("runs/identify"))
    options = parser.parse_args()
    pool = AdapterPool(options.pool) if options.pool else None
    for form, embedder in FORMS.items():
        embeddings = embed_all(embedder, options.tasks, options.data, options.rows, options.store)
        print(table(form, embedder, embeddings, options.tasks, pool), end="\n\n")


if __name__ == "__main__":
    main()
