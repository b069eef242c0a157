"""The `adapters` library as the yardstick. A test that compares with it takes `library`; conftest.py leaves such tests out where it is not installed."""

import pytest


@pytest.fixture(scope="session")
def library():
    """The library itself."""
    import adapters

    return adapters


def library_model(base):
    """The library's model of a base (a `Base`, or a folder), without heads, frozen, in eval mode. Its tests take `library`."""
    from adapters import AutoAdapterModel

    model = AutoAdapterModel.from_pretrained(getattr(base, "path", base))
    for head in list(model.heads):
        model.delete_head(head)
    return model.requires_grad_(False).eval()
