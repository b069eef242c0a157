"""Whatever is wrong with an adapter that is added is one line that names it, and nothing is stored."""

import json
import re
import shutil

import pytest
import torch
from refusals import refused_line
from safetensors.torch import load_file, save_file

from scalearn import AdapterPool

CONFIG, WEIGHTS = "adapter_config.json", "adapter.safetensors"
HEAD_CONFIG, HEAD = "head_config.json", "model_head.safetensors"
UP = "bert.encoder.layer.1.output.adapters.theirs.adapter_up.weight"
HUGE = 10**400


@pytest.fixture(scope="module")
def sound(plain_adapter):
    """A sound adapter with a head, in the format of plain `adapters`."""
    return plain_adapter(head=True)


@pytest.fixture
def empty(tiny, tmp_path):
    return AdapterPool(tmp_path / "pool", base=tiny)


@pytest.fixture
def folder(sound, tmp_path):
    """A copy of the sound adapter, to be broken."""
    return shutil.copytree(sound, tmp_path / "theirs")


def edited(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def without(*keys):
    return lambda content: {key: value for key, value in content.items() if key not in keys}


def inner(**values):
    return lambda content: {**content, "config": {**content["config"], **values}}


def outer(**values):
    return lambda content: {**content, **values}


def lacking(key):
    return lambda content: {**content, "config": {k: v for k, v in content["config"].items() if k != key}}


CONFIGS = {  # a change of adapter_config.json, and what is said
    "no config": (without("config"), "its config is nothing"),
    "null config": (outer(config=None), "its config is nothing"),
    "list config": (outer(config=[1, 2]), "its config is a list"),
    "number config": (outer(config=3), "its config is a number"),
    "boolean config": (outer(config=True), "its config is true or false"),
    "empty config": (outer(config={}), "not a bottleneck adapter"),
    "unknown word": (outer(config="pfeifer"), "no adapter configuration 'pfeifer'; did you mean 'pfeiffer'"),
    "empty word": (outer(config=""), "no adapter configuration ''"),
    "a path as word": (outer(config="/etc/hostname"), "no adapter configuration '/etc/hostname'"),
    "a word with broken settings": (
        outer(config="seq_bn[reduction_factor=]"),
        "its config .* cannot be read: give values as",
    ),
    "a word with unknown settings": (outer(config="seq_bn[depth=3]"), "no adapter setting 'depth'"),
    "a word with code": (outer(config="seq_bn[reduction_factor=print(1)]"), r"cannot read its config|reduction_factor"),
    "houlsby by name on other slots": (outer(config="double_seq_bn"), "8 weights, where the layers of .* take 16"),
    "lora by name": (outer(config="lora"), "not a bottleneck adapter"),
    "invertible by name": (outer(config="pfeiffer+inv"), "invertible"),
    "parallel by name": (outer(config="par_bn"), "parallel"),
    "compacter by name": (outer(config="compacter"), "PHM"),
    "union by name": (outer(config="seq_bn|lora"), "not a bottleneck adapter"),
    "list name": (outer(name=["a"]), "name: .*string, given"),
    "number name": (outer(name=7), "name: .*string, given 7"),
    "name with a slash": (outer(name="../x"), "cannot name a pool entry"),
    "empty name of a strange folder": (outer(name="a\nb"), "cannot name a pool entry"),
    "long name": (outer(name="n" * 300), "300 bytes, .* give at most 200"),
    "list model": (outer(model_name=["bert"]), "model_name"),
    "list architecture": (outer(model_type=["bert"]), "model_type"),
    "hidden size as text": (outer(hidden_size="32"), "hidden_size"),
    "hidden size as truth": (outer(hidden_size=True), "hidden_size"),
    "another hidden size": (outer(hidden_size=33), "hidden_size 33"),
    "no activation": (lacking("non_linearity"), "not a bottleneck adapter"),
    "null activation": (inner(non_linearity=None), "non_linearity"),
    "number activation": (inner(non_linearity=3), "non_linearity: .*string, given 3"),
    "list activation": (inner(non_linearity=["relu"]), "non_linearity"),
    "unknown activation": (inner(non_linearity="rellu"), "no activation 'rellu'; did you mean 'relu"),
    "activation with weights": (inner(non_linearity="prelu"), "'prelu' has weights of its own"),
    "no reduction factor": (lacking("reduction_factor"), "not a bottleneck adapter"),
    "reduction factor 0": (inner(reduction_factor=0), "reduction_factor: .*greater than 0, given 0"),
    "negative reduction factor": (inner(reduction_factor=-16), "reduction_factor: .*greater than 0"),
    "NaN reduction factor": (inner(reduction_factor=float("nan")), "reduction_factor: .*finite"),
    "infinite reduction factor": (inner(reduction_factor=float("inf")), "reduction_factor: .*finite"),
    "huge reduction factor": (inner(reduction_factor=1e300), r"is \[2\], where a reduction factor of 1e\+300"),
    "reduction factor beyond floats": (inner(reduction_factor=HUGE), "reduction_factor|cannot be used"),
    "tiny reduction factor": (inner(reduction_factor=1e-300), "where a reduction factor of 1e-300"),
    "another reduction factor": (inner(reduction_factor=8), r"is \[2\].* gives \[4\]"),
    "reduction factor by layer": (inner(reduction_factor={"0": 16, "default": 16}), "width differs by layer"),
    "text reduction factor": (inner(reduction_factor="16"), "cannot be used as a source|reduction_factor"),
    "boolean reduction factor": (inner(reduction_factor=True), "reduction_factor"),
    "list reduction factor": (inner(reduction_factor=[16]), "cannot be used as a source|reduction_factor"),
    "no position": (lacking("output_adapter"), "output_adapter: Field required"),
    "text position": (inner(mh_adapter="no"), "mh_adapter: .*boolean"),
    "nowhere": (inner(output_adapter=False), "8 weights, where the layers of .* take 0"),
    "learned scaling": (inner(scaling="learned"), "its scaling is 'learned'"),
    "list scaling": (inner(scaling=[1.0]), "scaling"),
    "NaN scaling": (inner(scaling=float("nan")), "scaling: .*finite"),
    "text layers left out": (inner(leave_out="0"), "leave_out"),
    "a layer left out": (inner(leave_out=[0]), "8 weights, where the layers of .* take 4"),
    "a strange residual": (inner(residual_before_ln="sometimes"), "residual_before_ln"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_malformed_configuration_is_one_line(folder, empty, case):
    change, said = CONFIGS[case]
    edited(folder / CONFIG, change)
    assert re.search(said, refused(empty, folder))


def refused(pool, folder, **options):
    said = refused_line(pool.add, folder, **options)
    assert len(said) < 600
    return said


BYTES = {  # bytes of adapter_config.json
    "no bytes": b"",
    "a word": b"hello",
    "half of it": b'{"config": {"non_lin',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep mappings": b'{"config":' * 50_000 + b"1" + b"}" * 50_000,
    "no UTF-8": '{"name": "café"}'.encode("latin-1"),
    "a list": b"[1, 2]",
    "a text": b'"pfeiffer"',
    "a number": b"3",
    "nothing": b"null",
    "zeros": bytes(64),
    "a key twice": b'{"name": "a", "name": "b", "config": "pfeiffer"}',
    "an inner key twice": b'{"config": {"reduction_factor": 16, "reduction_factor": 8}}',
    "a pickle": b"\x80\x04\x95\x00",
}


@pytest.mark.parametrize("case", BYTES)
def test_a_configuration_that_is_no_json_mapping_is_one_line(folder, empty, case):
    (folder / CONFIG).write_bytes(BYTES[case])
    assert re.search(f"^{re.escape(str(folder))}: {CONFIG} ", refused(empty, folder))


def changed(key, change):
    """A change of one tensor of the weights."""

    def of(tensors):
        return {**tensors, key: change(tensors[key])}

    return of


def poked(value):
    def change(tensor):
        tensor[0, 1] = value
        return tensor

    return change


WEIGHT_CHANGES = {
    "NaN": (changed(UP, poked(float("nan"))), f"1 of 64 numbers of its weight '{UP}' are NaN or infinite"),
    "infinite": (changed(UP, poked(float("-inf"))), f"1 of 64 numbers of its weight '{UP}' are NaN or infinite"),
    "beyond float32": (changed(UP, lambda t: t.double() * 1e300), f"64 of 64 numbers of its weight '{UP}'"),
    "integers": (changed(UP, lambda t: t.to(torch.int64)), f"'{UP}' is of int64, not of floats"),
    "bytes": (changed(UP, lambda t: t.to(torch.uint8)), "is of uint8, not of floats"),
    "truths": (changed(UP, lambda t: t > 0), "is of bool, not of floats"),
    "complex": (changed(UP, lambda t: t.to(torch.complex64)), "complex64"),
    "transposed": (changed(UP, lambda t: t.t().contiguous()), r"'adapter_up.weight' in .* is \[2, 32\], where .* gives \[32, 2\]"),
    "a scalar": (changed(UP, lambda t: t.sum()), r"is \[\], where"),
    "three dimensions": (changed(UP, lambda t: t[None]), r"is \[1, 32, 2\], where"),
    "no numbers": (changed(UP, lambda t: t[:0]), r"is \[0, 2\], where"),
    "a missing weight": (lambda ts: {k: t for k, t in ts.items() if k != UP}, "7 weights, where the layers of .* take 8"),
    "a weight too many": (lambda ts: {**ts, "stray": torch.zeros(2)}, "'stray' is not part of a plain bottleneck"),
    "two adapters": (lambda ts: {**ts, UP.replace("theirs", "mine"): ts[UP].clone()}, "those of several adapters .*mine, theirs"),
    "no tensors": (lambda ts: {}, "holds no weights"),
    "another layer": (lambda ts: {k.replace("layer.1", "layer.7"): t for k, t in ts.items()}, "has no place in"),
    "another slot": (lambda ts: {k.replace("output", "attention.output"): t for k, t in ts.items()}, "has no place in"),
    "a norm beside it": (lambda ts: {**ts, UP.replace("up.weight", "norm_before.weight"): torch.ones(32)}, "not part of a plain"),
}  # fmt: skip


@pytest.mark.parametrize("case", WEIGHT_CHANGES)
def test_malformed_weights_are_one_line(folder, empty, case):
    change, said = WEIGHT_CHANGES[case]
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)
    assert re.search(said, refused(empty, folder))


FILES = {
    "weights cut short": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-40]), "cannot be loaded"),
    "weights of one byte": (lambda f: (f / WEIGHTS).write_bytes(b"x"), "cannot be loaded"),
    "no bytes of weights": (lambda f: (f / WEIGHTS).write_bytes(b""), "cannot be loaded"),
    "a header beyond the file": (lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 16), "cannot be loaded"),
    "a pickle under the name": (lambda f: torch.save({"a": torch.zeros(1)}, f / WEIGHTS), "cannot be loaded"),
    "weights that are a folder": (lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()), "no weights there"),
    "a configuration that is a folder": (lambda f: ((f / CONFIG).unlink(), (f / CONFIG).mkdir()), "no adapter there"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "no weights there"),
    "a pickle": (lambda f: (f / WEIGHTS).rename(f / "pytorch_adapter.bin"), "adapter.bin"),
    "nothing": (lambda f: [path.unlink() for path in f.iterdir()], "no adapter there"),
    "a whole model": (lambda f: (f / CONFIG).rename(f / "config.json"), "a whole model, not an adapter"),
    "a fusion": (lambda f: (f / CONFIG).rename(f / "adapter_fusion_config.json"), "an AdapterFusion"),
    "a head without its configuration": (lambda f: (f / HEAD_CONFIG).unlink(), f"{HEAD} without its {HEAD_CONFIG}"),
    "a head cut short": (lambda f: (f / HEAD).write_bytes((f / HEAD).read_bytes()[:-9]), "cannot be loaded"),
}


