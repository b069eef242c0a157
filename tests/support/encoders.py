"""Tiny encoders of every family with a slot, without tokenizers: every number random, so that none can be left out unseen."""

import torch
from transformers import AutoConfig, AutoModel

from tasksel.adapters.bottleneck import Bottlenecks
from tasksel.model.slot import FAMILIES
from tasksel.model.task_model import TaskModel

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 20, "type_vocab_size": 1, "pad_token_id": 1}  # fmt: skip
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
SETTINGS = {
    "electra": {"embedding_size": 8},
    "distilbert": {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 24},
    "deberta": RELATIVE,
    "deberta-v2": RELATIVE,
    "albert": {"embedding_size": 8, "num_hidden_groups": 1},
}
IDS = torch.tensor([[2, 11, 12, 13, 14, 3], [2, 21, 22, 3, 1, 1], [2, 31, 5, 7, 3, 1]])  # 1 pads
MASK = (IDS != 1).long()
KINDS = tuple(FAMILIES)


def tiny_config(family, **options):
    """The configuration of a tiny encoder."""
    return AutoConfig.for_model(family, **{**SIZES, **SETTINGS.get(family, {}), **options})


def loud(module, names, *, seed=0, size=0.4):
    """Draws the parameters whose name holds one of these texts, far from zero; LayerNorms' weights about one."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if any(text in name for text in names):
                middle = 1.0 if name.lower().endswith(("layernorm.weight", "layer_norm.weight")) else 0.0
                parameter.copy_(middle + size * torch.randn(parameter.shape, generator=draw))
    return module


def tiny_encoder(family, *, seed=0, **options):
    """An encoder of a family, frozen, in eval mode, with a LayerNorm epsilon that can be seen."""
    config = tiny_config(family, **options)
    return loud(AutoModel.from_config(config), [""], seed=seed, size=0.3).requires_grad_(False).eval()


def tiny_model(family="bert", *, seed=0, **options):
    """A `TaskModel` on such an encoder."""
    return TaskModel(tiny_encoder(family, seed=seed, **options))


def with_adapter(model, name, config, *, seed=1):
    """Adds an adapter far from zero, in eval mode, and makes it active."""
    model.add_adapter(name, config)
    loud(model, [f".adapters.{name}.", f".shared_parameters.{name}."], seed=seed)
    model.set_active_adapters(name)
    return model.eval()


def last_hidden(model, ids=IDS, mask=MASK):
    """The last hidden state [b, t, d]."""
    return model(input_ids=ids, attention_mask=mask).last_hidden_state


def library_twin(library, encoder, folder):
    """The library's own model of the same encoder, in eval mode."""
    encoder.save_pretrained(folder)
    twin = library.AutoAdapterModel.from_pretrained(folder)
    for head in list(twin.heads):
        twin.delete_head(head)
    return twin.requires_grad_(False).eval()


def projections(model, name):
    """An adapter's weights as stacked projections (n = 1), by the path of their slot."""
    found = {}
    for path, module in model.named_modules():
        if path.endswith(f".adapters.{name}"):
            down, up = module.adapter_down[0], module.adapter_up
            parts = (down.weight[None], down.bias[None], up.weight.t()[None], up.bias[None])
            found[path.removesuffix(f".adapters.{name}")] = Bottlenecks(*(part.detach().clone() for part in parts))
    return found


def stacked(model, *names):
    """Several adapters' projections as one."""
    parts = [projections(model, name) for name in names]
    return {path: Bottlenecks.stack([part[path] for part in parts]) for path in parts[0]}
