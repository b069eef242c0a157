"""LoRAs that PEFT saved become sources with the same hidden states and logits; whatever is no plain LoRA is refused by name, with the reason."""

import json
from pathlib import Path

import pytest
import torch
from golden import change_json, change_weights
from lora_pool import tokens
from safetensors.torch import load_file

from scalearn import AdapterPool
from tasksel import UserError, get_task
from tasksel.adapters.peft_config import CONVERTIBLE, not_plain
from tasksel.model.base import load_base
from tasksel.model.lora_config import Target, module_config

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def empty(tiny, tmp_path):
    return AdapterPool(tmp_path / "pool", base=tiny)


def states(model, base):
    """Hidden states of two texts, from our model or theirs."""
    with torch.no_grad():
        return model(**tokens(base), output_hidden_states=True).hidden_states[-1]


KINDS = {
    "plain": {},
    "rslora": {"use_rslora": True, "r": 3},
    "patterns": {"rank_pattern": {r"0\.attention\.self\.query": 4}, "alpha_pattern": {"value": 9}},
    "all linear": {"target_modules": "all-linear"},
    "a regex": {"target_modules": r".*layer\.1\..*dense"},
    "eva, whose base stays": {"init_lora_weights": "gaussian", "lora_dropout": 0.3},
}


def test_a_lora_of_peft_becomes_a_source_with_its_hidden_states(peft_folder, empty):
    for number, (kind, values) in enumerate(KINDS.items()):
        folder, theirs = peft_folder(f"lora{number}", **values)
        source = empty.add(folder)
        assert source.kind == "lora", kind
        ours = source.trained.model(empty.base, head=False)
        assert (states(ours, empty.base) - states(theirs, empty.base)).abs().max() < 1e-5, kind
        assert ours.active_head is None
    assert empty.names == [f"lora{number}" for number in range(len(KINDS))]
    empty.verify()


def test_what_the_pool_stores_stock_peft_loads_to_the_same_hidden_states(peft, peft_folder, empty, tiny):
    from transformers import AutoModel

    folder, theirs = peft_folder(classes=2, **KINDS["patterns"])
    stored = empty.add(folder).folder
    again = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(tiny), stored).eval()
    assert (states(again, empty.base) - states(theirs, empty.base)).abs().max() < 1e-5


@pytest.mark.parametrize("values", [{}, {"modules_to_save": ["pooler", "classifier"]}])
def test_a_classifiers_head_is_kept_as_the_sources_own(peft_folder, empty, values):
    folder, theirs = peft_folder(classes=3, **values)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "modules_to_save" in name:
                parameter.normal_()
    theirs.save_pretrained(folder)
    source = empty.add(folder)
    ours = source.trained.model(empty.base)
    with torch.no_grad():
        wanted, given = theirs(**tokens(empty.base)).logits, ours(**tokens(empty.base)).logits
    assert (wanted - given).abs().max() < 1e-5
    assert source.pooling == "first"
    assert ours.heads[ours.active_head].use_pooler == (not values)


def test_a_lora_without_a_usable_head_is_a_source_all_the_same(peft_folder, empty, capsys):
    folder, _ = peft_folder(classes=2)
    change_json(folder / CONFIG, task_type="TOKEN_CLS")
    assert not empty.add(folder, name="tagger").trained.has_head
    assert "its head is for another kind of task (tagging): it is added without its head" in capsys.readouterr().err


def edited(folder, **values):
    change_json(folder / CONFIG, **values)
    return folder


def renamed(old, new):
    return lambda key, tensor: (key.replace(old, new), tensor)


