"""A push sends an export's own files and nothing else, only when told; every refusal is one line, and no token is in it."""

import shutil
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, HTTPError, XetDownloadError

from scalearn.results.push import local_paths, plan_push
from tasksel import UserError
from tasksel.storage.atomic import file_hash
from tasksel.storage.hashed import read_hashed, write_hashed

OWN = {
    "README.md",
    "adapter_config.json",
    "adapter.safetensors",
    "head_config.json",
    "model_head.safetensors",
    "scalearn.json",
}
TOKEN = "hf_" + "secret" * 5


class Hub:
    """Stands in for the hub's client, and keeps what it is asked."""

    def __init__(self, private=False, error=None):
        self.asked, self.private, self.error = [], private, error

    def create_repo(self, repo_id, *, private, exist_ok):
        self.asked.append(("create", repo_id, private, exist_ok))
        if self.error:
            raise self.error
        return f"https://hub/{repo_id}"

    def repo_info(self, repo_id):
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        self.asked.append(("upload", repo_id, folder_path, allow_patterns))


@pytest.fixture(scope="module")
def made(results, tmp_path_factory):
    return results["scalearn"].export(tmp_path_factory.mktemp("push") / "export")


@pytest.fixture
def export(made, tmp_path):
    shutil.copytree(made, tmp_path / "export")
    return tmp_path / "export"


@pytest.fixture
def online(monkeypatch):
    """Sets up a hub that answers, and gives a function that takes another."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("scalearn.results.push.get_token", lambda: TOKEN)

    def take(hub):
        monkeypatch.setattr("scalearn.results.push.HfApi", lambda: hub)
        return hub

    return take


def test_exactly_the_exports_own_files_are_sent(export, online):
    for name in ("notes.txt", ".env", "other.safetensors", "pytorch_adapter.bin"):
        (export / name).write_text("mine")
    hub, plan = online(Hub()), plan_push(export, to="me/mine")
    assert plan.send() == "https://hub/me/mine"
    assert hub.asked == [("create", "me/mine", False, True), ("upload", "me/mine", export, sorted(OWN))]
    assert set(plan.files) == OWN
    assert all(plan.files[name] == (export / name).stat().st_size for name in OWN)


def test_the_patterns_let_only_those_files_through(export):
    from huggingface_hub.utils import filter_repo_objects

    (export / "deep").mkdir()
    (export / "deep" / "README.md").write_text("mine")
    there = [str(path.relative_to(export)) for path in export.rglob("*") if path.is_file()]
    assert set(filter_repo_objects(there, allow_patterns=sorted(plan_push(export, to="a/b").files))) == OWN


def test_a_plan_says_where_and_how_much(export):
    said = str(plan_push(export, to="me/mine", private=True))
    assert "https://huggingface.co/me/mine (private)" in said
    assert f"{sum((export / name).stat().st_size for name in OWN):,} bytes" in said.splitlines()[-1]
    assert len(said.splitlines()) == len(OWN) + 2


def test_a_private_push_into_a_public_repository_sends_nothing(export, online):
    hub = online(Hub(private=False))
    with pytest.raises(UserError, match="me/mine exists already and is public"):
        plan_push(export, to="me/mine", private=True).send()
    assert [what for what, *_ in hub.asked] == ["create"]
    hub = online(Hub(private=True))
    plan_push(export, to="me/mine", private=True).send()
    assert [what for what, *_ in hub.asked] == ["create", "upload"]


@pytest.mark.parametrize(
    "name", ["adapter.safetensors", "model_head.safetensors", "adapter_config.json", "head_config.json"]
)
@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_damaged_export_is_not_sent(export, name, damage):
    if damage == "altered":
        (export / name).write_bytes((export / name).read_bytes() + b" ")
    else:
        (export / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: missing, cut short or altered"):
        plan_push(export, to="me/mine")


def test_the_card_may_be_edited_but_must_be_there(export):
    with (export / "README.md").open("a") as file:
        file.write("\nMore words.\n")
    plan_push(export, to="me/mine")
    (export / "README.md").unlink()
    with pytest.raises(UserError, match=r"README\.md: missing, or not a plain file"):
        plan_push(export, to="me/mine")


def test_a_link_is_not_followed(export, tmp_path):
    (tmp_path / "secret").write_text("mine")
    (export / "README.md").unlink()
    (export / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="not a plain file"):
        plan_push(export, to="me/mine")


def test_a_description_that_names_files_elsewhere_sends_none_of_them(export, tmp_path):
    (tmp_path / "secret.safetensors").write_text("mine")
    told = read_hashed(export / "scalearn.json")
    told["files"]["../secret.safetensors"] = file_hash(tmp_path / "secret.safetensors")
    told["files"]["*.safetensors"] = told["files"]["adapter.safetensors"]
    shutil.copy(export / "adapter.safetensors", export / "*.safetensors")
    write_hashed(export / "scalearn.json", told)
    assert set(plan_push(export, to="me/mine").files) == OWN


@pytest.mark.parametrize("to", ["mine", "me/mine/too", "", "me/", "https://huggingface.co/me/mine", "me/mi ne"])
def test_a_repository_is_user_and_name(export, to):
    with pytest.raises(UserError, match="of the form user/name"):
        plan_push(export, to=to)


def test_a_folder_that_is_no_export_is_refused(results, tmp_path):
    for folder in (tmp_path, tmp_path / "none", results["scalearn"].folder):
        with pytest.raises(UserError, match="is no export"):
            plan_push(folder, to="me/mine")


def test_offline_and_without_a_token_nothing_is_tried(export, online, monkeypatch):
    hub = online(Hub())
    monkeypatch.setattr("scalearn.results.push.get_token", lambda: None)
    with pytest.raises(UserError, match=r"no token for .*: log in with `hf auth login`"):
        plan_push(export, to="me/mine").send()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        plan_push(export, to="me/mine").send()
    assert hub.asked == []


@pytest.mark.parametrize(
    "kind", [HfHubHTTPError, HTTPError, ConnectionError, ValueError, RuntimeError, XetDownloadError]
)
def test_what_the_hub_says_is_one_line_without_the_token(export, online, kind):
    options = {"response": SimpleNamespace(headers={}, request=None)} if kind is HfHubHTTPError else {}
    online(Hub(error=kind(f"403 Forbidden:\n you may not write, {TOKEN}", **options)))
    with pytest.raises(UserError) as said:
        plan_push(export, to="me/mine").send()
    assert str(said.value) == "me/mine on https://huggingface.co: 403 Forbidden: you may not write, ***"


def test_paths_of_this_machine_are_listed(results, export):
    assert local_paths(export) == [results["scalearn"].run.base["name"]]
    told = read_hashed(export / "scalearn.json")
    told["base"]["name"], told["task"]["source"] = "some/base", {"type": "files", "files": {"train": "/home/me/a.csv"}}
    write_hashed(export / "scalearn.json", told)
    assert local_paths(export) == ["/home/me/a.csv"]
