"""Prompts and target texts of a generation task, from a row's columns or its chat messages.

    columns     prompt = a column or template ("Q: {question}\\nA:")        target = a column or template
    chat        prompt = the messages before the answer                     target = the answer: the last message, or another column

A chat prompt stands in a `Split` as the JSON text of its messages; the tokenizer's own chat template makes its tokens (`tasksel.model.prompts`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasksel.errors import UserError
from tasksel.tasks.files import Row
from tasksel.tasks.label_values import is_blank
from tasksel.tasks.templates import render

if TYPE_CHECKING:
    from tasksel.tasks.task import Task

GENERATION = "generation"
NEW_TOKENS = 32  # that an answer may have, where the task does not say
MESSAGES, PROMPT, COMPLETION = "messages", "prompt", "completion"  # the columns of other libraries' files
ANSWERS = ("assistant", "model")
Message = dict[str, str]


def check_generation(task: Task) -> None:
    """Refuses a generation task without one prompt and one target, and another kind of task with a generation's fields.

    Raises:
        UserError: what is given.
    """
    if task.kind != GENERATION:
        if task.chat or task.max_new_tokens:
            raise UserError(
                f"task '{task.name}': `chat` and `max_new_tokens` belong to generation, and only there (kind: {task.kind})"
            )
    elif len(task.text) != 1 or not isinstance(task.label, str):
        raise UserError(
            f"task '{task.name}': a generation task needs one prompt (a column or template) and one target, "
            f"given {list(task.text)} and {[task.label] if isinstance(task.label, str) else list(task.label)}"
        )


def default_columns(known: Sequence[str]) -> tuple[str, str]:
    """The columns of the prompt and the target, where the user names none: `messages`, or `prompt` and `completion`.

    >>> default_columns(["id", "messages"]), default_columns(["prompt", "completion"])
    (('messages', 'messages'), ('prompt', 'completion'))

    Raises:
        UserError: neither is there.
    """
    if MESSAGES in known:
        return MESSAGES, MESSAGES
    if PROMPT in known and COMPLETION in known:
        return PROMPT, COMPLETION
    raise UserError(
        f"a generation task needs a column '{MESSAGES}', or '{PROMPT}' and '{COMPLETION}'; or say which columns or templates hold the prompt "
        f"(--text) and the target (--label); columns: {', '.join(known)}"
    )


def holds_messages(value: Any) -> bool:
    """Whether a cell is a list of chat messages, or the JSON text of one.

    >>> holds_messages([{"role": "user", "content": "Hello"}]), holds_messages("Hello")
    (True, False)
    """
    messages = _parsed(value)
    return isinstance(messages, list) and bool(messages) and all(isinstance(item, dict) for item in messages)


def _parsed(value: Any) -> Any:
    """The list of a cell that is the JSON text of one, as in a CSV."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def messages_of(value: Any, where: str) -> list[Message]:
    """A cell's chat messages, each with a role and a text.

    Raises:
        UserError: another thing in the cell, or a message without them.
    """
    messages = _parsed(value)
    if not holds_messages(messages):
        raise UserError(
            f'{where} holds {value!r:.60}; give a list of messages, {{"role": "user", "content": "…"}} each'
        )
    for number, message in enumerate(messages, 1):
        for key in ("role", "content"):
            if not isinstance(message.get(key), str):
                raise UserError(f"{where}, message {number}: {key} is {message.get(key)!r:.60}; give a text")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def prompt_text(task: Task, row: Row) -> str:
    """A row's prompt; of a chat task the JSON text of its messages.

    Raises:
        UserError: no message before the answer, or a value that is neither text nor messages.
    """
    (part,) = task.text
    if not task.chat or not holds_messages(row.values.get(part)):
        text = render(part, row)
        return as_chat(text) if task.chat and text else text
    messages = messages_of(row.values[part], f"{row.where}: '{part}'")
    if part == task.label and messages[-1]["role"] in ANSWERS:
        messages = messages[:-1]
    if not messages:
        raise UserError(f"{row.where}: '{part}' has no message before the answer")
    return json.dumps(messages, ensure_ascii=False)


def as_chat(text: str) -> str:
    """A text as the one message of a user.

    >>> as_chat("Hello")
    '[{"role": "user", "content": "Hello"}]'
    """
    return json.dumps([{"role": "user", "content": text}], ensure_ascii=False)


def target_text(task: Task, row: Row) -> str:
    """The text that the model shall write for a row: a column's, a template's, or the last message's.

    Raises:
        UserError: an empty one, messages that do not end in an answer, or a value that is no text.
    """
    label = str(task.label)
    value = row.values.get(label)
    if holds_messages(value):
        last = messages_of(value, f"{row.where}: '{label}'")[-1]
        if last["role"] not in ANSWERS:
            raise UserError(
                f"{row.where}: the last message in '{label}' is the {last['role']}'s; it must be the answer (role '{ANSWERS[0]}')"
            )
        text = last["content"].strip()
    else:
        text = "" if is_blank(value) and "{" not in label else render(label if "{" in label else f"{{{label}}}", row)
    if not text:
        raise UserError(f"{row.where}: the target in '{label}' is empty; fill it or remove the row")
    return text


def has_target(task: Task, row: Row) -> bool:
    """Whether a row has a target: a column that is there and not empty, or messages that end in an answer."""
    try:
        return all(column in row.values for column in task.label_columns) and bool(target_text(task, row))
    except UserError:
        return False
