"""From texts to token ids."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tasksel.display.progress import say_once
from tasksel.model.encoded import Encoded as Encoded
from tasksel.model.encoded import length_batches as length_batches
from tasksel.model.kept_tokens import Tokens, tokens_of
from tasksel.model.prompts import EncodedPrompts, encode_prompts
from tasksel.storage.user_files import whole_characters
from tasksel.tasks.examples import Split
from tasksel.tasks.task import Task

LONGEST, CHARACTERS = (
    100_000,
    200,
)  # a text is cut before it is tokenized: to 200 characters a token, where it has 3 to 6
BEGINNING = 64  # characters a token that are tried first: a tokenizer's time grows faster than the text


def encode(split: Split, tokenizer: Any, *, max_length: int, width: int = 1, name: str = "the texts") -> Encoded:
    """A split's token ids, cut to `max_length` tokens (the longer text of a pair first).

    Args:
        name: of the task, for a bar where there are many rows.
    """
    tokenize = partial(_of_split, tokenizer=tokenizer, max_length=max_length)
    tokens = tokens_of(split, tokenize, tokenizer=tokenizer, settings=["texts", max_length], name=name)
    return Encoded(tokens.ids, tokens.types, split.labels, tokenizer.pad_token_id, width, int(sum(tokens.cut)))


def _of_split(split: Split, *, tokenizer: Any, max_length: int) -> Tokens:
    """The token ids of rows, each of one sequence, or one for each of its choices."""
    if split.choices is None:
        firsts, seconds = (
            [texts[0] for texts in split.texts],
            [texts[1] for texts in split.texts] if len(split.texts[0]) == 2 else None,
        )
        counts = [1] * len(split)
    else:
        firsts = [" ".join(texts) for texts, choices in zip(split.texts, split.choices, strict=True) for _ in choices]
        seconds = [choice for choices in split.choices for choice in choices]
        counts = [len(choices) for choices in split.choices]
    longest = max(LONGEST, CHARACTERS * max_length)
    firsts = [_whole(text[:longest]) for text in firsts]
    between = getattr(tokenizer, "between_texts", "")  # of a decoder, whose tokenizer has no token between two texts
    seconds = seconds and [between + _whole(text[:longest]) for text in seconds]
    ids, kinds, was_cut = _tokenize(tokenizer, firsts, seconds, max_length)
    if not all(ids):  # a tokenizer without special tokens may find nothing in a text, and a model needs a token
        ids, kinds = (
            [sequence or [tokenizer.pad_token_id] for sequence in ids],
            kinds and [types or [0] for types in kinds],
        )

    def by_row(flat: list[Any]) -> list[list[Any]]:
        ends = np.cumsum(counts)
        return [flat[end - count : end] for end, count in zip(ends, counts, strict=True)]

    return Tokens(by_row(ids), by_row(kinds) if kinds else None, [any(flags) for flags in by_row(was_cut)])


def _tokenize(
    tokenizer: Any, firsts: list[str], seconds: list[str] | None, max_length: int
) -> tuple[list[list[int]], list[list[int]] | None, list[bool]]:
    """Token ids, token types if there are any, and whether tokens were cut off, of each sequence.

    Of long single texts the beginning is enough where it gives a whole `max_length` of tokens more than are kept.
    """
    beginning = BEGINNING * max_length
    starts = firsts if seconds else [text[:beginning] for text in firsts]
    ids, types, beyond = _tokens(tokenizer, starts, seconds, max_length)
    again = [i for i, text in enumerate(firsts) if len(starts[i]) < len(text) and beyond[i] < 2]
    if again:
        whole = _tokens(tokenizer, [firsts[i] for i in again], None, max_length)
        for number, i in enumerate(again):
            ids[i], beyond[i] = whole[0][number], whole[2][number]
            if types and whole[1]:
                types[i] = whole[1][number]
    return ids, types, [count > 0 for count in beyond]


def _tokens(
    tokenizer: Any, firsts: list[str], seconds: list[str] | None, max_length: int
) -> tuple[list[list[int]], list[list[int]] | None, list[int]]:
    """Ids, types, and how many times `max_length` was cut off; 1 where a slow tokenizer, which does not say, gives all it may."""
    tokens = tokenizer(firsts, seconds, truncation=True, max_length=max_length, return_attention_mask=False)
    ids, encodings = tokens["input_ids"], getattr(tokens, "encodings", None)
    full = [len(sequence) >= max_length for sequence in ids]
    beyond = [0 if not is_full else len(encodings[i].overflowing) if encodings else 1 for i, is_full in enumerate(full)]
    return ids, tokens.get("token_type_ids"), beyond


def say_cut(encoded: Encoded, name: str, max_length: int) -> None:
    """Says how many rows were longer than `max_length`, if any were.

    >>> say_cut(encode_split(data.train, task, base.tokenizer, max_length=64), task.name, 64)  # doctest: +SKIP
    reviews: 240 of 2,000 rows (12%) are longer than max_length 64 and are cut
    """
    if isinstance(encoded, EncodedPrompts):
        encoded.say_cut(name, max_length)
    elif encoded.cut:
        share = f"{encoded.cut:,} of {len(encoded):,} rows ({100 * encoded.cut / len(encoded):.3g}%)"
        say_once(f"{name}: {share} are longer than max_length {max_length} and are cut")


def _whole(text: str) -> str:
    """The text with whole characters: half of a surrogate pair, which a tokenizer refuses, becomes the replacement character."""
    return text if text.isascii() else str(whole_characters(text))


def encode_split(split: Split, task: Task, tokenizer: Any, *, max_length: int) -> Encoded:
    """A split of this task as token ids."""
    if task.kind == "generation":
        return encode_prompts(split, task, tokenizer, max_length=max_length)
    width = task.outputs if task.kind == "multiple_choice" else 1
    return encode(split, tokenizer, max_length=max_length, width=width, name=task.name)