REFUSED_VALUES = {
    "it is a DoRA": {"use_dora": True},
    "it is an aLoRA": {"alora_invocation_tokens": [3, 4]},
    "it is a KaSA": {"kasa_config": {"beta": 1.0}},
    r"biases of the base were trained \(bias=lora_only\)": {"bias": "lora_only"},
    "biases of its B were trained": {"lora_bias": True},
    r"embeddings were trained \(trainable_token_indices": {"trainable_token_indices": [1]},
    "embeddings were trained beside it": {"modules_to_save": ["word_embeddings"]},
    "the module 'adapter_x' was trained beside it": {"modules_to_save": ["adapter_x"]},
    "it began at init_lora_weights=pissa_niter_4, which changes the base's weights": {"init_lora_weights": "pissa_niter_4"},
    "it began at init_lora_weights=olora": {"init_lora_weights": "olora"},
    "it began at init_lora_weights=corda": {"init_lora_weights": "corda"},
    "it repeats layers of its base": {"layer_replication": [[0, 2]]},
    "its setting 'use_newest' is not known here": {"use_newest": True},
    r"of the kind VERA, .*; convert it: peft\.convert_to_lora": {"peft_type": "VERA"},
    "of the kind PREFIX_TUNING, and plain LoRAs can be sources$": {"peft_type": "PREFIX_TUNING"},
    "modules_to_save is classifier, where a list": {"modules_to_save": "classifier"},
    "a LoRA's r: .*given 'eight'": {"r": "eight"},
    "base_model_name_or_path: a text is needed, given 3": {"base_model_name_or_path": 3},
    r"says rank 3": {"r": 3},
    "which its target_modules do not name": {"target_modules": ["key"]},
    "is no regular expression": {"rank_pattern": {"(": 2}},
    "trained on base 'somebody/else', the pool's is": {"base_model_name_or_path": "somebody/else"},
}  # fmt: skip


def test_every_configuration_that_is_no_plain_lora_is_refused_with_the_reason(peft_folder, empty):
    folder, _ = peft_folder()
    sound = (folder / CONFIG).read_text()
    for said, values in REFUSED_VALUES.items():
        (folder / CONFIG).write_text(sound)
        with pytest.raises(UserError, match=said) as caught:
            empty.add(edited(folder, **values))
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(folder))
    assert empty.names == []
    assert list(empty.folder.glob("*")) == []


REFUSED_WEIGHTS = {
    "a module that '.*' lacks": renamed("layer.1.", "layer.7."),
    "is not part of a plain LoRA": renamed("layer.1.attention.self.query.lora_A", "layer.1.attention.self.query.lora_C"),
    "it is a DoRA": renamed("query.lora_B.weight", "query.lora_magnitude_vector"),
    "has a lora_B alone": lambda key, tensor: None if "0.attention.self.query.lora_A" in key else (key, tensor),
    "it was trained on another base": lambda key, tensor: (key, tensor[:, :16] if "lora_A" in key else tensor),
    r"where \[r, in\] and \[out, r\] are needed": lambda key, tensor: (key, tensor[:1] if "lora_A" in key else tensor),
    "1 of 64 numbers of its weight '.*lora_A.* are NaN": lambda key, tensor: (key, tensor.index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(torch.nan))),
    "is empty: DeepSpeed ZeRO-3 saves so": lambda key, tensor: (key, tensor[:0]),
    "it is a VeLoRA": renamed("query.lora_A.weight", "query.lora_velora_embed"),
    "embeddings were trained": lambda key, tensor: (key.replace("query.lora_A", "query.lora_embedding_A"), tensor),
    "of int64, not of floats": lambda key, tensor: (key, tensor.long()),
    "its weights hold no LoRA": lambda key, tensor: None,
}  # fmt: skip


def test_every_weight_that_does_not_fit_is_refused_by_name(peft_folder, empty):
    folder, _ = peft_folder()
    sound = (folder / WEIGHTS).read_bytes()
    for said, change in REFUSED_WEIGHTS.items():
        (folder / WEIGHTS).write_bytes(sound)
        change_weights(folder / WEIGHTS, change)
        with pytest.raises(UserError, match=said):
            empty.add(folder)
    (folder / WEIGHTS).write_bytes(sound[:-20])
    with pytest.raises(UserError, match="cannot be loaded"):
        empty.add(folder)
    assert empty.names == []


