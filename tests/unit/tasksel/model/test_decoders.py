"""Tests of decoders as bases: the last token whichever side is padded, their tokenizers, what has no place in them, and their lm_head."""

import json

import numpy as np
import pytest
import torch
from decoders import KINDS, byte_tokenizer, save_decoder, tiny_decoder
from refusals import refused_line
from transformers import AutoModel, AutoModelForCausalLM

from tasksel import get_task
from tasksel.model.base import Base
from tasksel.model.compatibility import check_length
from tasksel.model.decoders import DECODERS
from tasksel.model.encoding import encode_split
from tasksel.model.heads import add_head
from tasksel.model.pooling import pool
from tasksel.model.slot import layers_of
from tasksel.tasks.examples import Split
from tasksel.training.features import pooled

PAIR = get_task("entail_travel")
TEXTS = [("Two cooks peel carrots.", "Nobody cooks."), ("It rains.", "It is wet."), ("The train to the coast is late.", "No.")]  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def base(request, tmp_path_factory):
    return Base(save_decoder(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_decoder(tmp_path_factory.mktemp("llama"))


def encoded(base, *, max_length=64):
    return encode_split(Split(TEXTS, None, np.zeros(3, dtype=int)), PAIR, base.tokenizer, max_length=max_length)


def turned(batch):
    """The same rows, padded on the left."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    shifted = [row.roll(int((seen == 0).sum())) for row, seen in zip(ids, mask, strict=True)]
    return torch.stack(shifted), mask.flip(1)


class TestTheLastToken:
    def test_it_is_the_last_one_that_is_attended_to_whichever_side_is_padded(self):
        hidden = torch.arange(12.0).view(3, 4, 1)
        mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])
        assert pool(hidden, mask, "last").flatten().tolist() == [1.0, 7.0, 11.0]
        assert pool(hidden, None, "last").flatten().tolist() == [3.0, 7.0, 11.0]

    def test_heads_read_it_where_the_first_is_asked(self, base):
        model = base.model()
        add_head(model, PAIR, name="head")
        assert (base.pooling, model.heads["head"].pooling) == ("last", "last")
        add_head(model, PAIR, name="mean", pooling="mean")
        assert model.heads["mean"].pooling == "mean"

    def test_logits_are_the_same_alone_and_padded_on_either_side(self, base):
        model, batch = base.model(), encoded(base).batch([0, 1, 2])
        add_head(model, PAIR, name="head")
        ids, mask = turned(batch)
        assert (mask[:, 0] == 0).any()
        with torch.no_grad():
            right = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            left = model(input_ids=ids, attention_mask=mask).logits
            alone = torch.cat([model(input_ids=torch.tensor(row)).logits for row in encoded(base).ids])
        assert alone.std() > 1e-3
        torch.testing.assert_close(right, alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(left, alone, atol=1e-5, rtol=0)

    def test_features_are_those_of_the_plain_decoder(self, base):
        features, logits = pooled(base.model(), encoded(base), pooling="last")
        plain = AutoModel.from_pretrained(base.path).eval()
        with torch.no_grad():
            rows = [plain(input_ids=torch.tensor(row)).last_hidden_state[0, -1] for row in encoded(base).ids]
        np.testing.assert_allclose(features, torch.stack(rows).numpy(), atol=1e-5)
        assert logits.shape == (3, 0)

    def test_a_sentence_encoders_own_configuration_counts(self, llama, tmp_path):
        folder = save_decoder(tmp_path / "base")
        (tmp_path / "base" / "1_Pooling").mkdir()
        for says, pooling in ({"pooling_mode_mean_tokens": True}, "mean"), ({"pooling_mode_lasttoken": True}, "last"):
            (tmp_path / "base" / "1_Pooling" / "config.json").write_text(json.dumps(says))
            assert Base(folder).pooling == pooling


class TestTokenizer:
    def test_the_end_of_a_text_pads_where_no_token_was_named_and_a_pair_is_two_lines(self, base):
        tokenizer, rows = base.tokenizer, encoded(base)
        assert tokenizer.pad_token_id is not None
        assert tokenizer.decode(rows.ids[0][0]) == "Two cooks peel carrots.\nNobody cooks."
        assert rows.types is None
        assert rows.batch([0, 1])["attention_mask"].sum(1).tolist() == rows.lengths[:2]

    def test_one_without_any_special_token_is_refused(self, llama, tmp_path):
        folder = save_decoder(tmp_path / "base")
        tokenizer = byte_tokenizer()
        tokenizer.eos_token = None
        tokenizer.save_pretrained(folder)
        said = refused_line(lambda: Base(folder).tokenizer)
        assert "has no padding token" in said

    def test_a_long_pair_is_cut_and_a_text_of_no_token_has_one(self, llama):
        base = Base(llama)
        assert encoded(base, max_length=12).cut == 3
        base.tokenizer.backend_tokenizer.normalizer = None
        from tokenizers.normalizers import Replace

        base.tokenizer.backend_tokenizer.normalizer = Replace("a", "")
        task = get_task("sentiment_films")
        rows = encode_split(Split([("a",), ("b",)], None, np.zeros(2, dtype=int)), task, base.tokenizer, max_length=8)
        assert [len(row[0]) for row in rows.ids] == [1, 1]

    def test_the_positions_bound_a_text(self, llama):
        said = refused_line(check_length, Base(llama), [PAIR], 161)
        assert "takes 2 to 160 tokens for a pair of texts" in said


class TestSlots:
    def test_there_are_none_so_a_bottleneck_is_refused_by_name(self, base):
        model = base.model()
        assert list(model.slots()) == []
        said = refused_line(model.add_adapter, "rte", "seq_bn")
        assert said.startswith(f"adapter 'rte' cannot be added: a {base.config.model_type} is a decoder, whose layers")
        model.set_active_adapters(None)

    def test_its_layers_and_projections_are_where_the_table_says(self, base):
        layers, row = [layer for _, layer in layers_of(base.model().base_model)], DECODERS[base.config.model_type]
        assert len(layers) == 2
        for layer in layers:
            width = layer.get_submodule(row.ffn_output).weight.numel() // 32
            assert width == 48 or base.config.model_type == "gpt2"
            assert layer.get_submodule(row.attention_output).weight.numel() == 32 * 32


class TestLmHead:
    @pytest.mark.parametrize("tied", [True, False])
    def test_the_fingerprint_covers_it_and_a_head_for_it_changes_no_fingerprint(self, tmp_path, tied):
        first = Base(save_decoder(tmp_path / "first", tie_word_embeddings=tied))
        causal = AutoModelForCausalLM.from_pretrained(first.path)
        with torch.no_grad():
            causal.lm_head.weight[0, 0] += 1
        causal.save_pretrained(tmp_path / "second")
        byte_tokenizer().save_pretrained(tmp_path / "second")
        second = Base(str(tmp_path / "second"))
        assert first.fingerprint != second.fingerprint
        assert first.model().language_model.tied == tied

    @pytest.mark.parametrize("kind", ["llama", "gpt2"])
    def test_a_decoder_that_was_saved_without_one_is_a_base_all_the_same(self, tmp_path, kind):
        causal = tiny_decoder(kind, tie_word_embeddings=False)
        causal.base_model.save_pretrained(tmp_path / "base")
        byte_tokenizer().save_pretrained(tmp_path / "base")
        base = Base(str(tmp_path / "base"))
        features, _ = pooled(base.model(), encoded(base), pooling="last")
        whole = Base(save_decoder(tmp_path / "whole", kind, tie_word_embeddings=False))
        np.testing.assert_allclose(features, pooled(whole.model(), encoded(whole), pooling="last")[0], atol=1e-6)
        assert base.model().language_model is None

    def test_a_decoder_that_lacks_a_layer_is_refused(self, tmp_path):
        folder = save_decoder(tmp_path / "base")
        config = json.loads((tmp_path / "base" / "config.json").read_text())
        config["num_hidden_layers"] = 3
        config.pop("layer_types", None)
        (tmp_path / "base" / "config.json").write_text(json.dumps(config))
        assert "lacks 9 weights of a llama, among them model.layers.2." in refused_line(Base(folder).model)
