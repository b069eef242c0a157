"""One thread: on a busy machine, two that wait for each other take ten times as long over models this small."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread(_threads):
    torch.set_num_threads(1)
