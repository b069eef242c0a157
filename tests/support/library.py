"""The libraries `adapters` and PEFT as yardsticks: a test that compares takes `library` or `peft`; conftest.py leaves it out where that is missing."""

import pytest


@pytest.fixture(scope="session")
def library():
    """The library itself."""
    import adapters

    return adapters


@pytest.fixture(scope="session")
def peft():
    """PEFT itself."""
    import peft

    return peft


def library_model(base):
    """The library's model of a base (a `Base`, or a folder), without heads, frozen, in eval mode. Its tests take `library`."""
    from adapters import AutoAdapterModel

    model = AutoAdapterModel.from_pretrained(getattr(base, "path", base))
    for head in list(model.heads):
        model.delete_head(head)
    return model.requires_grad_(False).eval()
