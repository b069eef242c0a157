"""The code on a generation LoRA's model card: how stock PEFT loads it on the base with its lm_head, and writes."""

from __future__ import annotations

from scalearn.results.model_card import ModelCard, base_code, quoted


def generation_code(card: ModelCard, *, here: bool = False) -> str:
    """Plain PEFT code that loads the export and writes a text; it runs beside the export's folder.

    >>> print(generation_code(card))  # doctest: +SKIP
    """
    before, base, revision = base_code(card, here=here)
    prompt = 'tokenizer(["A prompt"], return_tensors="pt")'
    if card.task.chat:
        prompt = 'tokenizer.apply_chat_template([{"role": "user", "content": "A prompt"}], add_generation_prompt=True, return_dict=True, return_tensors="pt")'
    lines = [
        *before,
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        base,
        f"tokenizer = AutoTokenizer.from_pretrained(base{revision})",
        f"model = AutoModelForCausalLM.from_pretrained(base{revision})",
        f"model = PeftModel.from_pretrained(model, {quoted(card.folder)}).eval()  # this folder, or its id on the hub",
        "",
        f"inputs = {prompt}",
        "with torch.no_grad():",
        '    ids, mask = inputs["input_ids"], inputs["attention_mask"]',
        f"    tokens = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens={card.task.max_new_tokens})",
        "print(tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True).strip())",
    ]
    return "\n".join(lines) + "\n"
