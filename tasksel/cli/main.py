"""tasksel: select source tasks for a target."""

from __future__ import annotations

from tasksel.cli import embeddings, evaluation, gain, selection, tasks
from tasksel.cli.app import Commands, run_command
from tasksel.cli.arguments import WAS_STORE

app = Commands("tasksel", __doc__)
app.command("ls")(tasks.ls)
app.command("show")(tasks.show)
app.command("embed")(embeddings.embed)
app.command("rank", formerly_options=WAS_STORE)(selection.rank)
app.command("evaluate", formerly="judge", formerly_options=WAS_STORE)(evaluation.evaluate)
app.command("predict-gain", formerly="benefit", formerly_options=WAS_STORE)(gain.predict_gain)
index = app.group("index", "Search stored embeddings for the nearest tasks.")
index.command("build")(embeddings.index_build)
index.command("nearest")(embeddings.index_nearest)


def main(argv: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    return run_command(app, argv)
