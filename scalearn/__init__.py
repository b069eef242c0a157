"""Train one small adapter a task; ask which will help a new task; learn how loudly each should speak."""

from scalearn.layers.scaling import SCALINGS, Scaling
from scalearn.methods import METHODS
from scalearn.results.explain import Explanation, explain
from scalearn.results.result import TransferResult
from scalearn.results.transfer import transfer
from tasksel.adapters.importing import adopt
from tasksel.adapters.scalearn_pool import AdapterPool, Source
from tasksel.adapters.train_source import train_source
from tasksel.training.recipe import Recipe

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "SCALINGS",
    "AdapterPool",
    "Explanation",
    "Recipe",
    "Scaling",
    "Source",
    "TransferResult",
    "adopt",
    "explain",
    "train_source",
    "transfer",
]
