"""Tests of the hub reader against a stand-in server: real client, real Parquet files, no network.

The endpoint and the cache are read when the client is imported, so every load runs in a child process of its own.
"""

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hub_standin import HubStandin, Repositories

from tasksel.tasks.hub import hub_revision
from tasksel.tasks.registry import suites
from tasksel.tasks.task import HubSource

CHILD = """
import json, sys
from tasksel.errors import UserError
from tasksel.tasks.hub import hub_revision, hub_rows
from tasksel.tasks.load import read_splits
from tasksel.tasks.task import HubSource, Task
answers = []
for asked in json.loads(sys.argv[1]):
    try:
        if "known" in asked:
            labels = {split: rows.labels.tolist() for split, rows in read_splits(Task(**asked["known"])).items()}
            answers.append({"labels": labels, "imported": "datasets" in sys.modules})
            continue
        if "id" in asked:
            task = Task.from_data(asked.pop("id"), **asked)
            labels = {split: rows.labels.tolist() for split, rows in read_splits(task).items()}
            answers.append({"task": task.model_dump(mode="json"), "labels": labels})
            continue
        source = HubSource(**asked.pop("source"))
        answers.append({"rows": hub_rows(source, **asked), "revision": hub_revision(source, name=asked["name"])})
    except UserError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
"""
GLUE, SUPERGLUE, HUMSET = suites()["glue"], suites()["superglue"], suites()["humset"]["sectors"]
OTHER_COMMIT = "0123456789abcdef0123456789abcdef01234567"
BRANCH = "refs/convert/parquet"


def parquet(columns: dict[str, list[Any]], features: dict[str, Any] | None = None) -> bytes:
    """A Parquet file; `features` as the library writes them beside the schema."""
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    out = BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


TEXT = {"dtype": "string"}
TEXTS = {"sequence": "string"}


def class_label(*names: str) -> dict[str, Any]:
    return {"dtype": {"class_label": {"names": {str(index): name for index, name in enumerate(names)}}}}


def card(configs: dict[str, dict[str, Any]], splits: list[str]) -> bytes:
    """A data set's README.md: configurations, their files, and the types of their columns."""
    files = [
        {"config_name": config, "data_files": [{"split": split, "path": f"{config}/{split}-*"} for split in splits]}
        for config in configs
    ]
    infos = [
        {"config_name": config, "features": [{"name": name, **kind} for name, kind in columns.items()]}
        for config, columns in configs.items()
    ]
    return f"---\n{yaml.safe_dump({'configs': files, 'dataset_info': infos})}---\n# Card\n".encode()


def native(configs: dict[str, dict[str, Any]], rows: dict[str, dict[str, dict[str, list[Any]]]]) -> dict[str, bytes]:
    """The files of a repository like nyu-mll/glue: a card and `<config>/<split>-00000-of-00001.parquet`."""
    files = {
        f"{config}/{split}-00000-of-00001.parquet": parquet(columns)
        for config in rows
        for split, columns in rows[config].items()
    }
    return {"README.md": card(configs, list(next(iter(rows.values())))), **files}


def lay_out_glue(repositories: Repositories) -> None:
    """Two configurations, with an unlabelled test split."""
    train = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]}
    validation = {column: values[:1] for column, values in train.items()}
    splits = {"train": train, "validation": validation, "test": {**train, "label": [-1, -1]}}
    pair = {"sentence1": TEXT, "sentence2": TEXT}
    configs = {name: {**pair, "label": class_label(*GLUE[name].labels)} for name in ("rte", "mrpc")}
    files = native(configs, dict.fromkeys(configs, splits))
    repositories.write("datasets", "nyu-mll/glue", GLUE["rte"].source.revision, files)


def lay_out_superglue(repositories: Repositories) -> None:
    """Choices, and lists of texts."""
    copa = {"premise": ["It rained."], "question": ["effect"], "choice1": ["Wet."], "choice2": ["Dry."], "label": [0]}
    query = {"passage": ["Ann met Bo."], "query": ["@placeholder smiled."]}
    record = {**query, "entities": [["Ann", "Bo"]], "answers": [["Bo"]]}
    texts = dict.fromkeys(("premise", "question", "choice1", "choice2"), TEXT)
    configs = {
        "copa": {**texts, "label": class_label("choice1", "choice2")},
        "record": {"passage": TEXT, "query": TEXT, "entities": TEXTS, "answers": TEXTS},
    }
    rows = {name: {"train": split, "validation": split} for name, split in (("copa", copa), ("record", record))}
    repositories.write("datasets", "aps/super_glue", SUPERGLUE["copa"].source.revision, native(configs, rows))


