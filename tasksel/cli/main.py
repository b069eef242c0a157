"""tasksel: select source tasks for a target."""

from __future__ import annotations

from tasksel.cli import embeddings, evaluation, gain, selection, tasks
from tasksel.cli.app import Commands, run_command
from tasksel.cli.arguments import WAS_STORE

# what is stored when a command is interrupted
EMBEDDINGS = "finished embeddings and adapters are stored; the same command computes the others"
SCORES = "finished scores are stored beside the matrix; the same command computes the others"
FEATURES = "features of finished pairs are stored beside the matrix; the same command computes the others"

app = Commands("tasksel", __doc__)
app.command("ls")(tasks.ls)
app.command("show")(tasks.show)
app.command("embed", kept=EMBEDDINGS)(embeddings.embed)
app.command("rank", kept=EMBEDDINGS, formerly_options=WAS_STORE)(selection.rank)
app.command("evaluate", kept=SCORES, formerly="judge", formerly_options=WAS_STORE)(evaluation.evaluate)
app.command("predict-gain", kept=FEATURES, formerly="benefit", formerly_options=WAS_STORE)(gain.predict_gain)
index = app.group("index", "Search stored embeddings for the nearest tasks.")
index.command("build")(embeddings.index_build)
index.command("nearest")(embeddings.index_nearest)


def main(argv: list[str] | None = None) -> int:
    """The command line; gives the exit code."""
    return run_command(app, argv)
