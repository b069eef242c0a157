"""The README of an ONNX export: as an adapter's (`scalearn.results.model_card`), with how onnxruntime computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scalearn.results.model_card import ModelCard, answer, fenced, quoted, texts


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

    def adapter(self) -> str:
        """What it is, as a sentence begins."""
        return f"One ONNX file, `model.onnx` (opset {self.opset}): base, what was learned in its layers, and head"

    def loading(self) -> str:
        """How it is used, as Markdown."""
        facts = (
            "Inputs are [batch, tokens], both dynamic; the output is `logits`. onnxruntime's were compared with the model's when the file was "
            f"written: largest difference {self.difference:.1e}."
        )
        return (
            f"## How to use it\n\n{facts}\n\nWith `pip install onnxruntime transformers`, and nothing of scalearn:\n\n"
            f"{fenced(self.code(), 'python')}"
        )

    def code(self, *, here: bool = False) -> str:
        """Code that predicts by onnxruntime; it runs beside the export's folder."""
        lines = [
            "from onnxruntime import InferenceSession",
            "from transformers import AutoTokenizer",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({quoted(self.folder)})  # this folder",
            f"session = InferenceSession({quoted(self.folder + '/model.onnx')})",
            f'inputs = tokenizer({texts(self)}, padding=True, truncation=True, max_length={self.max_length}, return_tensors="np")',
            '(logits,) = session.run(["logits"], {each.name: inputs[each.name] for each in session.get_inputs()})',
            "logits = logits[0]",
            *(line.replace("clamp", "clip") for line in answer(self)),
        ]
        return "\n".join(lines) + "\n"
