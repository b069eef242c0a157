"""A frozen base with adapters in its slots and heads on its pooled tokens; adapters and heads have the library's names.

    input_ids [b, t] or [b, choices, t]  ->  base with the active adapter  ->  last hidden state [b, t, d]  ->  active head  ->  logits

A decoder brings its lm_head, which is the head of a generation task (`tasksel.model.language_head`).

Methods and parameters are called as in `adapters.AutoAdapterModel`, whose files are read and written (`tasksel.adapters.folder`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import ModelOutput

from tasksel.errors import UserError
from tasksel.model.adapter import Adapter
from tasksel.model.adapter_config import outside_the_slot, resolve_config
from tasksel.model.decoders import check_slots_for, is_decoder, positions, readable
from tasksel.model.head import Head
from tasksel.model.language_head import CAUSAL_LM, LanguageHead, LanguageModel
from tasksel.model.linear_slot import (
    LinearSlot,
    close_linear_slot,
    linear_slots_of,
    linears_of,
    open_linear_slot,
    sizes,
)
from tasksel.model.lora import Lora
from tasksel.model.lora_config import LoraConfig, is_lora, lora_config, module_config
from tasksel.model.phm import PHMLinear, new_rule
from tasksel.model.pooling import Pooling, pool
from tasksel.model.slot import FAMILIES, Place, Slot, close_slot, family_of, layers_of, open_slot


class TaskModel(nn.Module):
    """A base that adapters and heads are added to by name.

    Args:
        encoder: an `AutoModel`. Bottlenecks sit in the layers of a post-LN encoder; LoRAs on the Linears of any.
        language_model: of a decoder: what writes texts with it; None where it has no lm_head.

    >>> model = TaskModel(AutoModel.from_pretrained("models/my-bert"))  # doctest: +SKIP
    >>> model.add_adapter("rte", config)  # doctest: +SKIP
    """

    def __init__(self, encoder: Any, language_model: LanguageModel | None = None) -> None:
        super().__init__()
        self.family = FAMILIES.get(encoder.config.model_type)
        self.language_model = language_model
        self.config = encoder.config
        self.base_model_prefix: str = encoder.base_model_prefix
        setattr(self, self.base_model_prefix, encoder)
        self.heads = nn.ModuleDict()
        self.adapter_configs: dict[str, dict[str, Any]] = {}
        self.fusions: dict[str, list[str]] = {}
        self.active_head: str | None = None
        self.active_adapter: str | None = None
        self._takes = frozenset(inspect.signature(encoder.forward).parameters)  # DistilBERT knows no token types
        self.train(encoder.training)

    @property
    def base_model(self) -> Any:
        """The encoder."""
        return getattr(self, self.base_model_prefix)

    @property
    def device(self) -> Any:
        """Where the parameters lie."""
        return next(self.parameters()).device

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        embeddings: nn.Module = self.base_model.get_input_embeddings()
        return embeddings

    def enable_input_require_grads(self) -> None:
        """Makes the embeddings' output require a gradient, where every parameter is frozen."""
        self.base_model.enable_input_require_grads()

    def add_adapter(self, name: str, config: str | Mapping[str, Any] | LoraConfig) -> None:
        """Adds an adapter with initial weights to every slot that its configuration names.

        Args:
            config: the library's configuration of a bottleneck adapter, or its name; or that of a LoRA.

        Raises:
            UserError: an unknown name, or an adapter that is computed otherwise, by name; a base without such slots or targets.
        """
        if is_lora(config):
            self._add_lora(name, lora_config(config))  # type: ignore[arg-type]
            return
        check_slots_for(self.config, f"adapter '{name}' cannot be added")
        config = resolve_config(config)  # type: ignore[arg-type]
        if problem := outside_the_slot(config):
            raise UserError(f"adapter '{name}' cannot be added: {problem}")
        left_out = set(config.get("leave_out") or ())
        family_of(self.config)
        self.adapter_configs[name] = config
        for number, (_, layer) in enumerate(layers_of(self.base_model)):
            for place in self._places(config) if number not in left_out else ():
                slot = open_slot(layer, place)
                module = Adapter(self.config.hidden_size, config, layer=number)
                slot.adapters[name] = module.train(self.training)
                if module.reads_branch:
                    slot.follow(layer, place)
        if config.get("phm_layer"):
            self._share_rule(name, config)

    def _add_lora(self, name: str, config: LoraConfig) -> None:
        """Adds a new LoRA to every Linear that its configuration targets."""
        config = config.with_targets(self.config.model_type)
        paths = [path for path, _ in linears_of(self.base_model)]
        targets = config.targets(paths, prefix=self.base_model_prefix)
        kept = {"use_rslora": config.use_rslora, "lora_dropout": config.lora_dropout}
        linears, contents = dict(linears_of(self.base_model)), {}
        for target in targets:
            inputs, outputs = sizes(linears[target.path])
            options: dict[str, Any] = {"rank": target.rank, "scale": config.scale(target)}
            contents[target.path] = Lora(inputs, outputs, dropout=config.lora_dropout, **options)
        self.add_loras(name, module_config(targets, paths, **kept), contents)

    def add_loras(self, name: str, config: LoraConfig, contents: Mapping[str, nn.Module]) -> None:
        """Puts modules into the slots of Linears under one name.

        Args:
            config: of the LoRA that they are, or that they fold into. contents: what a slot adds, by the path of its Linear in the base.
        """
        if name in self.adapter_configs:  # it may have sat on other Linears
            self.delete_adapter(name)
        self.adapter_configs[name] = config.model_dump()
        for path, content in contents.items():
            slot = open_linear_slot(self.base_model, path)
            weight: Any = slot.weight
            slot.adapters[name] = content.to(weight.device).train(self.training)

    def _share_rule(self, name: str, config: Mapping[str, Any]) -> None:
        if not hasattr(self.base_model, "shared_parameters"):
            self.base_model.shared_parameters = nn.ModuleDict()
        self.base_model.shared_parameters[name] = new_rule(config)
        for _, slot in self.slots():
            for module in slot.adapters[name].modules() if name in slot.adapters else ():
                if isinstance(module, PHMLinear):
                    module.share(self.base_model.shared_parameters[name])

    def slots(self) -> Iterator[tuple[str, Slot | LinearSlot]]:
        """The slots in use, with the path of what holds their adapters, from the first layer to the last; after them those of LoRAs."""
        for path, _, place, slot in self._layer_slots():
            yield f"{self.base_model_prefix}.{path}.{place.holder}", slot
        for path, linear in linear_slots_of(self.base_model):
            yield f"{self.base_model_prefix}.{path}", linear

    def _layer_slots(self) -> Iterator[tuple[str, nn.Module, Place, Slot]]:
        """The slots in use in the layers of a post-LN encoder."""
        for path, layer in layers_of(self.base_model) if self.family else ():
            for place in (self.family.mh_adapter, self.family.output_adapter) if self.family else ():
                slot = layer.get_submodule(place.norm)
                if isinstance(slot, Slot):
                    yield path, layer, place, slot

    def _places(self, config: Mapping[str, Any]) -> list[Place]:
        return [getattr(family_of(self.config), key) for key in ("mh_adapter", "output_adapter") if config.get(key)]

    def set_active_adapters(self, name: str | None) -> None:
        """Makes one adapter active, or none."""
        if name is not None and name not in self.adapter_configs and name not in self.fusions:
            raise KeyError(name)
        self.active_adapter = name
        for _, slot in self.slots():
            slot.active = name

    def delete_adapter(self, name: str) -> None:
        """Takes an adapter out; a slot that is empty then is the base's LayerNorm or Linear again."""
        del self.adapter_configs[name]
        if self.active_adapter == name:
            self.set_active_adapters(None)
        for _, layer, place, slot in list(self._layer_slots()):
            if name in slot.adapters:
                del slot.adapters[name]
                if not slot.adapters and not slot.fusions:
                    close_slot(layer, place, slot)
        for path, linear in list(linear_slots_of(self.base_model)):
            if name in linear.adapters:
                del linear.adapters[name]
                if not linear.adapters:
                    close_linear_slot(self.base_model, path, linear)
        shared = getattr(self.base_model, "shared_parameters", {})
        if name in shared:
            del shared[name]
            if not shared:
                del self.base_model.shared_parameters

    def add_head(self, name: str, config: Mapping[str, Any]) -> None:
        """Adds a head and makes it the active one.

        Args:
            config: the "config" of the library's head_config.json; of type "causal_lm" for the base's own lm_head.

        Raises:
            UserError: a head that cannot be used.
        """
        if config.get("head_type") == CAUSAL_LM:
            self._add_language_head(name, config)
            return
        head = Head(config, self.config)
        if head.use_pooler and getattr(self.base_model, "pooler", None) is None:
            raise UserError("the head reads the base's pooler (use_pooler=true), and this base has none")
        self.heads[name] = head.train(self.training)
        self.active_head = name

    def _add_language_head(self, name: str, config: Mapping[str, Any]) -> None:
        """Makes the base's lm_head the active head: registered beside the base, under its own name, tied where it is tied."""
        if self.language_model is None:
            raise UserError(
                f"a generation task needs a base with an lm_head, and this {self.config.model_type} has none: "
                "choose a decoder that was saved with it (AutoModelForCausalLM)"
            )
        self.lm_head = self.language_model.lm_head
        self.heads[name] = LanguageHead(config)
        self.active_head = name

    def untie_lm_head(self) -> None:
        """Gives the model an lm_head of its own, which can then train without the word embeddings that it may be tied to."""
        assert self.language_model is not None
        self.lm_head = self.language_model.untie()

    def readable(self, pooling: Pooling) -> Pooling:
        """The pooling itself; of a decoder "last" for "first", since its first token sees no other."""
        return readable(pooling, self.config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        answer_mask: Tensor | None = None,
    ) -> ModelOutput:
        """Logits of the active head (`logits`); without one, the base's own output (`last_hidden_state`).

        Args:
            input_ids, attention_mask, token_type_ids: [b, t] or [b, choices, t].
            output_hidden_states: also gives every layer's output (`hidden_states`).
            answer_mask: of an lm_head: the tokens [b, t] whose logits are given, [tokens, vocabulary]; without it all of them, [b, t, vocabulary].
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        flat = {key: value.flatten(0, -2) for key, value in inputs.items() if value is not None and key in self._takes}
        options: dict[str, Any] = {"output_hidden_states": output_hidden_states, "return_dict": True}
        if is_decoder(self.config):
            options["use_cache"] = False
            if attention_mask is not None:
                options["position_ids"] = positions(flat["attention_mask"])
        output: Any = self.base_model(**flat, **options)
        if self.active_head is None:
            return output
        head: Any = self.heads[self.active_head]
        if isinstance(head, LanguageHead):
            hidden = output.last_hidden_state if answer_mask is None else output.last_hidden_state[answer_mask]
            return SequenceClassifierOutput(logits=self.lm_head(hidden), hidden_states=output.hidden_states)
        if head.use_pooler:
            pooled = output.pooler_output
        else:
            pooled = pool(output.last_hidden_state, flat.get("attention_mask"), head.pooling)
        return SequenceClassifierOutput(logits=head(pooled), hidden_states=output.hidden_states)
