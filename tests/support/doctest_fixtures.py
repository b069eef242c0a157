"""The examples in docstrings run in a folder of their own and know the packages by the names that the docs use."""

import math

import numpy as np
import pytest
import torch

import scalearn as sl
import tasksel as ts


@pytest.fixture(autouse=True)
def _folder_of_its_own(request):
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))


@pytest.fixture(scope="session", autouse=True)
def _names(doctest_namespace):
    doctest_namespace.update({"math": math, "np": np, "torch": torch, "sl": sl, "ts": ts})
