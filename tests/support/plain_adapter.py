"""Folders of single adapters, as anyone has them: in the library's format, and in no pool."""

import pytest

from tasksel.adapters.folder import save_adapter
from tasksel.model.base import load_base

HEAD = {
    "head_type": "classification",
    "layers": 2,
    "activation_function": "tanh",
    "num_labels": 3,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
    "use_pooler": False,
    "bias": True,
    "dropout_prob": None,
}


@pytest.fixture(scope="session")
def plain_adapter(tiny, loud_adapter, tmp_path_factory):
    """Saves a loud adapter, by request with a head of three labels, and gives its folder."""

    def save(name="theirs", config=None, *, base=tiny, head=False):
        model = loud_adapter(load_base(base).model(), name, config)
        if head:
            model.add_head(name, HEAD)
        folder = tmp_path_factory.mktemp("plain") / name
        save_adapter(model, folder, name)
        return folder

    return save
