"""The fixtures that tests of every folder share, by what they give; each lies in a module of tests/support/."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before a hub client is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = ["shared", "model_fixtures", "selection_fixtures", "transfer_fixtures"]
