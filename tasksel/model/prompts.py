"""Prompts and answers as token ids: what a decoder learns an answer from, and what it writes one after.

    ids      prompt | answer, eos                  a row; an answer of k tokens with its eos
    loss     sum over answer tokens of -log p(y | prompt, answer before y)        the prompt's tokens give none
    writing  padding | prompt -> answer, eos       prompts end at the same place, so padding stands on the left

`max_length` is the room for both, `max_new_tokens` of it the answer's. A prompt that is too long loses its beginning; an answer that is too long loses
its end, and its eos with it. Both are said. Prompt and answer are joined by a space, and the answer's tokens are those that it has behind the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasksel.display.progress import say_once
from tasksel.errors import UserError, one_line
from tasksel.model.encoded import Encoded
from tasksel.model.kept_tokens import Tokens, tokens_of
from tasksel.model.token_rows import joined, taken
from tasksel.storage.user_files import whole_characters
from tasksel.tasks.examples import Split
from tasksel.tasks.task import Task

CHARACTERS = 200  # of a prompt's end that are tokenized, for each token that is kept


@dataclass(frozen=True)
class EncodedPrompts(Encoded):
    """Token ids of a generation task's rows; `labels` are the target texts, `cut` counts prompts.

    answers       the number of tokens at a row's end that are the answer's, eos among them; 0 of a row without a target
    cut_answers   rows whose answer was longer than `max_new_tokens`
    """

    answers: list[int] = field(default_factory=list)
    cut_answers: int = 0
    tokenizer: Any = None
    max_new_tokens: int = 0

    def take(self, indices: Sequence[int]) -> EncodedPrompts:
        """These rows alone, in this order."""
        rows, labels = taken(self.ids, indices), self.labels[list(indices)]
        return replace(self, ids=rows, labels=labels, answers=[self.answers[i] for i in indices])

    def joined(self, other: Encoded) -> EncodedPrompts:
        """The rows of both, of the same task."""
        assert isinstance(other, EncodedPrompts)
        labels, cut = np.concatenate([self.labels, other.labels]), self.cut + other.cut
        return replace(
            self,
            ids=joined(self.ids, other.ids),
            labels=labels,
            answers=[*self.answers, *other.answers],
            cut=cut,
            cut_answers=self.cut_answers + other.cut_answers,
        )

    def loss_terms(self, indices: Sequence[int]) -> int:
        """The denominator of the mean loss of these rows: the number of their answers' tokens."""
        return sum(self.answers[i] for i in indices)

    def batch(self, indices: Sequence[int], *, multiple: int = 1) -> dict[str, Tensor]:
        """`Encoded.batch`, whose labels are the answers' tokens [tokens], and answer_mask [rows, t]: the tokens that they are predicted at."""
        batch = super().batch(indices, multiple=multiple)
        rows = [(self.ids[i][0], self.answers[i]) for i in indices]
        mask = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        for number, (ids, count) in enumerate(rows):
            mask[number, len(ids) - count - 1 : len(ids) - 1] = True
        return {**batch, "answer_mask": mask}

    def targets(self, indices: Sequence[int]) -> Tensor:
        """What the loss of these rows compares with: the answers' tokens [tokens], row by row."""
        rows = [(self.ids[i][0], self.answers[i]) for i in indices]
        return torch.tensor([token for ids, count in rows for token in ids[len(ids) - count :]], dtype=torch.long)

    def prompts(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The prompts alone, padded on the left: ids and attention mask [rows, t]."""
        rows = [self.ids[i][0][: len(self.ids[i][0]) - self.answers[i]] for i in indices]
        longest = max(map(len, rows))
        ids = torch.tensor([[self.pad_id] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        return ids, mask

    def text(self, ids: Tensor) -> str:
        """The text of what was written [new tokens], up to its eos."""
        written = ids.tolist()
        eos = self.tokenizer.eos_token_id
        kept = written[: written.index(eos)] if eos in written else written
        text: str = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()

    def say_cut(self, name: str, max_length: int) -> None:
        """Says how many prompts lost their beginning, and how many answers their end."""
        room = max_length - self.max_new_tokens
        for count, what in (
            (self.cut, f"prompts have no room in max_length {max_length} less {self.max_new_tokens} of the answer ({room} tokens): their beginning is cut"),
            (self.cut_answers, f"answers are longer than max_new_tokens {self.max_new_tokens}: their end is cut"),
        ):  # fmt: skip
            if count:
                say_once(f"{name}: {count:,} of {len(self):,} {what} ({100 * count / len(self):.3g}%)")


def encode_prompts(split: Split, task: Task, tokenizer: Any, *, max_length: int) -> EncodedPrompts:
    """A generation task's rows as token ids; a row without a target has its prompt alone."""
    tokenize = partial(_of_split, task=task, tokenizer=tokenizer, max_length=max_length)
    settings = ["prompts", max_length, task.max_new_tokens, task.chat]
    tokens = tokens_of(split, tokenize, tokenizer=tokenizer, settings=settings, name=task.name)
    assert tokens.answers is not None
    assert tokens.cut_answers is not None
    kept: dict[str, Any] = {"tokenizer": tokenizer, "max_new_tokens": task.max_new_tokens or 0}
    kept |= {"answers": list(map(int, tokens.answers)), "cut_answers": int(sum(tokens.cut_answers))}
    return EncodedPrompts(tokens.ids, None, split.labels, tokenizer.pad_token_id, 1, int(sum(tokens.cut)), **kept)


def _of_split(split: Split, *, task: Task, tokenizer: Any, max_length: int) -> Tokens:
    """The token ids of rows: prompt, answer and eos."""
    most = task.max_new_tokens or 0
    before = [] if task.chat else special_before(tokenizer)
    room = max_length - most - len(before)
    beginnings = [_prompt(texts[0], task, tokenizer)[-CHARACTERS * max_length :] for texts in split.texts]
    join = "" if task.chat else " "
    answers = [whole_characters(str(target)) for target in split.labels]
    prompts = _tokens(tokenizer, beginnings)
    wholes = _tokens(tokenizer, [text + join + answer for text, answer in zip(beginnings, answers, strict=True)])
    rows, counts, cut, cut_answers = [], [], [], []
    for prompt, whole, answer in zip(prompts, wholes, answers, strict=True):
        tokens: list[int] = []
        if answer:
            # where a token spans the end of the prompt, the answer is tokenized by itself, as decoding writes it
            behind = whole[len(prompt) :] if whole[: len(prompt)] == prompt else _tokens(tokenizer, [answer])[0]
            tokens = [*behind, tokenizer.eos_token_id]
        cut.append(len(prompt) > room)
        cut_answers.append(len(tokens) > most)
        tokens = tokens[:most]
        rows.append([[*before, *(prompt or [tokenizer.pad_token_id])[-room:], *tokens]])
        counts.append(len(tokens))
    return Tokens(rows, None, cut, counts, cut_answers)


def _prompt(text: str, task: Task, tokenizer: Any) -> str:
    """A prompt's text; of a chat what the tokenizer's template makes of its messages, up to where the answer begins."""
    text = str(whole_characters(text))
    if not task.chat:
        return text
    try:
        rendered: str = tokenizer.apply_chat_template(json.loads(text), tokenize=False, add_generation_prompt=True)
    except Exception as error:  # whatever a template raises: most refuse roles that they do not know
        raise UserError(
            f"task '{task.name}': the tokenizer's chat template refuses a row: {one_line(error)}"
        ) from error
    return rendered


def _tokens(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return ids


def special_before(tokenizer: Any) -> list[int]:
    """The special tokens that a tokenizer puts before a text, such as <s>."""
    plain, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    count = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
    return list(whole[:count])


def check_prompts(base_name: str, tokenizer: Any, task: Task, max_length: int, *, setting: str) -> None:
    """Refuses a tokenizer that cannot end or begin an answer, and a `max_length` that leaves no room for a prompt beside the answer.

    Args:
        setting: where `max_length` stands, for the message.

    Raises:
        UserError: with what is needed.
    """
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"base '{base_name}': its tokenizer has no token that ends a text (eos_token), and an answer of '{task.name}' must end; name one and save it there again"
        )
    if task.chat and not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"base '{base_name}': its tokenizer has no chat template, which the messages of '{task.name}' need: choose a base that was trained to chat, "
            "or give prompt and target as columns (--text, --label)"
        )
    least = len(special_before(tokenizer)) + 1 + (task.max_new_tokens or 0)
    if not isinstance(max_length, int) or max_length < least:
        raise UserError(
            f"{setting} is {max_length}, of which an answer of '{task.name}' takes {task.max_new_tokens} (max_new_tokens): no room is left for the prompt; "
            f"give {least} tokens or more, or lower max_new_tokens"
        )
