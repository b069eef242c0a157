"""What several tests of selection begin with. One thread: on a busy machine, two that wait for each other take ten times as long over models this small."""

import pytest
import torch
from made_bench import make_bench


@pytest.fixture(scope="session", autouse=True)
def _one_thread(_threads):
    torch.set_num_threads(1)


@pytest.fixture
def embedded_by(monkeypatch):
    """Watches an embedder: gives the list that the names of the tasks it embeds are added to, in order."""

    def watch(embedder):
        embedded, plain = [], embedder.embed

        def embed(self, task, *args, **kwargs):
            embedded.append(task.name)
            return plain(self, task, *args, **kwargs)

        monkeypatch.setattr(embedder, "embed", embed)
        return embedded

    return watch


@pytest.fixture
def bench(tmp_path, pool_folder, tiny):
    return make_bench(tmp_path, pool_folder, tiny)
