"""The fixtures that tests of every folder share, by what they give; each lies in a module of tests/support/."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before a hub client is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

collect_ignore = ["support"]  # no tests, but files that version 0.1 stored, with the scripts that made them
pytest_plugins = [
    "doctest_fixtures",
    "fresh_process",
    "model_fixtures",
    "report_fixtures",
    "selection_fixtures",
    "shared",
    "transfer_fixtures",
]
