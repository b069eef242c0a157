"""The fixtures that tests of every folder share, by what they give; each lies in a module of tests/support/."""

import importlib.util
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before a hub client is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

collect_ignore = ["support"]  # no tests, but files that version 0.1 stored, with the scripts that made them
pytest_plugins = [
    "doctest_fixtures",
    "fresh_process",
    "library",
    "lora_pool",
    "model_fixtures",
    "plain_adapter",
    "report_fixtures",
    "selection_fixtures",
    "shared",
    "transfer_fixtures",
]


YARDSTICKS = {"library": "adapters", "peft": "peft"}  # packages that are compared with, by the fixture that gives them


def pytest_collection_modifyitems(config, items):
    """Deselects what compares with a library where that is not installed."""
    missing = {fixture for fixture, package in YARDSTICKS.items() if importlib.util.find_spec(package) is None}
    compared = [item for item in items if missing & set(getattr(item, "fixturenames", ()))]
    if compared:
        config.hook.pytest_deselected(items=compared)
        items[:] = [item for item in items if item not in compared]
