"""Train one small adapter a task; ask which will help a new task; learn how loudly each should speak."""

from scalearn.adopt import adopt
from scalearn.combine import METHODS
from scalearn.explain import Explanation, explain
from scalearn.pool import AdapterPool, Source
from scalearn.result import TransferResult
from scalearn.scaling import SCALINGS, Scaling
from scalearn.source import train_source
from scalearn.transfer import transfer
from tasksel.training import Recipe

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
