"""The folders that `adapters` 1.3 wrote once, with the logits that they gave: what they are read to must give them too, in every environment."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tasksel.model.base import load_base

ROOT = Path(__file__).parent / "golden_adapters"
EXPECTED = json.loads((ROOT / "expected.json").read_text(encoding="utf-8"))
FOLDERS = tuple(EXPECTED["folders"])
NOT_SOURCES = {"bert/learned-scale": "its scaling is 'learned'", "bert/norm-after": "a layer norm after the bottleneck"}
IDS, MASK = torch.tensor(EXPECTED["ids"]), torch.tensor(EXPECTED["mask"])


def golden_base(folder):
    """The base that an adapter's folder was trained on."""
    return load_base(str(ROOT / folder.partition("/")[0] / "base"))


def golden_copy(folder, to):
    """A copy of a folder, to be changed."""
    shutil.copytree(ROOT / folder, to)
    return to


def gives_its_logits(model, folder):
    """Whether a model with the folder's adapter active gives the stored logits, or first tokens where it has no head."""
    stored = EXPECTED["folders"][folder]
    with torch.no_grad():
        output = model(IDS, MASK)
    if stored["logits"] is None:
        given, wanted = output.last_hidden_state[:, 0], torch.tensor(stored["first_token"])
    else:
        given, wanted = output.logits, torch.tensor(stored["logits"])
    return given.shape == wanted.shape and (given - wanted).abs().max().item() < 1e-5


def pickle_weights(folder):
    """Writes the weights again as torch does, and takes the safetensors away."""
    for safe, pickled in (("adapter.safetensors", "pytorch_adapter.bin"), ("model_head.safetensors", "pytorch_model_head.bin")):  # fmt: skip
        if (folder / safe).is_file():
            torch.save(load_file(folder / safe), folder / pickled)
            (folder / safe).unlink()
    return folder


def change_weights(path, change):
    """Gives each tensor of a safetensors file the name and value that `change(name, tensor)` says; None leaves it out."""
    changed = [change(key, tensor) for key, tensor in load_file(path).items()]
    save_file({key: tensor.contiguous() for key, tensor in filter(None, changed)}, path)


def change_json(path, **changes):
    """Sets keys of a JSON file's mapping; a callable gets the old value."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        content[key] = value(content.get(key)) if callable(value) else value
    path.write_text(json.dumps(content), encoding="utf-8")
