"""The LoRA that is usual in a pool: what a new one looks like that is compared with its sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tasksel.adapters.pool import Source
from tasksel.model.lora_config import LoraConfig


def usual_lora(sources: Iterable[Any]) -> LoraConfig | None:
    """The configuration that most of these sources have (of several, the first by name); None if none of them is a LoRA.

    A source's dropout is not compared, and a new LoRA has none.

    Args:
        sources: a pool, or candidates of any kind; those that are no `Source` do not count.

    >>> usual_lora(AdapterPool("pools/loras")).r  # doctest: +SKIP
    8
    """
    configs = [source.lora().config.lora for source in sources if isinstance(source, Source) and source.kind == "lora"]
    counted = Counter(config.model_copy(update={"lora_dropout": 0.0}).model_dump_json() for config in configs)
    return LoraConfig.model_validate_json(counted.most_common(1)[0][0]) if counted else None
