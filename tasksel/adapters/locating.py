"""Where an outside adapter lies: a folder, a folder below it (a Trainer's output, a pool), or a repository on the hub.

mine/adapter_config.json                        as `save_adapter` writes it
mine/NAME/adapter_config.json                   as `save_all_adapters` and a Trainer's checkpoint have it
out/checkpoint-500/NAME/adapter_config.json     a Trainer's output: of several checkpoints the last
saves/MODEL/lora/sft/adapter_config.json        as far below as some tools save
"""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tasksel.adapters.folder import CONFIG, PICKLED, PICKLED_HEAD
from tasksel.adapters.lora_folder import PICKLED as LORA_PICKLED
from tasksel.adapters.lora_folder import WEIGHTS as LORA_WEIGHTS
from tasksel.display.progress import say
from tasksel.errors import UserError
from tasksel.storage.user_path import user_path

DEEPEST = 3
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
HUB_CACHE = re.compile(r"models--(?:.+--)?(.+)")
HOLDS_INSTEAD = {  # by a file's name, in this order
    **dict.fromkeys(
        (LORA_WEIGHTS, LORA_PICKLED),
        "the weights of a PEFT adapter without its adapter_config.json, which PEFT's save_pretrained writes beside them",
    ),
    "adapter_fusion_config.json": "an AdapterFusion; add the adapters that it fuses, each by itself",
    "config.json": "a whole model, not an adapter; train an adapter on it, and save that with save_adapter(folder, name, use_safetensors=True)",
}


def fetch(origin: str) -> Path:
    """A local folder, or the configurations and weights of a hub repository, `owner/name` or `owner/name@revision`.

    Raises:
        UserError: neither; a revision that the repository does not have; no network.

    >>> fetch("path/to/adapter")  # doctest: +SKIP
    """
    if (path := here(origin)) is not None:
        if path.is_dir():
            return path
        raise UserError(f"'{origin}' is a file: give the folder that holds {CONFIG}")
    repository, _, revision = origin.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository) or repository.startswith("."):
        raise UserError(f"{_short(origin)} is neither a folder nor a repository on the hub (owner/name@revision)")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=["*.json", "*.safetensors", PICKLED, PICKLED_HEAD, LORA_PICKLED],
            )
        )
    except RevisionNotFoundError as error:
        raise UserError(f"the repository '{repository}' has no revision '{revision}'") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"{_short(origin)} is neither a folder nor a repository on the hub") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, HTTPError, OSError) as error:
        raise UserError(
            f"no network for the hub id {_short(origin)}; give a folder, or fill the hub's cache where there is a network"
        ) from error


def _short(origin: str) -> str:
    """What the user gave, quoted, at most 100 letters of it."""
    return repr(origin if len(origin) <= 100 else f"{origin[:100]}…")


def here(origin: str) -> Path | None:
    """What lies at a path on this machine; None where nothing does, or nothing can.

    >>> here("owner/no-such-folder") is None
    True
    """
    try:
        path = user_path(origin)
        return path if origin.strip() and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # a name too long, a user who is not known, a zero byte
        return None


def adapter_folder(folder: Path, *, origin: str, name: str | None = None) -> Path:
    """The folder that holds an adapter's files: this one, or the one of that name below it.

    Args:
        origin: what the user gave, for a message.
        name: chooses among several adapters.

    Raises:
        UserError: no adapter there (what is there instead is named), or several and none of that name.

    >>> adapter_folder(Path("out/checkpoint-500"), origin="out/checkpoint-500")  # doctest: +SKIP
    PosixPath('out/checkpoint-500/mine')
    """
    if (folder / CONFIG).is_file():
        return folder
    below = next(filter(None, (_with_config(folder, "/".join("*" * depth)) for depth in range(1, DEEPEST + 1))), [])
    if not below:
        instead = next((what for file, what in HOLDS_INSTEAD.items() if (folder / file).is_file()), None)
        if instead:
            raise UserError(f"{origin}: this is {instead}")
        raise UserError(
            f"{origin}: no adapter there (no file {folder / CONFIG}, nor in folders up to {DEEPEST} below it)"
        )
    by_name = {path.name: path for path in _of_last_checkpoint(below, origin)}
    if len(by_name) > 1 and name not in by_name:
        raise UserError(
            f"{origin} holds {len(by_name)} adapters: {', '.join(sorted(by_name))}; choose one by its name (--name), or give its folder"
        )
    return by_name[name] if name in by_name else next(iter(by_name.values()))


def name_of(folder: Path) -> str:
    """What an adapter's folder is called: of a checkpoint the training's folder, in the hub's cache the repository without its owner.

    >>> name_of(Path("/out/reviews/checkpoint-500")), name_of(Path("/hub/models--me--my-lora/snapshots/0123abcd"))
    ('reviews', 'my-lora')
    """
    folder = folder.absolute()
    if CHECKPOINT.fullmatch(folder.name) and folder.parent.name:
        folder = folder.parent
    if folder.parent.name == "snapshots" and (match := HUB_CACHE.fullmatch(folder.parent.parent.name)):
        return match[1]
    return folder.name


def _with_config(folder: Path, pattern: str) -> list[Path]:
    """The folders below that hold an adapter's configuration; hidden ones, as those still being written, do not count."""
    files = sorted(folder.glob(f"{pattern}/{CONFIG}"))
    return [file.parent for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _step(path: Path) -> int | None:
    """The step of the Trainer's checkpoint that a folder is, or lies in."""
    for part in (path.name, path.parent.name):
        if match := CHECKPOINT.fullmatch(part):
            return int(match[1])
    return None


def _of_last_checkpoint(folders: list[Path], origin: str) -> list[Path]:
    """Of adapters in several checkpoints of one training those of the last, which is said; all others as they are."""
    steps = {step for path in folders if (step := _step(path)) is not None}
    if len(steps) < 2 or any(_step(path) is None for path in folders):
        return folders
    say(f"{origin} holds {len(steps)} checkpoints: the last, checkpoint-{max(steps)}, is taken; another by its folder")
    return [path for path in folders if _step(path) == max(steps)]