def lay_out_branches(repositories: Repositories) -> None:
    """A Parquet branch in its older layout, beside a script and an index, and one in its newer layout."""
    script = {"README.md": b"# A card\n", "humset.py": b"raise SystemExit('code of the hub was run')\n"}
    repositories.write("datasets", HUMSET.source.path, "main", script)
    excerpts = {"excerpt": ["Cholera.", "Rain.", "Both."], "sectors": [["Health", "WASH"], [], ["Education"]]}
    older = {
        f"{version}/humset-{split}.parquet": parquet(excerpts)
        for version in ("1.0.0", "2.0.0")
        for split in ("train", "validation", "test")
    }
    repositories.write("datasets", HUMSET.source.path, BRANCH, {**older, "1.0.0/train/index.duckdb": b"not rows"})
    labels = {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": ["red", "green", "blue"]}}
    features = {"text": {"_type": "Value", "dtype": "string"}, "colours": labels}
    coded = parquet({"text": ["x", "y"], "colours": [[2, 0], []]}, features)
    newer = {f"one/{split}/0000.parquet": coded for split in ("train", "validation")}
    repositories.write("datasets", "some/coded", BRANCH, newer)


def lay_out_own(repositories: Repositories) -> None:
    """A data set of each type of label column, one configuration each: stars, scores, words, a list of choices."""
    columns = {
        "stars": ({"text": TEXT, "label": class_label("5", "0", "none")}, [0, 2, 1]),
        "scores": ({"text": TEXT, "label": {"dtype": "float32"}}, [1.0, 2.0, 0.0]),
        "words": ({"text": TEXT, "label": TEXT}, ["water", "food", "water"]),
        "choices": ({"text": TEXT, "options": TEXTS, "label": {"dtype": "int64"}}, [0, 1, 2]),
    }
    rows = {name: {"text": ["x", "y", "z"], "label": labels} for name, (_, labels) in columns.items()}
    rows["choices"]["options"] = [["a", "b"], ["a", "b"], ["a", "b", "c"]]
    files = native(
        {name: kinds for name, (kinds, _) in columns.items()}, {name: {"train": rows[name]} for name in rows}
    )
    repositories.write("datasets", "some/own", "main", files)
    rows["choices"]["options"][2] = None
    repositories.write(
        "datasets",
        "some/broken",
        "main",
        native({"choices": columns["choices"][0]}, {"choices": {"train": rows["choices"]}}),
    )


def ask(requests: list[dict[str, Any]], home: Path, url: str, **env: str) -> tuple[list[dict[str, Any]], str]:
    """What a child process that sees only `url` and the cache under `home` answers, and what it says to the user."""
    plain = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HF_", "HUGGINGFACE")) and "proxy" not in key.lower()
    }
    told = {"SCALEARN_CACHE": str(home / "scalearn")}
    told |= {"HF_HOME": str(home), "HF_ENDPOINT": url, "NO_PROXY": "127.0.0.1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(requests)],
        env={**plain, **told, **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def request(task: Any) -> dict[str, Any]:
    return {"source": task.source.model_dump(), "name": task.name, "label": task.label, "labels": list(task.labels)}


def source(path: str, **fields: Any) -> dict[str, Any]:
    return {"source": {"path": path, **fields}, "name": "mine"}


GOOD = {
    "rte": request(GLUE["rte"]),
    "mrpc": request(GLUE["mrpc"]),
    "copa": request(SUPERGLUE["copa"]),
    "record": request(SUPERGLUE["record"]),
    "sectors": request(HUMSET),
    "coded": source("some/coded", folder="one", revision=BRANCH),
}
TASKS = {
    "rte": {"id": "nyu-mll/glue", "config": "rte", "revision": GLUE["rte"].source.revision, "text": ["sentence1", "sentence2"]},
    "coded": {"id": "some/coded", "folder": "one", "revision": BRANCH, "text": "text", "label": "colours"},
    **{name: {"id": "some/own", "config": name, "text": "text"} for name in ("stars", "scores", "words")},
    "choices": {"id": "some/own", "config": "choices", "text": "text", "choices": "options", "name": "own_choices"},
    "swapped": {
        "id": "nyu-mll/glue", "config": "rte", "revision": GLUE["rte"].source.revision, "text": "sentence1",
        "splits": {"train": "validation", "more": "train"},
    },
}  # fmt: skip
WRONG_TASKS = {
    "no column 'txt'; did you mean 'text'? 2 known: label, text; task 'own_words', hub id 'some/own'": {
        **TASKS["words"],
        "text": "txt",
    },
    "no split 'dev'; 1 known: train": {**TASKS["words"], "splits": {"train": "train", "validation": "dev"}},
    "no split to train on; name one of train": {**TASKS["words"], "splits": {"validation": "train"}},
    "no config 'word'; did you mean 'words'?": {**TASKS["words"], "config": "word"},
    "hub id 'nobody/no' is not on the hub": {"id": "nobody/no", "text": "text"},
    "Task.from_hub needs text=": {"id": "some/own"},
    "no option of Task.from_hub 'validation'": {**TASKS["words"], "validation": "x.csv"},
    "row 3: choices None in 'options'": {**TASKS["choices"], "id": "some/broken"},
}
PINNED = GLUE["rte"].source.revision
BAD = {
    "hub id 'nobody/nothing' is not on the hub": source("nobody/nothing"),
    "has no revision 'v9'": source("nyu-mll/glue", config="rte", revision="v9"),
    "no config 'rt'; did you mean 'rte'? 2 known: mrpc, rte": source("nyu-mll/glue", config="rt", revision=PINNED),
    "no split 'validatoin'; did you mean 'validation'? 3 known": source(
        "nyu-mll/glue", config="rte", revision=PINNED, splits={"validation": "validatoin"}
    ),
    "runs code, which is never run here; use its Parquet branch: revision refs/convert/parquet": source(
        "nlp-thedeep/humset"
    ),
    "no folder '1.0.1'; did you mean '1.0.0'? 2 known: 1.0.0, 2.0.0": source(
        "nlp-thedeep/humset", revision=BRANCH, folder="1.0.1"
    ),
    "no split 'dev'; 3 known: test, train, validation": source(
        "nlp-thedeep/humset", revision=BRANCH, folder="1.0.0", splits={"train": "train", "validation": "dev"}
    ),
    "hub id 'a/b/c' is not of the form owner/name": source("a/b/c"),
    "3 label names ['a', 'b', 'c'], but column 'label' of hub id 'nyu-mll/glue' has 2": {
        **source("nyu-mll/glue", config="rte", revision=PINNED),
        "label": "label",
        "labels": ["a", "b", "c"],
    },
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One online session for all: its answers, the cache that it filled, and the address of a server that is gone."""
    home = tmp_path_factory.mktemp("home")
    with HubStandin(tmp_path_factory.mktemp("hub")) as hub:
        for lay_out in (lay_out_glue, lay_out_superglue, lay_out_branches, lay_out_own):
            lay_out(hub.repositories)
        answers, terminal = ask([*GOOD.values(), *BAD.values()], home, hub.url)
        tasks, tasks_terminal = ask([*TASKS.values(), *WRONG_TASKS.values()], home, hub.url)
        commits = {
            path: hub.repositories.commit_of("datasets", path, BRANCH) for path in ("nlp-thedeep/humset", "some/coded")
        }
        commits["some/own"] = hub.repositories.commit_of("datasets", "some/own", "main")
    good = dict(zip(GOOD, answers, strict=False))
    bad = dict(zip(BAD, answers[len(GOOD) :], strict=True))
    return {
        "good": good,
        "bad": bad,
        "home": home,
        "url": hub.url,
        "terminal": terminal,
        "asked": hub.asked,
        "commits": commits,
        "tasks": dict(zip(TASKS, tasks, strict=False)),
        "wrong_tasks": dict(zip(WRONG_TASKS, tasks[len(TASKS) :], strict=True)),
        "tasks_terminal": tasks_terminal,
    }


def test_a_native_configuration_comes_with_the_asked_splits_and_indices(filled):
    rows = filled["good"]["rte"]["rows"]
    assert rows["train"] == [
        {"sentence1": "a", "sentence2": "c", "label": 0},
        {"sentence1": "b", "sentence2": "d", "label": 1},
    ]
    assert [row["label"] for row in rows["validation"]] == [0]
    assert set(rows) == {"train", "validation"}


def test_every_column_that_a_task_renders_is_there(filled):
    copa = filled["good"]["copa"]["rows"]["train"][0]
    assert SUPERGLUE["copa"].text[0].format_map(copa) == "It rained. effect"
    assert [copa[choice] for choice in SUPERGLUE["copa"].choices] == ["Wet.", "Dry."]
    record = filled["good"]["record"]["rows"]["validation"][0]
    assert (record["entities"], record["answers"]) == (["Ann", "Bo"], ["Bo"])


def test_the_parquet_branch_gives_one_folder_and_each_row_once(filled):
    rows = filled["good"]["sectors"]["rows"]
    assert [row["sectors"] for row in rows["train"]] == [["Health", "WASH"], [], ["Education"]]
    assert set(rows) == {"train", "validation"}
    assert all(len(split) == 3 for split in rows.values())


def test_a_list_of_class_labels_comes_as_names(filled):
    assert [row["colours"] for row in filled["good"]["coded"]["rows"]["train"]] == [["blue", "red"], []]


def test_the_commit_behind_a_branch_is_told(filled):
    assert filled["good"]["rte"]["revision"] == PINNED
    assert filled["good"]["sectors"]["revision"] == filled["commits"]["nlp-thedeep/humset"]
    assert filled["good"]["coded"]["revision"] == filled["commits"]["some/coded"]


@pytest.mark.parametrize("said", BAD)
def test_a_mistake_is_answered_in_one_line(filled, said):
    error = filled["bad"][said]["error"]
    assert said in error
    assert "\n" not in error
    assert "task 'mine'" in error


def test_rows_that_were_seen_need_neither_the_hub_nor_its_cache(filled, tmp_path):
    seen = list(filled["tasks"].values())
    assert all(answer["task"]["source"]["revision"] for answer in seen)
    kept = {"SCALEARN_CACHE": str(filled["home"] / "scalearn"), "HF_HUB_OFFLINE": "1"}
    answers, _ = ask([{"known": answer["task"]} for answer in seen], tmp_path, filled["url"], **kept)
    assert answers == [{"labels": answer["labels"], "imported": False} for answer in seen]


def test_nothing_is_written_to_the_terminal(filled):
    assert filled["terminal"] == ""


def test_no_script_was_fetched(filled):
    assert any(line.startswith("HEAD /datasets/nyu-mll/glue/resolve/") for line in filled["asked"])
    assert not [line for line in filled["asked"] if line.startswith("GET") and line.endswith(".py")]


@pytest.fixture(scope="module")
def offline(filled):
    """What one process that is told to be offline answers from the filled cache, and what it says to the user."""
    others = [source("nyu-mll/glue", config="rte", revision=OTHER_COMMIT), request(GLUE["cola"])]
    asked = [*GOOD.values(), *TASKS.values(), *others]
    answers, terminal = ask(asked, filled["home"], filled["url"], HF_HUB_OFFLINE="1")
    tasks = answers[len(GOOD) : -2]
    return {
        "good": dict(zip(GOOD, answers, strict=False)),
        "tasks": dict(zip(TASKS, tasks, strict=True)),
        "another commit": answers[-2],
        "another configuration": answers[-1],
        "terminal": terminal,
    }


def test_a_filled_cache_serves_the_same_rows_where_one_is_told_to_be_offline(filled, offline):
    assert offline["good"] == filled["good"]
    assert all(
        line.startswith("label 'label': ") for line in offline["terminal"].splitlines()
    )  # the kinds that were guessed


def test_a_filled_cache_serves_the_same_rows_where_the_server_is_gone(filled):
    answers, terminal = ask(list(GOOD.values()), filled["home"], filled["url"])
    assert dict(zip(GOOD, answers, strict=True)) == filled["good"]
    assert terminal == ""


def test_a_cached_commit_is_not_taken_for_another(offline):
    assert f"the cache holds commit {PINNED}, not {OTHER_COMMIT}" in offline["another commit"]["error"]


@pytest.mark.parametrize("env", [{"HF_HUB_OFFLINE": "1"}, {}], ids=["told to be offline", "no server"])
def test_an_empty_cache_and_no_server_is_one_line(filled, tmp_path, env):
    (rte, humset), terminal = ask([GOOD["rte"], GOOD["sectors"]], tmp_path, filled["url"], **env)
    assert rte["error"] == (
        "task 'rte': no network for hub id 'nyu-mll/glue': "
        "give a local folder with --data, or fill the cache on a machine that has one"
    )
    assert "no network for hub id 'nlp-thedeep/humset'" in humset["error"]
    assert terminal == ""


def test_a_configuration_that_is_not_in_the_cache_is_no_network(offline):
    assert offline["another configuration"]["error"].startswith("task 'cola': no network for hub id 'nyu-mll/glue'")


def test_a_pinned_commit_needs_no_load_to_be_told():
    assert hub_revision(HubSource(path="any/thing", revision=OTHER_COMMIT), name="mine") == OTHER_COMMIT


@pytest.mark.parametrize(
    ("name", "kind", "labels", "train"),
    [
        ("rte", "pair_classification", GLUE["rte"].labels, [0, 1]),
        ("coded", "multi_label", ("red", "green", "blue"), [[1, 0, 1], [0, 0, 0]]),
        ("stars", "single_sentence_classification", ("5", "0", "none"), [0, 2, 1]),  # an index is not taken for a name
        ("scores", "regression", (), [1.0, 2.0, 0.0]),
        ("words", "single_sentence_classification", ("food", "water"), [1, 0, 1]),
        ("choices", "multiple_choice", (), [0, 1, 2]),
    ],
)
def test_the_features_say_what_task_it_is(filled, name, kind, labels, train):
    task = filled["tasks"][name]["task"]
    assert (task["kind"], tuple(task["labels"])) == (kind, labels)
    assert filled["tasks"][name]["labels"]["train"] == train


def test_a_task_from_the_hub_keeps_the_commit_and_the_splits_that_are_there(filled):
    tasks = {name: answer["task"] for name, answer in filled["tasks"].items()}
    assert (tasks["rte"]["name"], tasks["coded"]["name"], tasks["choices"]["name"]) == (
        "glue_rte",
        "coded",
        "own_choices",
    )
    assert tasks["choices"]["num_choices"] == 3
    assert tasks["rte"]["source"]["splits"] == {"train": "train", "validation": "validation"}
    assert tasks["words"]["source"]["splits"] == {"train": "train"}
    assert tasks["rte"]["source"]["revision"] == PINNED
    assert {tasks[name]["source"]["revision"] for name in ("words", "scores")} == {filled["commits"]["some/own"]}
    assert tasks["coded"]["source"]["revision"] == filled["commits"]["some/coded"]
    assert filled["tasks"]["swapped"]["labels"] == {"train": [0], "more": [0, 1]}
    assert all(line.startswith("label 'label': ") for line in filled["tasks_terminal"].splitlines())


@pytest.mark.parametrize("said", WRONG_TASKS)
def test_a_mistake_in_a_task_from_the_hub_is_answered_in_one_line(filled, said):
    assert said in filled["wrong_tasks"][said]["error"]
    assert "\n" not in filled["wrong_tasks"][said]["error"]


def test_a_filled_cache_makes_the_same_tasks_with_no_server(filled, offline):
    assert offline["tasks"] == filled["tasks"]


def test_the_standin_serves_models_and_nothing_outside_its_folder(tmp_path, monkeypatch):
    from huggingface_hub import HfApi, snapshot_download, utils
    from huggingface_hub.errors import RepositoryNotFoundError

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # a session that another test began offline stays so: 0.36 forgets it by the first name, later clients by the second
    getattr(utils, "reset_sessions" if hasattr(utils, "reset_sessions") else "close_session")()
    files = {"config.json": b"{}", "deep/er/weights.bin": b"0123"}
    with HubStandin(tmp_path / "hub") as hub:
        commit = hub.repositories.write("models", "some/model", "main", files)
        (tmp_path / "hub" / "models" / "some" / "secret").write_bytes(b"outside")
        folder = Path(snapshot_download("some/model", endpoint=hub.url, cache_dir=tmp_path / "cache"))
        api = HfApi(endpoint=hub.url)
        found = api.get_paths_info("some/model", ["config.json", "absent"])
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("some/other")
        bare = HTTPConnection("127.0.0.1", int(hub.url.rsplit(":", 1)[1]), timeout=10)
        bare.request("GET", "/some/model/resolve/main/../../secret")
        outside = bare.getresponse()
        bare.close()
    assert folder.name == commit
    assert {path: (folder / path).read_bytes() for path in files} == files
    assert [path.path for path in found] == ["config.json"]
    assert outside.status == 404
