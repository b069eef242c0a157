"""How a text's tokens become one vector, which heads and feature selectors read: its first or last token, or the mean over its tokens.

    first    h_0                                   BERT's [CLS], and the only one that the `adapters` library's heads know
    mean     sum_t m_t h_t / sum_t m_t             most sentence encoders; m the attention mask
    last     h_T, T the largest t with m_t = 1     decoders, whose other tokens have not seen the whole text

A base that is a sentence-transformers model says which it was trained with, in its 1_Pooling/config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # a recipe names poolings, and commands that only print read recipes
    from torch import Tensor

Pooling = Literal["first", "mean", "last"]
Reads = Literal["first", "mean", "last", "pooler"]  # of a head: the pooler is the base's own layer on the first token
CONFIG = "1_Pooling/config.json"


def pool(hidden: Tensor, mask: Tensor | None, how: Pooling) -> Tensor:
    """One vector [b, d] for each sequence of hidden states [b, t, d].

    >>> import torch
    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]), "mean").tolist()
    [[2.0]]
    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]), "last").tolist()
    [[3.0]]
    """
    if how == "first":
        return hidden[:, 0]
    if how == "last":
        return hidden[:, -1] if mask is None else last_token(hidden, mask)
    if mask is None:
        return hidden.mean(1)
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """The last token [b, d] of hidden states [b, t, d] that is attended to, whichever side is padded."""
    tokens = mask.shape[1]
    padded_behind = mask.flip(1).long().argmax(1)  # of equal ones the first: the tokens of padding at the end
    index = (tokens - 1 - padded_behind)[:, None, None].expand(-1, 1, hidden.shape[-1])
    return hidden.gather(1, index)[:, 0]


def stated_pooling(file: Path) -> Pooling | None:
    """What a sentence-transformers configuration says; None where there is none, or it says something else.

    >>> stated_pooling(Path("no/such/1_Pooling/config.json")) is None
    True
    """
    try:
        says = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(says, dict):
        return None
    modes = [
        key.removeprefix("pooling_mode_") for key, on in says.items() if key.startswith("pooling_mode_") and on is True
    ]
    mode = modes[0] if len(modes) == 1 else says.get("pooling_mode")  # the key of newer files
    known: dict[Any, Pooling] = {
        "cls_token": "first",
        "cls": "first",
        "mean_tokens": "mean",
        "mean": "mean",
        "lasttoken": "last",
    }
    return known.get(mode) if isinstance(mode, str) else None
