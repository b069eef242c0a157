"""Uploads an export to a hub: nothing is sent before `send`, and only the export's own files.

plan = plan_push("out/rte-adapter", to="me/rte-adapter")      # reads and checks the folder; no network
print(plan); plan.send()                                     # uploads it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token

from scalearn.results.export import CONFIGS, EXPORT_FILE, README, read_export
from scalearn.results.predict import Export
from tasksel.errors import UserError, one_line
from tasksel.storage.user_path import user_path
from tasksel.tasks.task import FileSource

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


@dataclass(frozen=True)
class Push:
    """A planned upload.

    Attributes:
        folder: of the export. to: the repository, "user/name". files: sizes in bytes by name, all in `folder`.

    >>> print(Push(Path("out/rte"), "me/rte", True, {"README.md": 512}))  # doctest: +SKIP
    """

    folder: Path
    to: str
    private: bool
    files: dict[str, int]

    def send(self) -> str:
        """Creates the repository where there is none, uploads the files in one commit, and gives its address.

        Raises:
            UserError: offline; no token; a public repository where a private one is asked for; any error of the hub.
        """
        if constants.HF_HUB_OFFLINE:
            raise UserError("HF_HUB_OFFLINE is set, so nothing can be sent; unset it and push again")
        token = get_token()
        if not token:
            raise UserError(f"no token for {constants.ENDPOINT}: {LOGIN}")
        try:
            return self._upload(HfApi())
        except UserError:
            raise
        except Exception as error:  # versions of the client raise what their HTTP library or hf_xet raises
            message = one_line(error).replace(token, "***")
            raise UserError(f"{self.to} on {constants.ENDPOINT}: {message}") from error

    def _upload(self, api: HfApi) -> str:
        address = api.create_repo(self.to, private=self.private, exist_ok=True)
        if self.private and not api.repo_info(self.to).private:  # one that exists stays as it is
            raise UserError(
                f"{self.to} exists already and is public: make it private on the hub, or push without --private"
            )
        api.upload_folder(
            repo_id=self.to,
            folder_path=self.folder,
            allow_patterns=sorted(self.files),
            commit_message="Upload an adapter exported by scalearn",
        )
        return str(address)

    def __str__(self) -> str:
        width = max(map(len, self.files))
        lines = [f"  {name:<{width}}  {size:>12,} bytes" for name, size in self.files.items()]
        lines.append(f"  {'total':<{width}}  {sum(self.files.values()):>12,} bytes")
        kind = "private" if self.private else "public"
        return "\n".join([f"{self.folder} to {constants.ENDPOINT}/{self.to} ({kind}):", *lines])


def plan_push(folder: str | Path, *, to: str, private: bool = False, base: str | None = None) -> Push:
    """Checks an export and lists its own files; other files in the folder are left out. Nothing is sent.

    Args:
        base: a base to compare with the one that it was exported for; by default none is read.

    Raises:
        UserError: no export there; a file of it that is missing or altered; a base of other weights; a repository that is not of the form user/name.

    >>> plan_push("out/rte-adapter", to="me/rte-adapter").send()  # doctest: +SKIP
    """
    folder = user_path(folder)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", to):
        raise UserError(f"--to '{to}': a repository is of the form user/name")
    if not (folder / EXPORT_FILE).is_file():
        raise UserError(f"{folder} is no export (no {EXPORT_FILE}): make one with scalearn export RESULT --out FOLDER")
    exported = Export.load(folder, base=base)
    if base is not None:
        exported.load_base()
    weights = [name for name in read_export(folder).files if re.fullmatch(r"[\w-]+\.safetensors", name)]
    names = (README, *CONFIGS, *sorted(weights), EXPORT_FILE)
    for name in names:
        if not (folder / name).is_file() or (folder / name).is_symlink():
            raise UserError(f"{folder / name}: missing, or not a plain file; export the result again")
    return Push(folder, to, private, {name: (folder / name).stat().st_size for name in names})


def local_paths(folder: Path) -> list[str]:
    """Absolute paths of this machine in an export's `scalearn.json`, which an upload would publish."""
    record = read_export(folder)
    source = record.task.source
    names = [record.base["name"], *(source.files.values() if isinstance(source, FileSource) else ())]
    return sorted({name for name in names if Path(name).is_absolute()})
