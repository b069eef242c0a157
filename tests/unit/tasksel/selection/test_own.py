"""Whose rows a source holds is told by the rows: neither by its name nor by the target's."""

import json

from tasksel.selection.candidate import TaskCandidate
from tasksel.selection.own import own_names, without_own
from tasksel.tasks.load import load_data
from tasksel.tasks.registry import get_task
from tasksel.tasks.task import FileSource, Task


def own_task(path, prefix="", **options):
    path.parent.mkdir(exist_ok=True)
    rows = [{"body": f"{prefix}row {i}", "v": "ab"[i % 2]} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Task.from_file(path, text="body", label="v", **options)


def test_a_file_of_the_same_name_is_another_task_and_a_copy_is_not(tmp_path, capsys):
    target = own_task(tmp_path / "shop" / "reviews.jsonl")
    other, copy = own_task(tmp_path / "hotel" / "reviews.jsonl", "our "), own_task(tmp_path / "shop" / "copy.jsonl")
    sources = [TaskCandidate(task) for task in (other, copy)]
    capsys.readouterr()
    assert [source.task for source in without_own(target, sources)] == [other]
    assert capsys.readouterr().err == "left out, as the rows are those of 'reviews' itself: copy\n"


def test_a_trained_source_is_known_by_the_fingerprint_of_its_own_draw(tmp_path):
    target = own_task(tmp_path / "a" / "reviews.jsonl")
    moved = target.model_copy(update={"source": FileSource(files={"train": str(tmp_path / "gone.jsonl")})})
    for rows, seed in ((None, 0), (16, 3)):
        data = load_data(target, rows=rows, seed=seed).fingerprint
        assert own_names(target, [TaskCandidate(moved, rows, seed, data=data)]) == ["reviews"]
        assert own_names(target, [TaskCandidate(moved, rows, seed, data="0" * 16)]) == []


def test_the_place_is_enough_where_the_file_has_grown(tmp_path):
    before = own_task(tmp_path / "a" / "reviews.jsonl")
    assert own_names(before, [TaskCandidate(before, data="0" * 16)]) == ["reviews"]
    other_label = before.model_copy(update={"label": "other"})
    assert own_names(before, [TaskCandidate(other_label, data="0" * 16)]) == []


def test_only_the_name_is_known_of_an_adapter_without_a_task():
    class Bare:
        task, data, rows, seed = None, None, None, 0

        def __init__(self, name):
            self.name = name

    target = get_task("entail_travel")
    assert own_names(target, [Bare("entail_travel"), Bare("imported")]) == ["entail_travel"]
    assert own_names(target, [TaskCandidate(get_task("entail_kitchen"))]) == []