def test_an_older_file_of_tensors_alone_is_a_source(peft_folder, empty):
    folder, theirs = peft_folder()
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    source = empty.add(folder)
    assert (source.folder / WEIGHTS).is_file()
    ours = source.trained.model(empty.base, head=False)
    assert (states(ours, empty.base) - states(theirs, empty.base)).abs().max() < 1e-5


def test_one_that_holds_more_is_never_unpickled(peft_folder, empty):
    folder, _ = peft_folder()
    torch.save({"touched": Exploding()}, folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"adapter_model\.bin: it holds more than tensors, which is never read"):
        empty.add(folder)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(
        UserError, match=r"no weights there \(no file .*adapter_model\.safetensors, nor adapter_model\.bin"
    ):
        empty.add(folder)


class Exploding:
    """What shows that it was unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_a_known_same_base_may_have_another_name(peft_folder, empty):
    folder, theirs = peft_folder()
    edited(folder, base_model_name_or_path="somebody/else")
    source = empty.add(folder, same_base=True, name="own")
    assert (
        states(source.trained.model(empty.base, head=False), empty.base) - states(theirs, empty.base)
    ).abs().max() < 1e-5


def test_a_base_is_known_by_its_folder_however_it_is_written(peft_folder, empty, tiny, monkeypatch):
    folder, _ = peft_folder()
    monkeypatch.chdir(Path(tiny).parent)
    for number, name in enumerate((f"{tiny}/", f"./{Path(tiny).name}")):
        assert empty.add(edited(folder, base_model_name_or_path=name), name=f"lora{number}").kind == "lora"


@pytest.mark.parametrize("adapter", ["default", "my_lora"])
def test_a_whole_models_state_has_the_adapters_name_in_its_keys(peft_folder, empty, adapter):
    folder, theirs = peft_folder()
    change_weights(folder / WEIGHTS, renamed(".weight", f".{adapter}.weight"))
    ours = empty.add(folder).trained.model(empty.base, head=False)
    assert (states(ours, empty.base) - states(theirs, empty.base)).abs().max() < 1e-5
    change_weights(folder / WEIGHTS, lambda key, tensor: (key.replace(adapter, "b") if "lora_B" in key else key, tensor))  # fmt: skip
    with pytest.raises(UserError, match=rf"its weights hold LoRAs of several names \((b, {adapter}|{adapter}, b)\)"):
        empty.add(folder, name="two")


def test_weights_that_were_added_without_their_task_can_have_it_said(peft_folder, empty):
    folder, _ = peft_folder()
    assert empty.add(folder).card.task is None
    source = empty.add(folder, task=get_task("entail_travel"))
    assert (empty.names, source.name, source.card.task.name) == (["theirs"], "theirs", "entail_travel")
    other, _ = peft_folder("other", seed=6)
    for options in ({"name": "theirs", "task": get_task("entail_travel")}, {"name": "theirs"}):
        with pytest.raises(UserError, match="the pool already holds 'theirs'"):
            empty.add(other, **options)
    assert empty.add(other).card.task is None
    assert empty.add(other, name="other", task=get_task("entail_travel")).card.task.name == "entail_travel"
    empty.verify()


def test_a_lora_that_was_never_trained_is_said_to_change_nothing(peft_folder, empty, capsys):
    folder, _ = peft_folder()
    change_weights(folder / WEIGHTS, lambda key, tensor: (key, tensor * 0 if "lora_B" in key else tensor))
    assert empty.add(folder).kind == "lora"
    said = "all its B are zero: it was never trained, and changes nothing"
    assert said in capsys.readouterr().err
    empty["theirs"].lora()
    assert said not in capsys.readouterr().err  # once, when it is added


def test_a_head_on_a_pooler_that_the_base_lacks_is_left_out(peft_folder, tiny, tmp_path, capsys):
    from transformers import AutoModel

    AutoModel.from_pretrained(tiny, add_pooling_layer=False).save_pretrained(tmp_path / "bare")
    load_base(tiny).tokenizer.save_pretrained(tmp_path / "bare")
    folder, _ = peft_folder(classes=2)
    pool = AdapterPool(tmp_path / "pool", base=str(tmp_path / "bare"))
    assert not pool.add(folder, same_base=True).trained.has_head
    said = (
        "its head cannot be used, as it reads the base's pooler, and this base has none: it is added without its head"
    )
    assert said in capsys.readouterr().err


def test_names_on_a_base_without_a_pooler_target_none_where_there_is_one():
    """RoBERTa's Linears all end in `dense`, as the pooler does that `AutoModel` adds."""
    linears = ["encoder.layer.0.attention.output.dense", "encoder.layer.0.output.dense", "encoder.layer.0.attention.self.query"]  # fmt: skip
    names = module_config([Target(path, 2, 2) for path in linears], linears).target_modules
    assert not any("pooler.dense".endswith(name) for name in names)


