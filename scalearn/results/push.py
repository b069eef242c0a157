"""Uploads an export to a hub, only when told, and nothing but the export's own files.

plan = plan_push("out/rte-adapter", to="me/rte-adapter")      # reads and checks the folder; no network
print(plan); plan.send()                                     # the one thing that uploads an export
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import XetError

from scalearn.results.export import CARD, CONFIGS, README
from scalearn.results.predict import Export
from tasksel.errors import UserError, one_line
from tasksel.storage.atomic import read_json

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


@dataclass(frozen=True)
class Push:
    """What would be sent where: file sizes in bytes by name, all from `folder`."""

    folder: Path
    to: str
    private: bool
    files: dict[str, int]

    def send(self) -> str:
        """Creates the repository where there is none, uploads the files in one commit, and gives its address.

        Raises:
            UserError: offline; no token; a public repository where a private one is asked for; whatever the hub says.
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
        except (OSError, ValueError, RuntimeError, XetError) as error:  # what the client raises
            said = one_line(error).replace(token, "***")
            raise UserError(f"{self.to} on {constants.ENDPOINT}: {said}") from error

    def _upload(self, api: HfApi) -> str:
        made = api.create_repo(self.to, private=self.private, exist_ok=True)
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
        return str(made)

    def __str__(self) -> str:
        width = max(map(len, self.files))
        lines = [f"  {name:<{width}}  {size:>12,} bytes" for name, size in self.files.items()]
        lines.append(f"  {'total':<{width}}  {sum(self.files.values()):>12,} bytes")
        kind = "private" if self.private else "public"
        return "\n".join([f"{self.folder} to {constants.ENDPOINT}/{self.to} ({kind}):", *lines])


def plan_push(folder: str | Path, *, to: str, private: bool = False) -> Push:
    """Checks an export and lists its own files; whatever else lies in the folder is left out.

    Raises:
        UserError: no export there; a file of it that is missing or altered; a repository that is not of the form user/name.
    """
    folder = Path(folder)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", to):
        raise UserError(f"--to '{to}': a repository is of the form user/name")
    if not (folder / CARD).is_file():
        raise UserError(f"{folder} is no export (no {CARD}): make one with scalearn export RESULT --out FOLDER")
    Export.load(folder)
    weights = [name for name in read_json(folder / CARD)["files"] if re.fullmatch(r"[\w-]+\.safetensors", name)]
    names = (README, *CONFIGS, *sorted(weights), CARD)
    for name in names:
        if not (folder / name).is_file() or (folder / name).is_symlink():
            raise UserError(f"{folder / name}: missing, or not a plain file; export the result again")
    return Push(folder, to, private, {name: (folder / name).stat().st_size for name in names})


def local_paths(folder: Path) -> list[str]:
    """Folders and files of this machine that an export's description names, and that would be read by others."""
    told = read_json(folder / CARD)
    found = [told["base"]["name"], *told["task"]["source"].get("files", {}).values()]
    return sorted({path for path in found if Path(path).is_absolute()})
