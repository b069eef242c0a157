"""What the tests of checkpoints and of when they are written share."""

import pytest


@pytest.fixture
def said(monkeypatch):
    """The lines that are said of checkpoints."""
    lines = []
    for module in ("checkpoints", "loop_state", "autosave"):
        monkeypatch.setattr(f"tasksel.training.{module}.say", lines.append)
    return lines
