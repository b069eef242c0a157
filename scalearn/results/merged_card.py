"""The README of a merged model: as an adapter's (`scalearn.results.model_card`), with the pipeline of transformers that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scalearn.results.model_card import ModelCard, fenced, quoted
from tasksel.tasks.prompts import GENERATION

FUNCTIONS = {"regression": "none", "multi_label": "sigmoid"}


@dataclass(frozen=True)
class MergedCard(ModelCard):
    """The contents of a merged model's card."""

    thing: ClassVar[str] = "model"

    @property
    def library(self) -> str:
        """What the hub calls the library that reads it."""
        return "transformers"

    def adapter(self) -> str:
        """What it is, as a sentence begins."""
        return "One dense model of `transformers`, with what was learned merged into the base's weights"

    def loading(self) -> str:
        """How it is used, as Markdown."""
        return f"## How to use it\n\nWith `pip install transformers`, and nothing of scalearn:\n\n{fenced(self.code(), 'python')}"

    def code(self, *, here: bool = False) -> str:
        """Code that predicts by a pipeline; it runs beside the export's folder."""
        writes = self.task.kind == GENERATION
        options = "" if writes else f', function_to_apply="{FUNCTIONS.get(self.task.kind, "softmax")}", top_k=None'
        texts = '{"text": "A text", "text_pair": "The other text"}' if len(self.task.text) == 2 else '"A text"'
        cut = f", truncation=True, max_length={self.max_length}"
        prompt = '[{"role": "user", "content": "A text"}]' if self.task.chat else '"A text"'
        call = f"{prompt}, max_new_tokens={self.task.max_new_tokens}, do_sample=False" if writes else texts + cut
        kind = "text-generation" if writes else "text-classification"
        lines = [
            "from transformers import pipeline",
            "",
            f"model = pipeline({quoted(kind)}, model={quoted(self.folder)}{options})  # this folder",
            f"print(model({call}))",
        ]
        return "\n".join(lines) + "\n"
