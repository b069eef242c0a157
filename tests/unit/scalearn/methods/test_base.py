"""Each method is a row: what it adds, what it trains and how many numbers, with one head for all at one seed."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from scalearn import METHODS, SCALINGS
from scalearn.layers.folded import set_omega
from scalearn.layers.fusion import Fuse
from scalearn.layers.mix import ScaledMix, bottleneck_layers
from scalearn.layers.stacking import stack
from scalearn.methods.registry import get_method
from scalearn.methods.scalearn import ScaledSources
from scalearn.methods.state import learned_parameters, learned_state, load_learned
from tasksel import UserError, get_task
from tasksel.model.base import load_base

LAYERS, WIDTH, SOURCES = 3, 32, 5
SOLVED_ONLY = ("majority", "closed-form-base", "closed-form")
WITHOUT_A_SLOT = ("majority", "closed-form-base", "head-only", "full", "fusion")
DOC = Path(__file__).parents[4] / "docs" / "reference" / "transfer_methods.md"


def learned(method, layers, d, n, *, r, base):
    """The numbers that a method learns beside the head, by its formula; r an adapter's width, `base` those of the encoder."""
    compacter = 4 * -(-(d // 32) // 4)
    return {
        "auto": layers * n,
        "majority": 0,
        "closed-form-base": 0,
        "closed-form": 0,
        "head-only": 0,
        "full": base,
        "single-adapter": layers * (2 * d * r + r + d),
        "joint": layers * (2 * d * r + r + d),
        "compacter++": layers * 3 * (d + compacter) + 4**3,
        "sequential": layers * (2 * d * r + r + d),
        "scalearn": layers * n * d,
        "scalearn-uniform": layers * n,
        "scalearn++": n * d,
        "scalearn-uniform++": n,
        "scalearn-mean": layers * n * d,
        "scalearn-softmax": layers * n * d,
        "average": 0,
        "fixed-grid": 0,
        "search": n,
        "soup": 0,
        "soup-similarity": 0,
        "fusion": layers * (3 * d * d + 2 * d),
    }[method]


@pytest.fixture(scope="module")
def made(make_base, fill, tmp_path_factory):
    """Builds the model of a method on a base of three layers with five sources."""
    base = make_base(num_hidden_layers=LAYERS)
    sources = fill(tmp_path_factory.mktemp("combine"), base, *[f"s{n}" for n in range(SOURCES)])

    def model(method, *, task="entail_kitchen", seed=0):
        row = METHODS[method]
        layers, config = row.prepare(sources[: row.most], [1.0] * SOURCES)
        return row.build(load_base(base), get_task(task), layers, config, seed=seed)

    return model


def encoder_numbers(model):
    inner = ("heads.", ".adapters.", "pooler")
    return sum(p.numel() for name, p in model.named_parameters() if not any(part in name for part in inner))


@pytest.mark.parametrize("method", METHODS)
def test_a_built_model_learns_as_many_numbers_as_the_formula_says(made, method):
    model = made(method)
    counted = learned_parameters(model)
    n = METHODS[method].most if method == "auto" else SOURCES
    expected = learned(method, LAYERS, WIDTH, n, r=2, base=encoder_numbers(model))
    assert counted["transfer"] == expected
    assert counted["head"] == WIDTH * WIDTH + WIDTH + 2 * WIDTH + 2
    row = METHODS[method]
    if isinstance(row, ScaledSources):
        assert row.scaling.parameters(sources=n, layers=LAYERS, width=WIDTH) == expected
    state = learned_state(model)
    kept = {"closed-form": SOURCES, "average": SOURCES, "fixed-grid": 2}.get(
        method, 0
    )  # an omega that nobody learned is stored all the same
    assert sum(tensor.numel() for tensor in state.values()) == expected + counted["head"] + kept


def test_fusion_learns_the_published_number_at_the_published_size():
    assert 12 * sum(p.numel() for p in Fuse([], 768, 0.1).parameters()) == 21_252_096
    assert learned("fusion", 12, 768, 8, r=48, base=None) == 21_252_096


def test_compacter_at_the_librarys_own_width_has_the_formulas_numbers(library):
    config = BertConfig(num_hidden_layers=2, hidden_size=384, num_attention_heads=4, intermediate_size=8, vocab_size=9)
    model = library.BertAdapterModel(config)
    before = sum(p.numel() for p in model.parameters())
    model.add_adapter("plain", config=library.CompacterPlusPlusConfig())
    assert sum(p.numel() for p in model.parameters()) - before == learned("compacter++", 2, 384, 0, r=24, base=None)


@pytest.mark.parametrize(("hidden", "width"), [(32, 4), (384, 12), (312, 12), (768, 24)])
def test_compacter_takes_the_next_width_that_its_dimension_divides(make_base, hidden, width):
    base = load_base(make_base(hidden_size=hidden, num_hidden_layers=1, num_attention_heads=4))
    model = METHODS["compacter++"].build(base, get_task("entail_kitchen"), {}, {}, seed=0)
    (slot,) = [layer.adapters["entail_kitchen"] for _, layer in bottleneck_layers(model, "entail_kitchen")]
    assert slot.adapter_down[0].W_right.shape[-1] * 4 == width
    if hidden in (384, 768):
        assert model.adapter_configs["entail_kitchen"]["reduction_factor"] == 32


def test_every_method_starts_from_the_same_head_at_one_seed(made):
    heads = [made(method).heads["entail_kitchen"].state_dict() for method in METHODS]
    for head in heads[1:]:
        assert all(torch.equal(head[name], heads[0][name]) for name in heads[0])
    other = made("scalearn", seed=1).heads["entail_kitchen"].state_dict()
    assert not all(torch.equal(other[name], heads[0][name]) for name in other)


def test_omega_is_drawn_from_the_seed(made):
    def omega(seed):
        return next(p for name, p in made("scalearn", seed=seed).named_parameters() if "omega" in name)

    assert torch.equal(omega(3), omega(3))
    assert not torch.equal(omega(3), omega(4))


def test_only_a_mix_puts_a_scaled_mix_into_the_slot(made):
    for method in METHODS.values():
        slots = [
            layer.adapters["entail_kitchen"] for _, layer in bottleneck_layers(made(method.name), "entail_kitchen")
        ]
        assert len(slots) == (0 if method.name in WITHOUT_A_SLOT else LAYERS)
        assert all(isinstance(slot, ScaledMix) == method.mixes for slot in slots)


def trained_names(model):
    return {name for name, p in model.named_parameters() if p.requires_grad and not name.startswith("heads.")}


def test_the_base_is_frozen_in_every_method_but_full(made):
    inner = (".adapters.", ".adapter_fusion_layer.", ".shared_parameters.")
    for method in METHODS:
        outside = [name for name in trained_names(made(method)) if not any(part in name for part in inner)]
        assert bool(outside) == (method == "full"), method


def test_what_holds_the_sources_is_frozen(made):
    for method in ("average", "fixed-grid", "search", "soup", "soup-similarity"):
        assert trained_names(made(method)) == set(), method
    assert all(".adapter_fusion_layer." in name for name in trained_names(made("fusion")))
    assert any(".adapters." in name for name, _ in made("fusion").named_parameters())


def test_every_head_trains(made):
    for method in METHODS:
        heads = [p.requires_grad for name, p in made(method).named_parameters() if name.startswith("heads.")]
        assert len(heads) == 4
        assert all(heads), method


@pytest.mark.parametrize("architecture", ["bert", "roberta", "xlm-roberta", "distilbert", "deberta-v2"])
@pytest.mark.parametrize("method", ["full", "compacter++", "fusion"])
def test_every_trainable_number_has_a_gradient_whatever_the_architecture(
    make_base, fill, tmp_path, architecture, method
):
    """Several processes wait for ever, or fail, on a trainable parameter that no loss reaches."""
    base = make_base(architecture)
    layers, config = stack(fill(tmp_path / "pool", base, "one", "two")) if method == "fusion" else ({}, {})
    model = METHODS[method].build(load_base(base), get_task("entail_kitchen"), layers, config, seed=0).train()
    model(input_ids=torch.tensor([[101, 2023, 102]]), attention_mask=torch.ones(1, 3)).logits[0, 0].backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not any("pooler" in name for name in trained_names(model))


def test_a_learned_state_holds_an_omega_that_was_set_and_gives_it_back(made):
    model, other = made("search"), made("search", seed=1)
    set_omega(model, [0.1, -0.2, 0.3, -0.4, 0.5])
    state = learned_state(model)
    load_learned(other, state)
    again = learned_state(other)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    (omega,) = (tensor for name, tensor in state.items() if name.endswith("omega.weight"))
    assert omega.flatten().tolist() == pytest.approx([0.1, -0.2, 0.3, -0.4, 0.5])
    with pytest.raises(KeyError):
        load_learned(other, {name: tensor for name, tensor in state.items() if "omega" not in name})


def test_the_head_has_the_outputs_of_the_task(made):
    for task in ("question_type", "complaints_orders", "rating_hotels"):
        outputs = made("head-only", task=task).heads[task][-1].out_features
        assert outputs == get_task(task).outputs


def test_every_scaling_is_a_method_and_all_have_one_patience():
    assert SCALINGS.keys() <= METHODS.keys()
    assert len({method.recipe.patience for method in METHODS.values()}) == 1


def test_the_learning_rates_are_the_published_ones():
    published = {
        "scalearn": 6e-3,
        "single-adapter": 3e-4,
        "sequential": 3e-4,
        "fusion": 5e-5,
        "full": 2e-5,
        "compacter++": 3e-3,
    }
    assert {name: METHODS[name].recipe.lr for name in published} == published
    assert METHODS["fusion"].recipe.patience == 5


@pytest.mark.parametrize(
    ("method", "count"), [("scalearn", 0), ("fusion", 1), ("fixed-grid", 1), ("search", 1), ("soup", 0)]
)
def test_too_few_sources_are_refused_with_what_is_needed(method, count):
    needed = "one source" if METHODS[method].least == 1 else f"2 sources, given {count}"
    with pytest.raises(UserError, match=f"method '{method}' needs at least {needed}; select some from a pool"):
        METHODS[method].check_count(count)
    METHODS[method].check_count(METHODS[method].least)


def test_a_model_of_too_few_sources_is_not_built(tiny, fill, tmp_path):
    stacked = stack(fill(tmp_path / "pool", tiny, "one"))
    with pytest.raises(UserError, match="'fixed-grid' needs at least 2 sources, given 1"):
        METHODS["fixed-grid"].build(load_base(tiny), get_task("entail_kitchen"), *stacked, seed=0)


def test_several_sources_are_not_taken_for_one(tiny, fill, tmp_path):
    stacked = stack(fill(tmp_path / "pool", tiny, "one", "two"))
    with pytest.raises(ValueError, match="2 stacked sources for one adapter: merge them first"):
        METHODS["soup"].build(load_base(tiny), get_task("entail_kitchen"), *stacked, seed=0)


def test_the_documents_table_has_every_method_with_its_numbers_recipe_and_export():
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOC.read_text().splitlines()
        if line.startswith("| `")
    ]
    table = {cells[0].strip("`"): cells[1:] for cells in lines}
    assert list(table) == list(METHODS)
    base = 12 * (12 * 768**2 + 13 * 768)
    for name, (_slot, _trained, numbers, lr, exports, _source) in table.items():
        n = METHODS[name].most if name == "auto" else 8
        assert numbers.split()[0].rstrip(":").replace(",", "") == str(learned(name, 12, 768, n, r=48, base=base)), name
        assert lr == "-" if name in SOLVED_ONLY else float(lr) == METHODS[name].recipe.lr, name
        assert exports == ("no" if METHODS[name].export_reason else "yes"), name


def test_a_method_misspelt_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="no method 'scalern'; did you mean 'scalearn'"):
        get_method("scalern")
