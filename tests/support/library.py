"""The `adapters` library as the yardstick: its model of a base, without heads, frozen, in eval mode."""

from adapters import AutoAdapterModel


def library_model(base):
    """The library's model of a base (a `Base`, or a folder)."""
    model = AutoAdapterModel.from_pretrained(getattr(base, "path", base))
    for head in list(model.heads):
        model.delete_head(head)
    return model.requires_grad_(False).eval()
