"""Token ids of a split, and padded batches of rows of like length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from tasksel.model.token_rows import Rows, TokenRows, joined, taken


@dataclass(frozen=True)
class Encoded:
    """Token ids of a split. A row is one sequence, or one per choice.

    ids, types   [rows][sequences][tokens], lists or of many rows arrays that are read alike; `types` (segments of a pair) where the tokenizer has them
    cut          rows that were longer than `max_length`
    """

    ids: Rows
    types: Rows | None
    labels: np.ndarray
    pad_id: int
    width: int  # sequences a row has room for: 1, or the task's num_choices
    cut: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sequence of all rows."""
        return max(self.lengths)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row's longest sequence."""
        return (
            self.ids.lengths.tolist() if isinstance(self.ids, TokenRows) else [max(map(len, row)) for row in self.ids]
        )

    def take(self, indices: Sequence[int]) -> Encoded:
        """These rows alone, in this order."""
        types = None if self.types is None else taken(self.types, indices)
        return replace(self, ids=taken(self.ids, indices), types=types, labels=self.labels[list(indices)])

    def joined(self, other: Encoded) -> Encoded:
        """The rows of both, of the same task."""
        types = None if self.types is None or other.types is None else joined(self.types, other.types)
        labels = np.concatenate([self.labels, other.labels])
        return replace(self, ids=joined(self.ids, other.ids), types=types, labels=labels, cut=self.cut + other.cut)

    def loss_terms(self, indices: Sequence[int]) -> int:
        """The denominator of the mean loss of these rows: their number."""
        return len(indices)

    def targets(self, indices: Sequence[int]) -> Tensor:
        """What the loss of these rows compares with: their labels."""
        return torch.from_numpy(self.labels[list(indices)])

    def batch(self, indices: Sequence[int], *, multiple: int = 1) -> dict[str, Tensor]:
        """Padded tensors: input_ids, attention_mask (and token_type_ids) [rows * width, tokens], labels, choice_mask [rows, width].

        Args:
            multiple: of tokens, to which a batch is padded; never beyond the longest of all rows, for which the model has positions.
        """
        rows = [self.ids[i] for i in indices]
        filled = [row + [row[0][:1]] * (self.width - len(row)) for row in rows]  # a missing choice is one masked token
        ids = [torch.tensor(sequence) for row in filled for sequence in row]
        out = {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "attention_mask": pad_sequence([torch.ones_like(sequence) for sequence in ids], batch_first=True),
            "labels": self.targets(indices),
        }
        if self.types is not None:
            types = [self.types[i] + [[0]] * (self.width - len(self.types[i])) for i in indices]
            out["token_type_ids"] = pad_sequence(
                [torch.tensor(sequence) for row in types for sequence in row], batch_first=True
            )
        if multiple > 1:
            longest = out["input_ids"].shape[1]
            room = max(0, min(-longest % multiple, self.longest - longest))
            values = {"input_ids": self.pad_id, "attention_mask": 0, "token_type_ids": 0}
            out |= {name: pad(out[name], (0, room), value=value) for name, value in values.items() if name in out}
        if self.width > 1:
            out["choice_mask"] = torch.tensor([[i < len(row) for i in range(self.width)] for row in rows])
        return out


def length_batches(lengths: Sequence[int], size: int, *, seed: int) -> list[list[int]]:
    """Shuffled batches of rows of like length: rows are shuffled, sorted within chunks of 16 batches, cut, and the batches shuffled."""
    draw = random.Random(seed)
    order = list(range(len(lengths)))
    draw.shuffle(order)
    chunks = [sorted(order[i : i + 16 * size], key=lengths.__getitem__) for i in range(0, len(order), 16 * size)]
    batches = [chunk[i : i + size] for chunk in chunks for i in range(0, len(chunk), size)]
    draw.shuffle(batches)
    return batches
