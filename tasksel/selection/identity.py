"""What a key says of a selector: its name, and its settings where they are not those that the name had in version 0.1.

    text                              "text"
    changed, or another version       ["text", [{"class": "EmbeddingSelector", "version": 1, "embedder": {"class": "Text", ...}}]]

As `scalearn.methods.identity` does it for transfer methods. Of a fusion ("text+leep") it is each part's. Settings that a configuration changes
stand in keys beside it.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from tasksel.selection.selectors import get_selector
from tasksel.storage.atomic import value_hash
from tasksel.storage.identity import identity

# name -> value_hash of the settings that it had in version 0.1; changed only where a class gains a field whose default is what 0.1 did
RELEASED = {
    "connectivity": "f30367c6170865ac",
    "connectivity-neurons": "f23e8d12fc45d521",
    "connectivity-heads": "efb67363d1c37759",
    "connectivity-balanced": "7b1c5e2f008e8fca",
    "connectivity-no-stop": "eed2743fba833871",
    "connectivity-co-trained": "c0120557f8aaf353",
    "fisher": "973316d78c47f3de",
    "fisher-batch": "ac29a811f2ae0694",
    "weights": "ae3ad5425711f146",
    "weights-mean": "44817f1c05633516",
    "rows-feature": "8c8685e777481ab4",
    "rows-flatten": "df09cc820200a04c",
    "rows-unigram": "80efb9d70eef07ac",
    "rows-bigram": "47c6b46c01167b41",
    "rows-max": "ffb3af156ecc3284",
    "rows-max-backward": "c9607d33272d0ac9",
    "rows-max-mean": "60531f9c733d5fe2",
    "prompt-feature": "26e819f7660ada51",
    "prompt-flatten": "247d7cf0cfc6e5e4",
    "prompt-unigram": "cf87c8d1825f5aa1",
    "prompt-bigram": "9aa8cd8e7c95bc91",
    "prompt-max": "c5dd535d171da288",
    "prompt-max-backward": "3d54655cc0b51ff4",
    "prompt-max-mean": "a0f068851086d3d4",
    "conductance": "36a2a6945f454c80",
    "conductance-absolute": "7c2717f9b97a8191",
    "conductance-target": "3c5a0ff4915080d6",
    "conductance-target-absolute": "aaf694649f37af4c",
    "text": "6ba3abc77fcd5425",
    "sentence": "ce12a51cfb022086",
    "vocabulary": "720e7049f8ce2fec",
    "logme": "ccdc1f51148845e8",
    "leep": "07e7dee4d66d1d1c",
    "nce": "2fbb54a2b5b32757",
    "knn": "69f33c46b25ec007",
    "probe": "0b0ef987d0ed2246",
    "esm": "10a5ef46560c6d32",
    "random": "26f45994dca9d4e2",
    "size": "5f2a13bec3c17e89",
    "kind": "7268683600ae159a",
    "oracle": "a1343c9708290f20",
}


def selector_identity(by: str) -> str | list[Any]:
    """What a key says of a selector.

    >>> selector_identity("text+vocabulary")
    'text+vocabulary'

    Raises:
        UserError: an unknown selector; a setting by which a stored ranking cannot be known again.
    """
    settings = {part: _settings(part) for part in by.split("+")}
    changed = [values for part, values in settings.items() if RELEASED.get(part) != value_hash(values)]
    return [by, changed] if changed else by


def _settings(name: str) -> Any:
    """Class, version and values of a selector, or its key where it is no dataclass."""
    selector = get_selector(name)
    if is_dataclass(selector):
        return identity(selector, of=f"selector '{name}'")
    return {"class": type(selector).__name__, "version": selector.version, "key": selector.key}
