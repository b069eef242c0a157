"""The model card of an exported LoRA: what it is, and how stock PEFT loads it, merges it, and predicts.

The rest (header, scores, sources, data, versions) is as of every export (`scalearn.results.model_card`).
"""

from __future__ import annotations

from dataclasses import dataclass

from scalearn.results.generation_card import generation_code
from scalearn.results.lora_export import own_head
from scalearn.results.model_card import ModelCard, answer, base_code, by_scalearn, fenced, quoted, texts
from tasksel.adapters.folder import HEAD
from tasksel.tasks.prompts import GENERATION

POOLED = {"first": "tokens[:, 0]", "mean": "(tokens * mask).sum(1) / mask.sum(1)"}
LAST = "tokens[torch.arange(len(tokens)), (mask[..., 0] * torch.arange(1, mask.shape[1] + 1)).argmax(1)]"


@dataclass(frozen=True)
class LoraCard(ModelCard):
    """The contents of a LoRA's model card; `str` is its text.

    Attributes:
        rank: R, which is alpha too. targets: names of the modules.
    """

    rank: int = 0
    targets: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the base's own classifier holds the head, so that PEFT loads it with the LoRA; or the head is the base's own lm_head."""
        if self.task.kind == GENERATION:
            return True
        kind = "multiple_choice" if self.task.kind == "multiple_choice" else "classification"
        config = {"layers": 2, "activation_function": "tanh", "head_type": kind, "pooling": self.pooling}
        return own_head(self.model_type, config) is not None

    @property
    def library(self) -> str:
        """PEFT."""
        return "peft"

    def adapter(self) -> str:
        """What it is, as a sentence begins."""
        where = (
            "its head, under `modules_to_save`"
            if self.whole
            else f"its head, on the {self.pooling} of the tokens, beside it"
        )
        if self.task.kind == GENERATION:
            where = "the base's own lm_head"
        names = ", ".join(f"`{name}`" for name in self.targets)
        return f"One plain LoRA in the format of [PEFT](https://github.com/huggingface/peft), rank {self.rank} and alpha {self.rank} on {names}, with {where}"

    def loading(self) -> str:
        """How it is loaded, as Markdown."""
        apart = (
            "" if self.whole else f". The head is not in that file: the last lines apply `{HEAD}` to the same logits"
        )
        merge = "`model.merge_and_unload()` gives the base with the LoRA in its weights, and the same logits."
        code = fenced(self.code(), "python")
        library = f"With `pip install peft`, and nothing of scalearn{apart}:\n\n{code}\n\n{merge}"
        return f"## How to load it\n\n{library}\n\nOr with {by_scalearn(self, 'peft')}"

    def code(self, *, here: bool = False) -> str:
        """Plain PEFT code that loads the export and predicts; it runs beside the export's folder."""
        if self.task.kind == GENERATION:
            return generation_code(self, here=here)
        before, base, revision = base_code(self, here=here)
        head = "ForSequenceClassification" if self.whole else ""
        options = revision + (f", num_labels={self.task.outputs}" if self.whole else "")
        lines = [
            *before,
            "from peft import PeftModel",
            *([] if self.whole else ["from safetensors.torch import load_file"]),
            f"from transformers import AutoModel{head}, AutoTokenizer",
            "",
            base,
            f"tokenizer = AutoTokenizer.from_pretrained(base{revision})",
            f"model = AutoModel{head}.from_pretrained(base{options})",
            f"model = PeftModel.from_pretrained(model, {quoted(self.folder)}).eval()  # this folder, or its id on the hub",
            "",
            f'inputs = tokenizer({texts(self.task)}, padding=True, truncation=True, max_length={self.max_length}, return_tensors="pt")',
            *(["with torch.no_grad():", "    logits = model(**inputs).logits[0]"] if self.whole else self._applied()),
            *answer(self),
        ]
        return "\n".join(lines) + "\n"

    def _applied(self) -> list[str]:
        """The layers of the head on the pooled tokens."""
        linear, row = "torch.nn.functional.linear", "[:, 0]" if self.task.kind == "multiple_choice" else "[0]"
        return [
            f'head = {{key.split(".", 2)[2]: tensor for key, tensor in load_file({quoted(f"{self.folder}/{HEAD}")}).items()}}',
            "with torch.no_grad():",
            '    tokens, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]',
            f"    pooled = {POOLED.get(self.pooling, LAST)}",
            f'    hidden = {linear}(pooled, head["1.weight"], head["1.bias"]).tanh()',
            f'    logits = {linear}(hidden, head["4.weight"], head["4.bias"]){row}',
        ]
