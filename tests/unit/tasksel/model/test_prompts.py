"""Tests of prompts as token ids: what is learned from, what is cut and said, and what greedy decoding writes in batches."""

import json

import numpy as np
import pytest
import torch
from decoders import KINDS, byte_tokenizer, save_decoder
from refusals import refused_line
from transformers import AutoModelForCausalLM

from tasksel import Task
from tasksel.model.base import Base
from tasksel.model.compatibility import check_length
from tasksel.model.encoding import encode_split, say_cut
from tasksel.model.heads import add_head, loss_sum
from tasksel.tasks.examples import Split
from tasksel.tasks.task import BuiltinSource
from tasksel.training.predict import logits_of, mean_loss, predict

TASK = Task(name="asked", kind="generation", text=("q",), label="a", metric="token_f1", source=BuiltinSource(), max_new_tokens=8)  # fmt: skip
CHAT = TASK.model_copy(update={"chat": True})
ROWS = [("Colour of the sky?", "blue"), ("And of grass, in spring?", "green"), ("Snow?", "white")]
BYTES = byte_tokenizer()


def split(rows=ROWS):
    return Split([(prompt,) for prompt, _ in rows], None, np.array([answer for _, answer in rows], dtype=object))


def encoded(tokenizer=BYTES, *, rows=ROWS, task=TASK, max_length=64):
    tokenizer.pad_token = tokenizer.eos_token
    return encode_split(split(rows), task, tokenizer, max_length=max_length)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return Base(save_decoder(tmp_path_factory.mktemp("llama"), bos=True, chat=True))


@pytest.fixture(scope="module", params=KINDS)
def base(request, tmp_path_factory):
    return Base(save_decoder(tmp_path_factory.mktemp(request.param), request.param))


def writing(base, task=TASK):
    model = base.model()
    add_head(model, task, name="asked")
    return model


class TestTokens:
    def test_a_row_is_prompt_answer_and_the_token_that_ends_it(self):
        rows = encoded()
        assert BYTES.decode(rows.ids[0][0]) == "Colour of the sky? blue<eos>"
        assert rows.answers == [len(" blue") + 1, len(" green") + 1, len(" white") + 1]
        assert encoded(byte_tokenizer(bos=True)).ids[0][0][0] == 1

    def test_the_loss_reads_the_answers_tokens_alone(self):
        batch = encoded().batch([0, 2])
        assert BYTES.decode(batch["labels"]) == " blue<eos> white<eos>"
        seen = batch["input_ids"][batch["answer_mask"]]
        assert BYTES.decode(seen) == "? blue? white"  # each token that the next one is predicted at

    def test_a_chat_goes_through_the_tokenizers_template(self):
        messages = json.dumps([{"role": "system", "content": "Short."}, {"role": "user", "content": "Sky?"}])
        rows = encoded(byte_tokenizer(bos=True, chat=True), rows=[(messages, "blue")], task=CHAT)
        assert BYTES.decode(rows.ids[0][0]) == "<|system|>Short.<|end|><|user|>Sky?<|end|><|assistant|>blue<eos>"

    def test_an_answers_tokens_are_those_behind_its_prompt(self, monkeypatch):
        """Where the two would share a token, the answer's are its own."""
        tokenizer = byte_tokenizer()
        tokenizer.add_tokens(["? b"])
        rows = encoded(tokenizer, rows=[("Sky?", "blue"), ("Sky", "blue")])
        assert [tokenizer.decode(row[0][-count:]) for row, count in zip(rows.ids, rows.answers, strict=True)] == ["blue<eos>", " blue<eos>"]  # fmt: skip
        assert tokenizer.decode(rows.ids[0][0][: -rows.answers[0]]) == "Sky?"

    def test_rows_are_taken_and_joined_with_their_answers(self):
        rows = encoded()
        both = rows.take([2]).joined(rows.take([0, 1]))
        assert (both.answers, both.labels.tolist()) == ([7, 6, 7], ["white", "blue", "green"])
        assert (both.loss_terms([0, 1]), both.batch([0])["labels"].tolist()) == (13, rows.batch([2])["labels"].tolist())

    def test_rows_without_a_target_are_prompts(self):
        rows = encode_split(Split([("Sky?",)], None, np.array([""], dtype=object)), TASK, BYTES, max_length=64)
        assert (rows.answers, BYTES.decode(rows.ids[0][0])) == ([0], "Sky?")
        assert rows.batch([0])["answer_mask"].sum() == 0


class TestCutting:
    def test_a_long_prompt_loses_its_beginning_and_the_answer_nothing(self):
        rows = encoded(byte_tokenizer(bos=True), max_length=16)
        assert BYTES.decode(rows.ids[1][0], skip_special_tokens=False) == "<bos>spring? green<eos>"
        assert (rows.cut, rows.cut_answers, max(rows.lengths)) == (2, 0, 15)

    def test_an_answer_longer_than_its_tokens_loses_its_end_and_its_eos(self):
        rows = encoded(rows=[("Snow?", "white as ever")])
        assert BYTES.decode(rows.ids[0][0]) == "Snow? white a"
        assert (rows.cut, rows.cut_answers) == (0, 1)

    def test_both_are_said(self, monkeypatch):
        said = []
        monkeypatch.setattr("tasksel.display.progress.say", said.append)
        say_cut(encoded(rows=[*ROWS, ("Snow?", "white as ever")], max_length=16), "asked", 16)
        assert said == [
            "asked: 2 of 4 prompts have no room in max_length 16 less 8 of the answer (8 tokens): their beginning is cut (50%)",
            "asked: 1 of 4 answers are longer than max_new_tokens 8: their end is cut (25%)",
        ]


