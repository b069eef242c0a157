"""A head on the pooled tokens, as the flexible heads of the `adapters` library: dropout, linear, activation, …, dropout, linear.

    [b, t, d] -> pooled [b, d] -> (dropout, d x d, f) (layers - 1) times -> dropout, d x outputs -> [b, outputs]

For multiple choice each choice is a row of its own with one output: [b * choices, 1] -> [b, choices].
Parameters are `1.weight`, `1.bias`, `4.weight`, … as the library numbers them, and `config` is its `head_config.json`. A head on the mean of the
tokens has one key more, `pooling`, at which the library, whose heads read the first token alone, refuses to load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from torch import Tensor, nn

from tasksel.errors import UserError
from tasksel.model.adapter import Activation
from tasksel.model.pooling import Pooling, Reads

HEAD_TYPES = ("classification", "multilabel_classification", "multiple_choice")
DROPOUTS = ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "hidden_dropout_prob")


class Head(nn.Sequential):
    """The layers of a head from its configuration.

    Args:
        config: the "config" of the library's head_config.json. base_config: the encoder's configuration (width, dropout, initial range).

    Raises:
        UserError: a head of another type, or without its number of labels or choices; a pooling that is not known, or beside the pooler.
    """

    def __init__(self, config: Mapping[str, Any], base_config: Any) -> None:
        super().__init__()
        self.config = dict(config)
        kind = config.get("head_type")
        if kind not in HEAD_TYPES:
            raise UserError(f"a head of type '{kind}' cannot be used; known: {', '.join(HEAD_TYPES)}")
        _check_pooling(config)
        hidden, dropout = base_config.hidden_size, _dropout(config, base_config)
        counted = "num_choices" if kind == "multiple_choice" else "num_labels"
        if not isinstance(config.get(counted), int):
            raise UserError(f"a head of type '{kind}' needs a whole number as {counted}, not {config.get(counted)!r}")
        outputs, bias = 1 if kind == "multiple_choice" else config["num_labels"], config.get("bias", True)
        modules: list[nn.Module] = []
        for number in range(config["layers"]):
            modules.append(nn.Dropout(dropout))
            if number < config["layers"] - 1:
                modules.append(nn.Linear(hidden, hidden))
                if config["activation_function"]:
                    modules.append(Activation(config["activation_function"]))
            else:
                modules.append(nn.Linear(hidden, outputs, bias=bias))
        for number, module in enumerate(modules):
            self.add_module(str(number), module)
        for module in modules:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=getattr(base_config, "initializer_range", 0.02))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def choices(self) -> int | None:
        """The number of choices of a multiple-choice head."""
        return self.config.get("num_choices") if self.config["head_type"] == "multiple_choice" else None

    @property
    def use_pooler(self) -> bool:
        """Whether it reads the first token through the base's pooler."""
        return bool(self.config.get("use_pooler"))

    @property
    def pooling(self) -> Pooling:
        """What it reads of the tokens."""
        how: Pooling = self.config.get("pooling", "first")
        return how

    @property
    def reads(self) -> Reads:
        """What it gets: tokens by its pooling, or the base's pooler's output."""
        return "pooler" if self.use_pooler else self.pooling

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits [b, outputs] or [b, choices] from pooled tokens [b, d] or [b * choices, d]."""
        logits: Tensor = super().forward(pooled)
        return logits if self.choices is None else logits.view(-1, self.choices)


def _check_pooling(config: Mapping[str, Any]) -> None:
    pooling, known = config.get("pooling", "first"), get_args(Pooling)
    if pooling not in known:
        raise UserError(
            f"a head that reads '{pooling}' of the tokens (pooling) cannot be used; known: {', '.join(known)}"
        )
    if config.get("use_pooler") and pooling != "first":
        raise UserError(
            f"a head reads the base's pooler (use_pooler=true) or the {pooling} of the tokens (pooling), not both"
        )


def _dropout(config: Mapping[str, Any], base_config: Any) -> float:
    """The head's own, or that of the base, which ALBERT and DistilBERT call otherwise."""
    values = [config.get("dropout_prob"), *(getattr(base_config, name, None) for name in DROPOUTS)]
    return float(next((value for value in values if value is not None), 0.0))
