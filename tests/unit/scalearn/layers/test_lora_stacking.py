"""Stacked LoRAs are held in 16 bits where that loses nothing, whatever their base is held in."""

import pytest
import torch
from golden import change_weights

from scalearn import AdapterPool
from scalearn.layers.lora_stacking import scaled, stack_loras

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def add(tiny, peft_folder, tmp_path):
    """A source of rank 4, whose file is in a type of float, by its name."""
    pool = AdapterPool(tmp_path / "pool", base=tiny)

    def added(name, dtype, alpha):
        folder, _ = peft_folder(name, r=4, lora_alpha=alpha)
        change_weights(folder / WEIGHTS, lambda key, tensor: (key, tensor.to(dtype)))
        return pool.add(folder)

    return added


@pytest.mark.parametrize(
    ("dtype", "alpha", "down", "up"),
    [
        (torch.bfloat16, 8, torch.bfloat16, torch.bfloat16),
        (torch.float16, 8, torch.float16, torch.float16),
        (torch.bfloat16, 3, torch.bfloat16, torch.float16),  # a scale of 3/4 needs another bit, and float16 has three
        (torch.bfloat16, 41, torch.bfloat16, torch.float32),
        (torch.float32, 8, torch.float32, torch.float32),
    ],
)
def test_a_stack_is_as_narrow_as_its_numbers(add, dtype, alpha, down, up):
    source = add("lora", dtype, alpha)
    layers, _ = stack_loras([source])
    for path, (a, b) in scaled(source.lora()).items():
        assert (layers[path].down.dtype, layers[path].up.dtype) == (down, up)
        assert torch.equal(layers[path].down.float(), a)
        assert torch.equal(layers[path].up.float(), b)


def test_one_source_in_float32_widens_the_stack(add):
    layers, _ = stack_loras([add("half", torch.bfloat16, 8), add("whole", torch.float32, 8)])
    assert {part.down.dtype for part in layers.values()} == {torch.float32}
