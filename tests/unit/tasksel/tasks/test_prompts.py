"""Tests of generation tasks' rows: prompts and targets from columns, templates and chats, and what cannot be one."""

import json

import pandas as pd
import pytest
from datasets import Dataset
from refusals import refused_line

from tasksel import Task, load_data
from tasksel.cli.main import main
from tasksel.tasks.registry import resolve_task

ASKED = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 2?"}]
ANSWER = {"role": "assistant", "content": " four "}


def write(path, *rows, times=4):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * times))
    return str(path)


def read(path, **options):
    task = resolve_task(path, kind="generation", **options)
    return task, load_data(task).train


class TestColumns:
    def test_prompt_and_completion_are_read_where_no_column_is_named(self, tmp_path):
        task, train = read(write(tmp_path / "sums.jsonl", {"prompt": "2 + 2?", "completion": 4}))
        assert (task.text, task.label, task.metric, task.max_new_tokens, task.chat) == (("prompt",), "completion", "token_f1", 32, False)  # fmt: skip
        assert (train.texts[0], train.labels[0], task.outputs) == (("2 + 2?",), "4", 1)

    def test_templates_make_prompt_and_target_of_several_columns(self, tmp_path):
        path = write(tmp_path / "rows.jsonl", {"q": "2 + 2", "a": "four", "why": "sum"})
        task, train = read(path, text=("Q: {q}\nA:",), label="{a} ({why})", max_new_tokens=8, metric="rouge_l")
        assert (train.texts[0], train.labels[0]) == (("Q: 2 + 2\nA:",), "four (sum)")
        assert (task.label_columns, task.max_new_tokens) == (("a", "why"), 8)
        assert Task.model_validate_json(task.model_dump_json()) == task

    def test_a_csv_a_data_frame_and_a_dataset_give_the_same_rows(self, tmp_path):
        rows = [{"q": f"{i} + 1?", "a": str(i + 1)} for i in range(10)]
        frame = pd.DataFrame(rows)
        frame.to_csv(tmp_path / "sums.csv", index=False)
        given = {"text": "{q}", "label": "{a}", "kind": "generation"}
        tasks = [
            Task.from_file(tmp_path / "sums.csv", **given),
            Task.from_pandas(frame, name="sums", folder=tmp_path, **given),
            Task.from_dataset(Dataset.from_list(rows), name="sums", folder=tmp_path, **given),
        ]
        assert len({load_data(task).fingerprint for task in tasks}) == 1

    def test_rows_without_a_target_are_not_scored_and_a_target_may_look_like_a_hidden_label(self, tmp_path):
        train = write(tmp_path / "train.jsonl", {"prompt": "a", "completion": "-1"})
        held = write(tmp_path / "held.jsonl", {"prompt": "b", "completion": "?"}, {"prompt": "c", "completion": None}, times=1)  # fmt: skip
        task, _ = read(train, validation=held)
        assert load_data(task).test.labels.tolist() == ["?"]

    def test_a_task_folder_and_the_command_that_shows_it(self, tmp_path, capsys):
        card = {"name": "sums", "kind": "generation", "text_fields": ["{q} ="], "label_field": "a", "metric": "exact_match", "max_new_tokens": 4}  # fmt: skip
        (tmp_path / "task.json").write_text(json.dumps(card))
        write(tmp_path / "train.jsonl", {"q": "2 + 2", "a": 4})
        task = Task.from_folder(tmp_path)
        assert (task.metric, task.max_new_tokens, load_data(task).train.texts[0]) == ("exact_match", 4, ("2 + 2 =",))
        assert main(["show", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert '"max_new_tokens": 4' in said
        assert "4: 2 + 2 =" in said


class TestChat:
    @pytest.mark.parametrize("as_text", [False, True])
    def test_the_last_message_is_the_target_and_the_others_are_the_prompt(self, tmp_path, as_text):
        messages = [*ASKED, ANSWER]
        row = {"messages": json.dumps(messages) if as_text else messages}
        task, train = read(write(tmp_path / "chat.jsonl", row))
        assert (task.chat, task.text, task.label) == (True, ("messages",), "messages")
        assert (json.loads(train.texts[0][0]), train.labels[0]) == (ASKED, "four")

    def test_prompt_and_completion_may_be_messages(self, tmp_path):
        task, train = read(write(tmp_path / "chat.jsonl", {"prompt": ASKED, "completion": [ANSWER]}))
        assert task.chat
        assert (json.loads(train.texts[0][0]), train.labels[0]) == (ASKED, "four")

    def test_rows_without_an_answer_can_be_predicted(self, tmp_path):
        from tasksel.tasks.examples import to_split
        from tasksel.tasks.files import read_rows

        task, _ = read(write(tmp_path / "chat.jsonl", {"messages": [*ASKED, ANSWER]}))
        new = to_split(task, read_rows(write(tmp_path / "new.jsonl", {"messages": ASKED})), labelled=False)
        assert (json.loads(new.texts[0][0]), new.labels.tolist()) == (ASKED, [""] * 4)


ROW = {"prompt": "a", "completion": "b"}
REFUSED = {
    "no columns": ([{"q": "a"}], {}, "needs a column 'messages', or 'prompt' and 'completion'; or say which columns"),
    "unknown column of a template": ([ROW], {"text": ("Q: {promt}",), "label": "completion"}, "'promt'; did you mean 'prompt'?"),
    "unknown column of the target": ([ROW], {"text": ("prompt",), "label": "{answer}"}, "no column at "),
    "empty target": ([{"prompt": "a", "completion": " "}], {}, "the target in 'completion' is empty; fill it or remove the row"),
    "null target": ([{"prompt": "a", "completion": None}], {}, "the target in 'completion' is empty"),
    "empty prompt": ([{"prompt": " ", "completion": "a"}], {}, "the text in 'prompt' is empty"),
    "two prompts": ([ROW], {"text": ("prompt", "completion"), "label": "prompt"}, "needs one prompt (a column or template) and one target"),
    "two targets": ([ROW], {"text": ("prompt",), "label": ("prompt", "completion")}, "2 label columns make a multi_label task, not 'generation'"),
    "a metric of classes": ([ROW], {"metric": "accuracy"}, "choose one of exact_match, rouge_l, token_f1"),
    "no tokens": ([ROW], {"max_new_tokens": 0}, "max_new_tokens"),
    "less than none": ([ROW], {"max_new_tokens": -1}, "max_new_tokens"),
    "a question last": ([{"messages": ASKED}], {}, "the last message in 'messages' is the user's; it must be the answer (role 'assistant')"),
    "an answer alone": ([{"messages": [ANSWER]}], {}, "'messages' has no message before the answer"),
    "a message without text": ([{"messages": [{"role": "user", "content": None}, ANSWER]}], {}, "message 1: content is None; give a text"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "options", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_generation_task_is_refused(tmp_path, rows, options, reason):
    path = write(tmp_path / "rows.jsonl", *rows)
    assert reason in refused_line(read, path, **options)


def test_other_kinds_have_no_tokens_and_keep_their_fingerprints(tmp_path):
    path = write(tmp_path / "rows.jsonl", {"text": "a", "label": "x"}, {"text": "b", "label": "y"})
    said = refused_line(resolve_task, path, text=("text",), max_new_tokens=8)
    assert said == "max_new_tokens 8: it is for generation; say so (--kind generation)"
    task = resolve_task(path, text=("text",))
    assert "belong to generation" in refused_line(lambda: Task(**{**task.model_dump(), "chat": True}))
    fields = task.model_dump(mode="json", exclude={"suite", "licence", "note"})
    assert not fields.keys() & {"chat", "max_new_tokens"}
    import hashlib

    assert task.fingerprint == hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
