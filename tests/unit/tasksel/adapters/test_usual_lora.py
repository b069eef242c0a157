"""A new LoRA beside a pool's has the configuration that most of them have."""

import shutil

from scalearn import AdapterPool
from tasksel.adapters.usual_lora import usual_lora


def test_the_most_common_configuration_is_usual(lora_pool_folder, pool, tmp_path):
    shutil.copytree(lora_pool_folder, tmp_path / "pool")
    assert usual_lora(AdapterPool(tmp_path / "pool")).r == 3  # the first by name, where all differ
    shutil.copytree(lora_pool_folder / "sentiment_films", tmp_path / "pool" / "twice")
    usual = usual_lora(AdapterPool(tmp_path / "pool"))
    assert (usual.r, usual.lora_alpha, usual.target_modules) == (2, 4, ("query", "value"))
    assert usual_lora(pool) is None
