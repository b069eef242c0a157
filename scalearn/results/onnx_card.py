"""The README of an ONNX export: as an adapter's (`scalearn.results.model_card`), with how onnxruntime computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scalearn.results.model_card import ModelCard, answer_lines, base_name, escape, fenced, labels_line, quoted


@dataclass(frozen=True)
class OnnxCard(ModelCard):
    """The contents of an ONNX export's card.

    Attributes:
        opset: of the file. difference: the largest between its logits and the model's, as measured when it was written.
    """

    thing: ClassVar[str] = "model"
    opset: int = 18
    difference: float = 0.0

    @property
    def library(self) -> str:
        """What the hub calls the library that reads it."""
        return "onnx"

    def what(self) -> str:
        """The card's beginning."""
        kind = self.task.kind.replace("_", " ")
        return (
            f"# {escape(self.task.name)} by {escape(self.method)}, ONNX\n\n`model.onnx` is a whole model for the task {escape(self.task.name)} ({kind}): "
            f"a {escape(self.model_type)} ({base_name(self)}) with what was learned in its layers, and the head. Opset {self.opset}; inputs "
            f"[batch, tokens], both dynamic; output `logits`.{labels_line(self)}\n\n"
            f"onnxruntime's logits were compared with the model's when the file was written: largest difference {self.difference:.1e}."
        )

    def how(self) -> str:
        """How it is used."""
        return f"## How to use it\n\nWith `pip install onnxruntime transformers`, and nothing of scalearn:\n\n{fenced(onnx_snippet(self), 'python')}"


def onnx_snippet(card: OnnxCard) -> str:
    """Code that predicts by onnxruntime; it runs beside the export's folder."""
    folder, texts = quoted(card.folder), '["A text"], ["The other text"]' if len(card.task.text) == 2 else '["A text"]'
    lines = [
        "from onnxruntime import InferenceSession",
        "from transformers import AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({folder})  # this folder",
        f"session = InferenceSession({quoted(card.folder + '/model.onnx')})",
        f'inputs = tokenizer({texts}, padding=True, truncation=True, max_length={card.max_length}, return_tensors="np")',
        '(logits,) = session.run(["logits"], {each.name: inputs[each.name] for each in session.get_inputs()})',
        "logits = logits[0]",
        *(line.replace("clamp", "clip") for line in answer_lines(card)),
    ]
    return "\n".join(lines) + "\n"