@pytest.mark.parametrize("case", FILES)
def test_malformed_files_are_one_line(folder, empty, case):
    change, said = FILES[case]
    change(folder)
    assert re.search(said, refused(empty, folder))


HEADS = {
    "an unknown type": (inner(head_type="oracle"), "its head cannot be loaded .*'oracle'"),
    "no type": (lacking("head_type"), "its head cannot be loaded"),
    "a type that is a list": (inner(head_type=["classification"]), "its head cannot be loaded"),
    "no configuration": (without("config"), "its head cannot be loaded"),
    "a list": (outer(config=[1]), "its head cannot be loaded"),
    "other labels": (inner(num_labels=5), "num_labels is 5, which its weights do not have"),
    "many labels": (inner(num_labels=10**12), "num_labels is 1000000000000"),
    "labels as text": (inner(num_labels="3"), "num_labels is '3'"),
    "many layers": (inner(layers=10**12), "layers is 1000000000000"),
    "more layers": (inner(layers=1), "head"),
    "unknown settings": (inner(depth=3), "its head cannot be loaded"),
    "an unknown activation": (inner(activation_function="rellu"), "its head cannot be loaded"),
    "a map of labels that is no map": (inner(label2id=[1]), "its head cannot be loaded"),
    "ids that are no numbers": (inner(label2id={"good": "first"}), "its head cannot be loaded"),
    "a bias that it has but does not say": (
        inner(bias=False),
        r"bias in model_head\.safetensors has no place in the head",
    ),
    "infinite ids": (inner(label2id={"good": float("inf")}), "its head cannot be loaded"),
    "another model's head": (outer(model_class="T5AdapterModel"), "its head cannot be loaded"),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_malformed_head_is_one_line(folder, empty, case):
    change, said = HEADS[case]
    edited(folder / HEAD_CONFIG, change)
    assert re.search(said, refused(empty, folder))


def test_a_head_of_another_kind_of_task_is_left_out_and_said(folder, empty, capsys):
    edited(folder / HEAD_CONFIG, inner(head_type="masked_lm", vocab_size=10**12))
    assert not empty.add(folder).trained.has_head
    assert f"{folder}: its head is for another kind of task (masked_lm): it is added without" in capsys.readouterr().err


def test_a_head_with_nan_is_refused_with_its_tensors_name(folder, empty):
    tensors = load_file(folder / HEAD)
    key = next(key for key in tensors if key.endswith("weight"))
    tensors[key][0, 0] = float("nan")
    save_file(tensors, folder / HEAD)
    assert re.search(f"1 of .* numbers of its weight '{re.escape(key)}' are NaN or infinite", refused(empty, folder))


PLACES = {
    "": "neither a folder nor a repository",
    "   ": "neither a folder nor a repository",
    "no/such/folder": "neither a folder nor a repository",
    "./missing": "neither a folder nor a repository",
    "/missing": "neither a folder nor a repository",
    "owner/name/": "neither a folder nor a repository",
    "a b": "neither a folder nor a repository",
    "owner/name@": "no network for the hub id",
    "@main": "neither a folder nor a repository",
    "https://hub/owner/name": "neither a folder nor a repository",
    "~nobody-of-that-name/x": "neither a folder nor a repository",
    "x" * 5000: "neither a folder nor a repository|no network",
    "owner/name\0": "neither a folder nor a repository",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_is_none_is_one_line(empty, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    assert re.search(PLACES[place], refused(empty, place))


def test_a_file_in_place_of_a_folder_is_named(folder, empty):
    assert re.search("is a file: give the folder that holds adapter_config.json", refused(empty, folder / CONFIG))


@pytest.mark.parametrize("name", ["../x", "a/b", "", " ", ".hidden", "a\0b", "x" * 300, "a\tb"])
def test_a_name_that_is_no_folders_is_refused_before_anything_is_read(empty, name):
    said = "cannot name a pool entry|give at most 200" if name else "neither a folder"
    assert re.search(said, refused(empty, "no/such/folder", name=name))
