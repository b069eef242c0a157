"""The `adapters` library's own model, adapter and AdapterFusion, with the weights of a model of ours; imports the library when called.

Both have the library's names for their parameters, so that weights are copied by name, and logits must be equal.
"""

from __future__ import annotations

from typing import Any

from tasksel.model.base import quiet


def library_single(ours: Any, path: str) -> Any:
    """The library's model of a base with one adapter and a head, both with the weights and trainable parts of ours.

    Args:
        ours: a model with one adapter. path: of its base.
    """
    model = _library_model(ours, path)
    name = ours.active_head
    with quiet():
        model.add_adapter(name, config=ours.adapter_configs[name])
    model.set_active_adapters(name)
    return _filled(model, ours, {})


def library_fusion(ours: Any, path: str) -> Any:
    """The library's model of a base with its own AdapterFusion over the adapters of ours.

    The optional penalty on the value matrix, which would add to its time, is left out.

    Args:
        ours: a model with one fusion. path: of its base.
    """
    from adapters import Fuse

    model = _library_model(ours, path)
    ((name, inner),) = ours.fusions.items()
    with quiet():
        for adapter in inner:
            model.add_adapter(adapter, config=ours.adapter_configs[adapter])
        model.add_adapter_fusion(inner)
    model.set_active_adapters(Fuse(*inner))
    return _filled(model, ours, {f"adapter_fusion_layer.{name}.": f"adapter_fusion_layer.{','.join(inner)}."})


def _library_model(ours: Any, path: str) -> Any:
    """The library's model of a base, with a head as ours has it."""
    from adapters import AutoAdapterModel

    with quiet():
        model = AutoAdapterModel.from_pretrained(path)
    name = ours.active_head
    model.add_classification_head(name, num_labels=ours.heads[name].config["num_labels"], layers=2)
    model.active_head = name
    return model


def _filled(model: Any, ours: Any, renamed: dict[str, str]) -> Any:
    """The library's model with the tensors of ours, of which the same are trainable."""
    trained = {key for key, parameter in ours.named_parameters() if parameter.requires_grad}
    state, trainable = {}, set()
    for key, tensor in ours.state_dict().items():
        there = key
        for old, new in renamed.items():
            there = there.replace(old, new)
        state[there] = tensor
        if key in trained:
            trainable.add(there)
    _, unexpected = model.load_state_dict(state, strict=False)
    if unexpected:
        raise RuntimeError(f"the library's model has no place for our weights: {', '.join(unexpected[:3])}")
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key in trainable)
    return model
