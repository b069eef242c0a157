"""A made-up run with its whole report, drawn once: pictures take seconds."""

import pytest
from run_rows import make_run

from scalearn.report import write_report


@pytest.fixture(scope="session")
def reported(shared):
    """The folder of a whole run with its report, and the report's page. Read them only."""
    folder = shared.fill("reported", lambda folder: write_report(make_run(folder / "run")))
    return folder / "run", folder / "run" / "report" / "report.html"