def test_a_file_in_half_precision_is_a_source(peft_folder, empty):
    folder, _ = peft_folder()
    change_weights(folder / WEIGHTS, lambda key, tensor: (key, tensor.bfloat16()))
    pairs = empty.add(folder).lora().pairs
    assert all(a.dtype == b.dtype == torch.float32 for a, b in pairs.values())


def test_a_pool_is_of_one_kind(peft_folder, plain_adapter, pool_folder, lora_pool_folder, tmp_path):
    import shutil

    folder, _ = peft_folder()
    for stored, origin, said in (
        (pool_folder, folder, "holds bottleneck adapters, and this is of LoRAs: a pool is of one kind"),
        (lora_pool_folder, plain_adapter(), "holds LoRAs, and this is of bottleneck adapters"),
    ):
        pool = AdapterPool(stored)
        with pytest.raises(UserError, match=said):
            pool.add(origin)
    shutil.copytree(lora_pool_folder, tmp_path / "both")
    shutil.copytree(pool_folder / "entail_travel", tmp_path / "both" / "another")
    with pytest.raises(
        UserError, match=r"'entail_travel' in .* is of LoRAs, 'another' of bottleneck adapters: a pool is of one kind"
    ):
        AdapterPool(tmp_path / "both")


def test_an_altered_file_of_a_stored_lora_is_named(lora_pool_folder, tmp_path):
    import shutil

    shutil.copytree(lora_pool_folder, tmp_path / "pool")
    pool = AdapterPool(tmp_path / "pool")
    pool.verify()
    path = tmp_path / "pool" / "entail_travel" / WEIGHTS
    change_weights(path, lambda key, tensor: (key, tensor + 1))
    for call in (pool.verify, pool["entail_travel"].lora):
        with pytest.raises(
            UserError, match=r"source 'entail_travel': .*adapter_model\.safetensors is not the file that was stored"
        ):
            call()


def test_loras_that_were_trained_here_have_moved_and_know_their_task(lora_pool):
    for source in lora_pool:
        assert source.card.task == get_task(source.name)
        assert source.trained.has_head
        assert all(b.abs().max() > 0 for path, (_, b) in source.lora().pairs.items() if "pooler" not in path)
    assert lora_pool["sentiment_films"].card.parameters["transfer"] == 2 * 2 * 2 * 2 * 32
    assert {len(a) for a, _ in lora_pool["grammar_garden"].lora().pairs.values()} == {2, 4}


def test_every_kind_that_is_said_to_be_convertible_is_known_to_peft(peft):
    assert {*CONVERTIBLE} <= {kind.value for kind in peft.PeftType}
    assert "peft.convert_to_lora" in str(not_plain({"peft_type": "LOHA"}))
    assert callable(peft.convert_to_lora)


def test_what_peft_writes_today_is_known(peft, peft_folder):
    folder, _ = peft_folder()
    assert not_plain(json.loads((folder / CONFIG).read_text())) is None
    assert set(load_file(folder / WEIGHTS)) == {
        f"base_model.model.encoder.layer.{n}.attention.self.{m}.lora_{h}.weight"
        for n in (0, 1)
        for m in ("query", "value")
        for h in "AB"
    }
