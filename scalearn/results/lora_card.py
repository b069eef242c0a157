"""The model card of an exported LoRA: what it is, and how stock PEFT loads it, merges it, and predicts.

The rest (header, scores, sources, data, versions) is as of every export (`scalearn.results.model_card`).
"""

from __future__ import annotations

from dataclasses import dataclass

from scalearn.results.lora_narrowing import Narrowing
from scalearn.results.model_card import ModelCard, answer, base_code, by_scalearn, escape, fenced, quoted, texts
from tasksel.adapters.folder import HEAD
from tasksel.model.decoders import DECODERS
from tasksel.tasks.prompts import GENERATION

PADDED = "tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token"
NO_TYPES = ", return_token_type_ids=False"  # a GPT-2 would add an embedding for them
POOLED = {
    "first": "tokens[:, 0]",
    "mean": "(tokens * mask).sum(1) / mask.sum(1)",
    "last": "tokens[torch.arange(len(tokens)), mask.sum((1, 2)) - 1]",
}
"""What a head reads of the tokens, as code."""


@dataclass(frozen=True)
class LoraCard(ModelCard):
    """The contents of a LoRA's model card; `str` is its text.

    Attributes:
        rank: R, which is alpha too. targets: names of the modules.
        whole: whether PEFT's file holds the head, as the base's own classifier has it, so that it is loaded with the LoRA.
        causal: whether PEFT's file has the names of the causal language model, on which it is loaded.
        narrowed: what the LoRA lost, where it was narrowed.
    """

    rank: int = 0
    targets: tuple[str, ...] = ()
    whole: bool = True
    causal: bool = False
    narrowed: Narrowing | None = None

    @property
    def writes(self) -> bool:
        """Whether it writes texts, with the base's own lm_head."""
        return self.task.kind == GENERATION

    @property
    def library(self) -> str:
        """PEFT."""
        return "peft"

    def adapter(self) -> str:
        """What it is, as a sentence begins."""
        where = f"its head, on the {self.pooling} of the tokens, beside it"
        where = "its head, under `modules_to_save`" if self.whole else where
        where = "the base's own lm_head" if self.writes else where
        names = ", ".join(f"`{name}`" for name in self.targets)
        format_ = "the format of [PEFT](https://github.com/huggingface/peft)"
        return f"One plain LoRA in {format_}, rank {self.rank} and alpha {self.rank} on {names}, with {where}"

    def loading(self) -> str:
        """How it is loaded, as Markdown."""
        beside = not (self.whole or self.writes)
        apart = f". The head is not in that file: the last lines apply `{HEAD}` to the same logits" if beside else ""
        narrowed = f"## What narrowing lost\n\n{self._narrowing()}\n\n" if self.narrowed else ""
        merge = "`model.merge_and_unload()` gives the base with the LoRA in its weights, and the same logits."
        code = fenced(self.code(), "python")
        library = f"With `pip install peft`, and nothing of scalearn{apart}:\n\n{code}\n\n{merge}"
        return f"{narrowed}## How to load it\n\n{library}\n\nOr with {by_scalearn(self, 'peft')}"

    def _narrowing(self) -> str:
        """The energy and the scores that less rank lost."""
        lost = self.narrowed
        if lost is None:
            return ""
        rows = [f"| {escape(name)} | {value:.4f} | {self.scores[name]:.4f} |" for name, value in lost.scores.items()]
        return (
            f"The sources' scaled sum has rank {lost.folded}; this is the best LoRA of rank {lost.rank} for each module. Of the energy of the update "
            f"(the squares of its singular values) {lost.lost:.2%} is lost, most in `{lost.worst}`: {lost.worst_lost:.2%}.\n\n"
            f"| metric | rank {lost.folded} | rank {lost.rank} |\n|---|--:|--:|\n" + "\n".join(rows)
        )

    def code(self, *, here: bool = False) -> str:
        """Plain PEFT code that loads the export and predicts; it runs beside the export's folder."""
        before, base, revision = base_code(self, here=here)
        head = "ForCausalLM" if self.causal else "ForSequenceClassification" if self.whole else ""
        options = revision + (f", num_labels={self.task.outputs}" if self.whole else "")
        lines = [
            *before,
            "from peft import PeftModel",
            *([] if self.whole or self.writes else ["from safetensors.torch import load_file"]),
            f"from transformers import AutoModel{head}, AutoTokenizer",
            "",
            base,
            f"tokenizer = AutoTokenizer.from_pretrained(base{revision})",
            *([PADDED] if self.model_type in DECODERS else []),
            f"model = AutoModel{head}.from_pretrained(base{options})",
            f"model = PeftModel.from_pretrained(model, {quoted(self.folder)}).eval()  # this folder, or its id on the hub",
            "",
            *(self._written() if self.writes else self._answered()),
        ]
        return "\n".join(lines) + "\n"

    def _answered(self) -> list[str]:
        """Logits of one row, and what they say."""
        call = f'{texts(self)}, padding=True, truncation=True, max_length={self.max_length}, return_tensors="pt"'
        call += NO_TYPES if self.model_type in DECODERS else ""
        logits = ["with torch.no_grad():", "    logits = model(**inputs).logits[0]"] if self.whole else self._applied()
        return [f"inputs = tokenizer({call})", *logits, *answer(self)]

    def _written(self) -> list[str]:
        """The text that is written after a prompt."""
        (template,), most = self.task.text, self.task.max_new_tokens
        prompt, special = [f'prompt = "A text"  # made of a row by {quoted(template)}'], ""
        if self.task.chat:
            first = f'messages = [{{"role": "user", "content": "A text"}}]  # made of a row by {quoted(template)}'
            turned = "prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)"
            prompt, special = [first, turned], ", add_special_tokens=False"  # the template has written them
        settings = f"max_new_tokens={most}, do_sample=False, num_beams=1, pad_token_id=tokenizer.pad_token_id"
        return [
            *prompt,
            f'inputs = tokenizer(prompt{special}{NO_TYPES}, return_tensors="pt")',
            f"written = model.generate(**inputs, {settings})",
            'print(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]

    def _applied(self) -> list[str]:
        """The layers of the head on the pooled tokens."""
        linear, row = "torch.nn.functional.linear", "[:, 0]" if self.task.kind == "multiple_choice" else "[0]"
        last = "model(**inputs, output_hidden_states=True).hidden_states[-1]"
        tokens = last if self.causal else "model(**inputs).last_hidden_state"
        return [
            f'head = {{key.split(".", 2)[2]: tensor for key, tensor in load_file({quoted(f"{self.folder}/{HEAD}")}).items()}}',
            "with torch.no_grad():",
            f'    tokens, mask = {tokens}, inputs["attention_mask"][..., None]',
            f"    pooled = {POOLED[self.pooling]}",
            f'    hidden = {linear}(pooled, head["1.weight"], head["1.bias"]).tanh()',
            f'    logits = {linear}(hidden, head["4.weight"], head["4.bias"]){row}',
        ]
