"""Commands that look at tasks: ls, show."""

from __future__ import annotations

import json

from tasksel.cli.app import show as show_result
from tasksel.cli.arguments import NO_COLUMNS, Columns, Data, Name, Rows
from tasksel.errors import unknown
from tasksel.tasks.registry import find_tasks, suites
from tasksel.tasks.task import Task

SHOWN = 1000  # characters of a text


def ls(data: Data = None, suite: str | None = None) -> None:
    """List tasks: name, suite, kind, metric.

    For example:
      tasksel ls
      tasksel ls --data hub --suite glue
      tasksel ls --data path/to/tasks
    """
    from rich.table import Table

    tasks = find_tasks(data)
    known = {part for task in tasks for part in task.suite.split("+")}
    if suite is not None and suite not in known:
        raise unknown("suite", suite, known)
    table = Table("task", "suite", "kind", "outputs", "metric", "licence")
    for task in tasks:
        if suite is None or suite in task.suite.split("+"):
            kind = task.kind.replace("_", " ")
            table.add_row(task.name, task.suite, kind, str(task.outputs), task.metric, task.licence)
    show_result(table)
    if data is None:
        published = ", ".join(suites())
        show_result(f"the built-in suite; published suites ({published}): tasksel ls --data hub")


def show(task: Name, data: Data = None, columns: Columns = NO_COLUMNS, rows: Rows = None) -> None:
    """Show a task: its fields, the size of each split, its first rows.

    For example:
      tasksel show entail_travel
      tasksel show rte --data path/to/tasks
      tasksel show reviews.csv --text body --label stars --kind regression
      tasksel show comments.csv --text comment --label toxic obscene threat
    """
    from tasksel.tasks.load import load_data

    shown = columns.task(task, data=data)
    fields = shown.model_dump(mode="json", exclude_defaults=True)
    fields["source"] = {"type": shown.source.type, **fields["source"]}  # so that what is shown is a task file
    show_result(json.dumps(fields, indent=2, ensure_ascii=False))
    splits = load_data(shown, rows=rows)
    sizes = f"train {len(splits.train)}, dev {len(splits.dev)} (a stratified tenth of train), test {len(splits.test)}"
    show_result(f"rows: {sizes}")
    for i in range(min(3, len(splits.train))):
        choices = f" {[_short(choice) for choice in splits.train.choices[i]]}" if splits.train.choices else ""
        row = f"{_label_text(shown, splits.train.labels[i])}: {' | '.join(map(_short, splits.train.texts[i]))}{choices}"
        show_result(f"  {row}")


def _short(text: str) -> str:
    """The beginning of a long text, and how long it is."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


def _label_text(task: Task, label: object) -> str:
    if task.kind == "multi_label":
        return ", ".join(name for name, on in zip(task.labels, label, strict=True) if on) or "none"  # type: ignore[call-overload]
    return task.labels[int(label)] if task.labels else str(label)  # type: ignore[call-overload]
