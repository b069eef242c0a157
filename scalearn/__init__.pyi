"""The public names of scalearn, each from the module that defines it."""

from scalearn.comparison.experiment import Experiment as Experiment
from scalearn.comparison.matrix_config import MatrixConfig as MatrixConfig
from scalearn.comparison.measure_matrix import measure_matrix as measure_matrix
from scalearn.comparison.plan import Plan as Plan
from scalearn.comparison.records import RunFolder as RunFolder
from scalearn.comparison.records import load_run as load_run
from scalearn.layers.scaling import SCALINGS as SCALINGS
from scalearn.layers.scaling import Scaling as Scaling
from scalearn.methods.base import TransferMethod as TransferMethod
from scalearn.methods.registry import METHODS as METHODS
from scalearn.methods.registry import get_method as get_method
from scalearn.methods.registry import register_method as register_method
from scalearn.report import write_report as write_report
from scalearn.results.answer import Answer as Answer
from scalearn.results.answer import answer as answer
from scalearn.results.explain import Explanation as Explanation
from scalearn.results.explain import explain as explain
from scalearn.results.predict import predict_file as predict_file
from scalearn.results.predict import predict_text as predict_text
from scalearn.results.result import TransferResult as TransferResult
from scalearn.results.transfer import transfer as transfer
from tasksel.adapters.pool import AdapterPool as AdapterPool
from tasksel.adapters.pool import Source as Source
from tasksel.adapters.train import train_source as train_source
from tasksel.training.recipe import Recipe as Recipe

__version__: str
