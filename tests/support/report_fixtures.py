"""A made-up run with its whole report, drawn once, and a second time to be the same: pictures take seconds."""

import pytest
from run_rows import make_run

from scalearn.report import write_report


def report(shared, name):
    """The folder of a whole run with its report, and the report's page."""
    folder = shared.fill(name, lambda folder: write_report(make_run(folder / "run")))
    return folder / "run", folder / "run" / "report" / "report.html"


@pytest.fixture(scope="session")
def reported(shared):
    """A run with its report. Read them only."""
    return report(shared, "reported")


@pytest.fixture(scope="session")
def reported_again(shared):
    """The same run elsewhere, with its report."""
    return report(shared, "reported-again")
