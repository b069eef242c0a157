"""What several tests of selection begin with: an embedder that is watched, a small bench."""

import pytest
from scoring_setup import make_bench


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
