"""Names and settings of adapters are the library's; an adapter that a slot does not compute is known as that."""

import pytest
from refusals import refused_line

from tasksel.model.adapter_config import (
    DEFAULTS,
    NAMED,
    OLD_NAMES,
    OTHER_KINDS,
    SEQ_BN,
    outside_the_slot,
    resolve_config,
)

COMPUTED = ("seq_bn", "double_seq_bn", "compacter", "compacter++")


def test_every_name_of_the_library_is_known(library):
    from adapters import ADAPTER_CONFIG_MAP

    assert {*NAMED, *OLD_NAMES, *OTHER_KINDS} >= set(ADAPTER_CONFIG_MAP)


@pytest.mark.parametrize("name", [*NAMED, *OLD_NAMES])
def test_a_name_is_what_the_library_resolves_it_to(library, name):
    wanted = library.AdapterConfig.load(name).to_dict()
    assert resolve_config(name) == {key: value for key, value in wanted.items() if key != "architecture"}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_a_name_of_another_kind_is_of_the_librarys_architecture(library, name):
    assert resolve_config(name) == {"architecture": library.AdapterConfig.load(name).architecture}


@pytest.mark.parametrize("word", ["seq_bn[reduction_factor=8]", "double_seq_bn[reduction_factor=2, non_linearity='gelu']", "seq_bn[dropout=0.1,ln_after=True,leave_out=[0, 1]]", "compacter++[phm_dim=2]", "seq_bn[scaling='learned']"])  # fmt: skip
def test_values_in_brackets_are_read_as_the_library_reads_them(library, word):
    wanted = library.AdapterConfig.load(word).to_dict()
    assert resolve_config(word) == {key: value for key, value in wanted.items() if key != "architecture"}


def test_the_defaults_are_the_librarys(library):
    wanted = library.BnConfig(mh_adapter=True, output_adapter=True, reduction_factor=4, non_linearity="relu").to_dict()
    assert {key: wanted[key] for key in DEFAULTS} == DEFAULTS


def test_a_mapping_gets_what_it_lacks_and_is_not_changed():
    given = {"reduction_factor": 4, "ln_after": True}
    assert resolve_config(given) == {**DEFAULTS, "reduction_factor": 4, "ln_after": True}
    assert given == {"reduction_factor": 4, "ln_after": True}
    assert resolve_config("pfeiffer") is not SEQ_BN


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("pfeifer", "did you mean 'pfeiffer'"),
        ("", "adapter configuration ''"),
        ("seq_bn[reduction_factr=8]", "did you mean 'reduction_factor'"),
        ("seq_bn[reduction_factor=__import__('os')]", "cannot be read"),
        ("seq_bn[reduction_factor=8", "cannot be read"),
        ("seq_bn[8]", "cannot be read"),
        ("seq_bn[8:2]", "cannot be read"),
        ("seq_bn[dropout=0.1, 8:2]", "cannot be read"),
        ("seq_bn[a=1][b=2]", "cannot be read"),
        ("seq_bn[" + "(" * 5000, "cannot be read"),
        ("x" * 5000, "adapter configuration 'xxxx"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(word, said):
    line = refused_line(resolve_config, word)
    assert said in line
    assert len(line) < 500


@pytest.mark.parametrize("name", [*NAMED, *OTHER_KINDS])
def test_each_name_is_computed_in_a_slot_or_refused_for_its_reason(name):
    reason = outside_the_slot(resolve_config(name))
    if name in COMPUTED:
        assert reason is None
    elif name in OTHER_KINDS:
        assert reason == f"it is not a bottleneck adapter (architecture: {OTHER_KINDS[name]})"
    else:
        assert ("is_parallel=True" if "par" in name else "inv_adapter=nice") in reason
