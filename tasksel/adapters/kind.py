"""The two kinds of adapters that a pool can hold: what each is called, and how one is known by its configuration."""

from __future__ import annotations

from typing import Any, Literal

from tasksel.model.lora_config import is_lora

Kind = Literal["bottleneck", "lora"]
KINDS: dict[Kind, str] = {"bottleneck": "bottleneck adapters", "lora": "LoRAs"}
"""Each kind in words."""


def kind_of(config: Any) -> Kind:
    """The kind of an adapter, by its configuration in a model.

    >>> kind_of({"architecture": "lora", "r": 8})
    'lora'
    """
    return "lora" if is_lora(config) else "bottleneck"