class TestLoss:
    def test_it_is_that_of_the_causal_language_model_whose_prompt_has_no_label(self, base):
        model, rows = writing(base), encoded(base.tokenizer)
        batch = rows.batch([0, 1, 2])
        ours = loss_sum("generation", logits_of(model, batch), batch["labels"]) / rows.loss_terms([0, 1, 2])
        labels = torch.full_like(batch["input_ids"], -100)
        for number, (row, count) in enumerate(zip(rows.ids, rows.answers, strict=True)):
            end = len(row[0])
            labels[number, end - count : end] = torch.tensor(row[0][-count:])
        plain = AutoModelForCausalLM.from_pretrained(base.path).eval()
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        torch.testing.assert_close(ours, plain(**inputs, labels=labels).loss, atol=1e-5, rtol=1e-5)
        assert mean_loss(model, TASK, rows, batch=2) == pytest.approx(float(ours), abs=1e-5)


class TestWriting:
    def test_a_batch_writes_what_each_row_writes_token_by_token_without_a_cache(self, base):
        model, rows = writing(base), encoded(base.tokenizer)
        texts = predict(model, rows)
        for number, (ids, count) in enumerate(zip(rows.ids, rows.answers, strict=True)):
            tokens = list(ids[0][: len(ids[0]) - count])
            start = len(tokens)
            with torch.no_grad():
                while len(tokens) < start + 8 and (len(tokens) == start or tokens[-1] != base.tokenizer.eos_token_id):
                    tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
            assert texts[number] == rows.text(torch.tensor(tokens[start:]))
        assert len(set(texts)) > 1

    def test_an_answer_that_ends_at_once_is_empty(self, llama):
        model = writing(llama)
        with torch.no_grad():
            model.lm_head.weight.zero_()  # of equal logits the first is taken: <eos>
        assert predict(model, encoded(llama.tokenizer)).tolist() == ["", "", ""]

    def test_a_checkpoints_own_settings_of_sampling_do_not_count(self, llama, tmp_path):
        import shutil

        folder = shutil.copytree(llama.path, tmp_path / "base")
        sampling = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "max_new_tokens": 1}
        (folder / "generation_config.json").write_text(json.dumps(sampling))
        texts = [predict(writing(base), encoded(base.tokenizer)).tolist() for base in (llama, Base(str(folder)))]
        assert texts[0] == texts[1]


class TestRefusals:
    def test_an_encoder_writes_no_text(self, tiny):
        said = refused_line(check_length, Base(tiny), [TASK], 64)
        assert f"task 'asked' is generation, and base '{tiny}' is a bert, an encoder, which writes no text" in said

    def test_no_room_for_the_prompt_beside_the_answer(self, llama):
        said = refused_line(check_length, llama, [TASK], 9)
        assert "recipe.max_length is 9, of which an answer of 'asked' takes 8 (max_new_tokens): no room is left" in said
        assert "give 10 tokens or more" in said
        check_length(llama, [TASK], 10)

    def test_a_tokenizer_without_a_chat_template_or_a_token_that_ends_a_text(self, base, tmp_path):
        if base.config.model_type == "llama":
            assert "its tokenizer has no chat template, which the messages of 'asked' need" in refused_line(check_length, base, [CHAT], 64)  # fmt: skip
            other = Base(save_decoder(tmp_path / "base"))
            other.tokenizer.eos_token = None
            assert "its tokenizer has no token that ends a text (eos_token)" in refused_line(check_length, other, [TASK], 64)  # fmt: skip

    def test_a_template_that_refuses_a_role(self, llama):
        tokenizer = byte_tokenizer(chat=True)
        tokenizer.chat_template = "{{ raise_exception('no system role') }}"
        row = (json.dumps([{"role": "system", "content": "x"}]), "y")
        assert "chat template refuses a row: no system role" in refused_line(encoded, tokenizer, rows=[row], task=CHAT)

    def test_a_decoder_that_was_saved_without_its_lm_head(self, tmp_path):
        from decoders import tiny_decoder

        tiny_decoder("llama", tie_word_embeddings=False).base_model.save_pretrained(tmp_path / "base")
        byte_tokenizer().save_pretrained(tmp_path / "base")
        model = Base(str(tmp_path / "base")).model()
        assert "a generation task needs a base with an lm_head" in refused_line(add_head, model, TASK, name="asked")


@pytest.mark.parametrize("tied", [True, False])
def test_an_lm_head_of_its_own_leaves_the_word_embeddings_alone(tmp_path, tied):
    model = writing(Base(save_decoder(tmp_path / "base", tie_word_embeddings=tied)))
    words = model.get_input_embeddings().weight.clone()
    model.untie_lm_head()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    torch.testing.assert_close(model.get_input_embeddings().weight, words)
    assert model.language_model.lm_head is model.lm_head
    assert [name for name, _ in model.named_parameters() if "lm_head" in name] == ["lm_head.weight"]
