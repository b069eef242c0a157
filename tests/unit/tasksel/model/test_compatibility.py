"""Tests of the guard: what a base, its tokenizer, a task and a number of tokens must have for each other, and the one line where they do not."""

import json
import shutil

import numpy as np
import pytest
import torch
from refusals import refused_line
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from tasksel import get_task
from tasksel.model.base import Base, base_at_hand
from tasksel.model.compatibility import check_length, most_tokens
from tasksel.model.decoders import DECODERS
from tasksel.model.encoding import encode_split, say_cut
from tasksel.model.heads import add_head
from tasksel.model.slot import FAMILIES
from tasksel.tasks.examples import Split
from tasksel.training.predict import logits_of

ONE, PAIR, CHOICES = "sentiment_films", "entail_travel", "endings_daily"
RELATIVE = {"position_biased_input": False, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
POSITIONS = [  # model type, settings, and the most tokens of a base with 20 positions
    ("bert", {}, 20),
    ("bert", {"position_embedding_type": "relative_key"}, 20),
    ("roberta", {"pad_token_id": 0}, 19),
    ("roberta", {"pad_token_id": 1}, 18),
    ("xlm-roberta", {"pad_token_id": 5}, 14),
    ("distilbert", {}, 20),
    ("electra", {}, 20),
    ("albert", {}, 20),
    ("deberta", {"position_biased_input": True}, 20),
    ("deberta", RELATIVE, None),
    ("deberta-v2", {"position_biased_input": True}, 20),
    ("deberta-v2", RELATIVE, None),
    ("mpnet", {"pad_token_id": 1}, 18),
]
SIZES = {"vocab_size": 30, "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 20, "n_layers": 1, "dim": 16, "n_heads": 2, "hidden_dim": 32, "embedding_size": 16, "pad_token_id": 0}  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c"]


def copied(tiny, folder, **changes):
    """The tiny BERT with a changed configuration."""
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def save_tokenizer(folder, *, special=True, words=WORDS, **names):
    """A tokenizer of words in place of the folder's own."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    for path in (*folder.glob("tokenizer*"), *folder.glob("vocab*"), *folder.glob("special_tokens*")):
        path.unlink()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **names).save_pretrained(folder)


class TestPositions:
    @pytest.mark.parametrize(("architecture", "settings", "most"), POSITIONS)
    def test_the_most_tokens_pass_through_the_base_and_no_more(self, architecture, settings, most):
        torch.manual_seed(0)
        config = AutoConfig.for_model(architecture, **{**SIZES, **settings})
        model = AutoModel.from_config(config).eval()
        assert most_tokens(config) == most
        with torch.no_grad():
            passed = model(input_ids=torch.full((1, most or 50), 7)).last_hidden_state
            assert passed.shape[1] == (most or 50)
            if most:
                with pytest.raises((IndexError, RuntimeError)):
                    model(input_ids=torch.full((1, most + 1), 7))

    @pytest.mark.parametrize("given", [131, 0, -3, 3, 4, True, 64.0, "64"])
    def test_a_number_of_tokens_outside_them_is_refused_with_what_is_allowed(self, tiny, given):
        base = Base(tiny)
        said = refused_line(check_length, base, [get_task(ONE), get_task(PAIR)], given)
        assert said == f"recipe.max_length is {given}; base '{tiny}' takes 5 to 130 tokens for a pair of texts"

    def test_the_fewest_and_the_most_are_taken(self, tiny):
        base = Base(tiny)
        for tasks, least in ((ONE, 3), (PAIR, 5), (CHOICES, 5)):
            for given in (least, 130):
                check_length(base, [get_task(tasks)], given)
            assert f"takes {least} to 130 tokens" in refused_line(check_length, base, [get_task(tasks)], least - 1)

    def test_a_base_without_positions_takes_any_number(self, make_base):
        base = Base(make_base("deberta-v2", position_biased_input=False))
        check_length(base, [get_task(ONE)], 100_000)
        assert "takes at least 3 tokens" in refused_line(
            check_length, base, [get_task(ONE)], 2, setting="max_length of 'text'"
        )


class TestTokenizer:
    def test_none(self, tiny, tmp_path):
        folder = copied(tiny, tmp_path / "alone")
        for path in folder.iterdir():
            if path.name not in ("config.json", "model.safetensors"):
                path.unlink()
        assert "has no tokenizer, so it holds a model alone: save its tokenizer there too" in refused_line(
            lambda: Base(str(folder)).tokenizer
        )

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": {"type": "none"}}'])
    def test_one_that_cannot_be_read(self, tiny, tmp_path, content):
        folder = copied(tiny, tmp_path / "broken")
        (folder / "tokenizer.json").write_text(content)
        (folder / "vocab.txt").unlink(missing_ok=True)
        assert "cannot be loaded" in refused_line(lambda: Base(str(folder)).tokenizer)

    def test_one_of_another_vocabulary(self, tiny, tmp_path):
        folder = copied(tiny, tmp_path / "larger")
        save_tokenizer(folder, words=[*WORDS, *map(str, range(40_000))], pad_token="[PAD]")
        said = refused_line(lambda: Base(str(folder)).tokenizer)
        assert "its tokenizer has ids up to 40006, its vocabulary ends at 30521" in said

    def test_one_without_a_padding_token(self, tiny, tmp_path):
        folder = copied(tiny, tmp_path / "padless")
        save_tokenizer(folder)
        assert "its tokenizer has no padding token" in refused_line(lambda: Base(str(folder)).tokenizer)

    def test_one_that_puts_nothing_before_a_text(self, tiny, tmp_path):
        folder = copied(tiny, tmp_path / "bare")
        save_tokenizer(folder, special=False, pad_token="[PAD]")
        assert "puts no token such as [CLS] or <s> before a text" in refused_line(lambda: Base(str(folder)).tokenizer)

    @pytest.mark.parametrize(("architecture", "types", "kept"), [("roberta", 1, False), ("roberta", 2, True), ("bert", 1, False), ("bert", 2, True), ("deberta-v2", 0, False)])  # fmt: skip
    def test_segments_are_given_where_the_base_has_room_for_them(self, make_base, architecture, types, kept):
        base, task = Base(make_base(architecture, type_vocab_size=types)), get_task(PAIR)
        encoded = encode_split(Split([("a", "b c")], None, np.zeros(1)), task, base.tokenizer, max_length=16)
        assert (encoded.types is not None) == kept
        model = base.model()
        add_head(model, task, name="head")
        assert logits_of(model, encoded.batch([0])).isfinite().all()


OUTSIDE = {
    "opt": "a decoder that is not known here (a new one is a row of DECODERS in tasksel/model/decoders.py)",
    "xlnet": "a decoder that is not known here",
    "t5": "an encoder-decoder",
    "bart": "an encoder-decoder",
    "roberta-prelayernorm": "a pre-LN encoder, whose layers do not end in their LayerNorm, so a bottleneck's slot has another formula",
    "modernbert": "a pre-LN encoder",
    "xmod": "a pre-LN encoder",
    "funnel": "an encoder whose slot is not known here (a post-LN one is a row of FAMILIES in tasksel/model/slot.py)",
    "camembert": "a post-LN one is a row of FAMILIES in tasksel/model/slot.py",
    "clip": "not an encoder of texts",
    "vit": "not an encoder of texts",
    "whisper": "an encoder-decoder",
}


class TestArchitecture:
    @pytest.mark.parametrize(
        ("kind", "setting", "value"),
        [("roberta", "pad_token_id", None), ("bert", "vocab_size", None), ("bert", "max_position_embeddings", "512")],
    )
    def test_a_size_that_is_no_number_is_named(self, tmp_path, kind, setting, value):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, setting: value}))
        assert f"{setting} in its config.json is {value!r}" in refused_line(Base, str(tmp_path))

    @pytest.mark.parametrize(("kind", "reason"), OUTSIDE.items())
    def test_what_is_no_base_is_refused_with_its_type_the_reason_and_what_is(self, tmp_path, kind, reason):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        said = refused_line(Base, str(tmp_path))
        assert said.startswith(f"base '{tmp_path}' is a {kind}: ")
        assert reason in said
        assert (
            f"choose one of these: {', '.join(sorted(FAMILIES))}; or a decoder: {', '.join(sorted(DECODERS))}" in said
        )

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "has no config.json"),
            ("", "not a valid JSON"),
            ("{", "not a valid JSON"),
            ("[]", "cannot be loaded"),
            ("3", "cannot be loaded"),
            ("null", "cannot be loaded"),
            ("{}", "names no model_type"),
            ('{"model_type": 7}', "cannot be loaded"),
            ('{"model_type": "no-such-type"}', "does not know the type of model"),
            (
                '{"model_type": "own", "auto_map": {"AutoConfig": "code.C"}}',
                "needs code of its own, which is never run",
            ),
        ],
    )
    def test_a_configuration_that_says_nothing_is_refused(self, tmp_path, content, reason):
        folder = tmp_path / "folder"
        folder.mkdir()
        if content is not None:
            (folder / "config.json").write_text(content)
        said = refused_line(Base, str(folder))
        assert said.startswith(f"base '{folder}' cannot be loaded: ")
        assert reason in said
        assert len(said) < 600

    @pytest.mark.parametrize(
        "changes", [{"hidden_size": 48}, {"num_attention_heads": 5}, {"vocab_size": 7}, {"hidden_size": "32"}, {"hidden_act": "none"}]
    )  # fmt: skip
    def test_a_configuration_that_is_not_of_the_weights_is_refused(self, tiny, tmp_path, changes):
        folder = copied(tiny, tmp_path / "changed", **changes)
        assert len(refused_line(lambda: Base(str(folder)).model())) < 600


def test_a_base_at_hand_is_a_folder_an_alias_or_in_the_hubs_cache(tiny, monkeypatch):
    assert base_at_hand("minilm").name == "minilm"
    assert base_at_hand(tiny).path == tiny
    assert base_at_hand("owner/not-cached") is None
    assert base_at_hand("bare-id") is None
    assert "is neither a folder" in refused_line(base_at_hand, "no/such/folder")


class TestCut:
    def test_rows_that_lose_tokens_are_counted_whichever_text_loses_them(self, tiny):
        tokenizer = Base(tiny).tokenizer
        texts = [("good " * 6,), ("good " * 7,), ("good",), ("good " * 50,)]
        assert encode_split(Split(texts, None, np.zeros(4)), get_task(ONE), tokenizer, max_length=8).cut == 2
        pairs = [("a", "b " * 9), ("b " * 9, "a"), ("a", "b")]
        assert encode_split(Split(pairs, None, np.zeros(3)), get_task(PAIR), tokenizer, max_length=8).cut == 2
        choices = [["a", "b"], ["a", "b " * 9], ["b " * 9, "b " * 9]]
        rows = Split([("a",)] * 3, choices, np.zeros(3))
        assert encode_split(rows, get_task(CHOICES), tokenizer, max_length=8).cut == 2

    def test_they_are_said_with_their_share_and_not_where_there_are_none(self, tiny, monkeypatch):
        said = []
        monkeypatch.setattr("tasksel.display.progress.say", said.append)
        tokenizer, task = Base(tiny).tokenizer, get_task(ONE)
        for texts in ([("good " * 30,), ("good",), ("good",)], [("good",)]):
            say_cut(encode_split(Split(texts, None, np.zeros(len(texts))), task, tokenizer, max_length=8), "films", 8)
        assert said == ["films: 1 of 3 rows (33.3%) are longer than max_length 8 and are cut"]
