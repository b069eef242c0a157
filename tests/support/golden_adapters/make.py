"""Writes the golden folders with `adapters` 1.3: tiny bases of seven families, adapters with heads on them, and the logits they gave.

python tests/support/golden_adapters/make.py      once, with adapters 1.3.0 and transformers 4.57; not a test

FAMILY/base/            config.json, model.safetensors: random weights, no tokenizer (inputs are token ids)
FAMILY/ADAPTER/         as `save_adapter(..., with_head=True, use_safetensors=True)` writes it
expected.json           ids, attention mask, and for each folder the logits and the hidden states' sum
"""

import json
import shutil
from pathlib import Path

import adapters
import torch
from adapters import AutoAdapterModel, DoubleSeqBnConfig, SeqBnConfig
from safetensors.torch import save_file
from transformers import AutoConfig

HERE = Path(__file__).parent
SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 20, "type_vocab_size": 1, "pad_token_id": 1}  # fmt: skip
FAMILIES = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {},
    "electra": {"embedding_size": 8},
    "distilbert": {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 24},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "albert": {"embedding_size": 8, "num_hidden_groups": 1},
}
IDS = [[2, 11, 12, 13, 14, 3], [2, 21, 22, 3, 1, 1], [2, 31, 5, 7, 3, 1], [2, 9, 3, 1, 1, 1]]  # 1 pads
MASK = [[int(token != 1) for token in row] for row in IDS]
HEADS = {  # kind: how it is added
    "classes": lambda model, name: model.add_classification_head(name, num_labels=3, id2label={0: "a", 1: "b", 2: "c"}),
    "number": lambda model, name: model.add_classification_head(name, num_labels=1),
    "labels": lambda model, name: model.add_classification_head(name, num_labels=4, multilabel=True),
    "choices": lambda model, name: model.add_multiple_choice_head(name, num_choices=2),
    "one-layer": lambda model, name: model.add_classification_head(name, num_labels=2, layers=1),
    "gelu-head": lambda model, name: model.add_classification_head(name, num_labels=2, layers=3, activation_function="gelu"),
}  # fmt: skip
EVERYWHERE = {"plain": (SeqBnConfig(reduction_factor=4), "classes")}
VARIANTS = {  # of BERT: adapter configuration, head
    "number": (SeqBnConfig(reduction_factor=4), "number"),
    "labels": (SeqBnConfig(reduction_factor=4), "labels"),
    "choices": (SeqBnConfig(reduction_factor=4), "choices"),
    "one-layer": (SeqBnConfig(reduction_factor=4), "one-layer"),
    "gelu-head": (SeqBnConfig(reduction_factor=4), "gelu-head"),
    "wide": (SeqBnConfig(reduction_factor=2), "classes"),
    "gelu": (SeqBnConfig(reduction_factor=4, non_linearity="gelu"), "classes"),
    "swish": (SeqBnConfig(reduction_factor=4, non_linearity="swish"), "classes"),
    "scaled": (SeqBnConfig(reduction_factor=4, scaling=2.5), "classes"),
    "learned-scale": (SeqBnConfig(reduction_factor=4, scaling="learned"), "classes"),
    "norm-after": (SeqBnConfig(reduction_factor=4, ln_after=True), "classes"),
    "houlsby": (DoubleSeqBnConfig(reduction_factor=4), "classes"),
    "leave-out": (SeqBnConfig(reduction_factor=4, leave_out=[0]), "classes"),
    "no-head": (SeqBnConfig(reduction_factor=4), None),
}


def random_model(family: str, seed: int):
    """A base in which every number matters: biases and layer norms are random too."""
    torch.manual_seed(seed)
    model = AutoAdapterModel.from_config(AutoConfig.for_model(family, **{**SIZES, **FAMILIES[family]}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (1.0 if "LayerNorm.weight" in name or "layer_norm.weight" in name else 0.0))  # fmt: skip
    return model.eval()


def write(model, family: str, name: str, config, head: str | None) -> dict:
    """Adds a random adapter and head, saves them, and gives what they compute."""
    model.add_adapter(name, config=config)
    if head:
        HEADS[head](model, name)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if f".{name}." in key or key.startswith(f"heads.{name}."):
                parameter.copy_(torch.randn_like(parameter) * 0.5)
    model.set_active_adapters(name)
    model.active_head = name if head else None
    model.save_adapter(str(HERE / family / name), name, with_head=bool(head), use_safetensors=True)
    inputs = {"input_ids": torch.tensor(IDS), "attention_mask": torch.tensor(MASK)}
    with torch.no_grad():
        out = model.eval()(**inputs, output_hidden_states=True)
    hidden = out.hidden_states[-1] if head else out[0]
    model.set_active_adapters(None)
    return {"logits": out.logits.tolist() if head else None, "first_token": hidden[:, 0].tolist()}


def main() -> None:
    """Writes everything anew."""
    expected = {"adapters": adapters.__version__, "ids": IDS, "mask": MASK, "folders": {}, "bases": {}}
    for seed, family in enumerate(FAMILIES):
        shutil.rmtree(HERE / family, ignore_errors=True)
        model = random_model(family, seed)
        base = HERE / family / "base"
        base.mkdir(parents=True)
        model.config.to_json_file(base / "config.json")
        tensors = {key.removeprefix(f"{model.base_model_prefix}."): tensor.clone().contiguous() for key, tensor in model.state_dict().items() if key.startswith(f"{model.base_model_prefix}.")}  # fmt: skip
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        with torch.no_grad():
            plain = model.base_model(input_ids=torch.tensor(IDS), attention_mask=torch.tensor(MASK))[0]
        expected["bases"][family] = plain[:, 0].tolist()
        for name, (config, head) in (EVERYWHERE | (VARIANTS if family == "bert" else {})).items():
            expected["folders"][f"{family}/{name}"] = write(model, family, name, config, head)
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
