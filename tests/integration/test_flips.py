"""One flipped bit in any text file that is written and read again is refused in one line that names the file, or changes nothing."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from scalearn.comparison.measure_matrix import MatrixProvenance
from scalearn.comparison.records import NO_ROW, RankingRecord, RunFolder, read_unit
from scalearn.methods.joint import JointRecord
from scalearn.results.export import ExportRecord, read_export
from scalearn.results.result import ResultSummary, SeedRecord, TransferRecord
from scalearn.results.result import read_record as read_of_result
from tasksel import UserError, get_task
from tasksel.adapters.card import Card, read_card
from tasksel.adapters.checkpoint import AdapterCheckpoint, TrainingRecord
from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.index import EmbeddingIndex
from tasksel.evaluation.score_records import SelectorScores, read_scores
from tasksel.evaluation.transfer_matrix import MatrixRecord, read_matrix
from tasksel.gain.pair_features import PairFeatures, read_pair_features
from tasksel.storage.atomic import file_hash
from tasksel.storage.hashed import read_hashed, read_record, write_hashed
from tasksel.storage.jsonl import append_row, write_lines
from tasksel.training.recipe import Recipe

from run_rows import made_map, made_rankings, made_rows, make_run  # isort: skip

FLIPS = 40  # of each file
BASE, VERSIONS = {"name": "minilm", "fingerprint": "a1" * 8}, {"python": "3.12.0", "scalearn": "0.1.0"}
STORED = Path(__file__).parents[1] / "support" / "stored_by_0_1"


def value_of(embedding):
    return embedding.provenance, {name: array.tobytes() for name, array in embedding.arrays.items()}


def index_of(folder):
    index = EmbeddingIndex.load(folder)
    return index.names, index.kind, index.width, index.provenance


def run_of(folder):
    run = RunFolder(folder)
    return run.provenance, run.rows, run.rankings


def trained_of(folder):
    checkpoint = AdapterCheckpoint(folder, "rte")
    checkpoint.verify()
    return checkpoint.record


READERS = {
    "card.json": read_card,
    "trained/trained.json": lambda path: trained_of(path.parent),
    "trained/adapter_config.json": lambda path: trained_of(path.parent),
    "run.json": lambda path: read_of_result(path, TransferRecord),
    "seed.json": lambda path: read_of_result(path, SeedRecord),
    "result.json": lambda path: read_of_result(path, ResultSummary),
    "joint.json": lambda path: read_record(path, JointRecord, "a joint training"),
    "scalearn.json": lambda path: read_export(path.parent),
    "unit.json": read_unit,
    "ranking.json": lambda path: read_record(path, RankingRecord, NO_ROW),
    "map.json": read_hashed,
    "run/experiment.json": lambda path: run_of(path.parent),
    "run/rows.jsonl": lambda path: run_of(path.parent),
    "run/rankings.jsonl": lambda path: run_of(path.parent),
    "provenance.json": lambda path: read_record(path, MatrixProvenance, "a measurement"),
    "matrix.jsonl": read_matrix,
    "scores.jsonl": read_scores,
    "pairs.jsonl": read_pair_features,
    "embedding.safetensors": lambda path: value_of(TaskEmbedding.load(path)),
    "index/index.json": lambda path: index_of(path.parent),
    "index/names.json": lambda path: index_of(path.parent),
}


def write_records(folder, task):
    """The records that are one JSON object each."""
    recipe, common = Recipe(), {"base": BASE, "versions": VERSIONS}
    settings = {"class": "Sequential", "version": 1}
    row, ranking = made_rows()[0], made_rankings()[0]
    config = {"name": "rte", "config": {"non_linearity": "relu"}}
    write_hashed(folder / "trained" / "adapter_config.json", config)
    files = {"adapter_config.json": file_hash(folder / "trained" / "adapter_config.json")}
    scores = {"accuracy": 0.53125}
    records = {
        "card.json": Card(adapter="rte", task=task, name="rte", key="0" * 16, recipe=recipe, files=files, scores=scores, **common),
        "trained/trained.json": TrainingRecord(task="rte", dev=0.5, seconds=1.25, files=files),
        "run.json": TransferRecord(key="1" * 16, task=task, method="sequential", sources={"mnli": "2" * 16}, adapter_config=config, rows=24, recipe=recipe, sources_file="3" * 64, settings=settings, **common),
        "seed.json": SeedRecord(seed=0, scores=scores, dev=0.5, epoch=1, steps=3, seconds=0.5, parameters={"head": 66}, data="4" * 16, state_file="5" * 64),
        "result.json": ResultSummary(seeds=(0, 1)),
        "joint.json": JointRecord(made_of={"seed": 0}, scores=scores, epoch=1, steps=3, seconds=0.5, peak_memory=None),
        "scalearn.json": ExportRecord(task=task, base=BASE, files=files, method="scalearn", sources=("mnli",), seed=1, max_length=32, scores=scores, seed_scores={"0": 0.5, "10": 0.25}),
        "unit.json": row,
        "ranking.json": ranking,
        "provenance.json": MatrixProvenance(config={"lr": {}}, identity={"base": "6" * 16}, adapters={"mnli": "7" * 16}, versions=VERSIONS, machine="x86_64", command="scalearn"),
    }  # fmt: skip
    for name, record in records.items():
        write_hashed(folder / name, record.model_dump(mode="json"))
    write_hashed(folder / "map.json", made_map())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every kind of text file, without a training; a run of a few rows."""
    folder = tmp_path_factory.mktemp("files")
    write_records(folder, get_task("entail_kitchen"))
    run = make_run(folder / "run", bases=0)
    experiment = read_hashed(run / "experiment.json")
    write_hashed(run / "experiment.json", experiment | {"plan": experiment["plan"][:3]})
    write_lines(run / "rows.jsonl", made_rows()[:3])
    write_lines(run / "rankings.jsonl", made_rankings()[:3])
    for seed in (0, 1):
        append_row(
            folder / "matrix.jsonl", MatrixRecord("rte", "mnli", "sequential", seed, "accuracy", 0.5, None, 7, 1.5)
        )
        append_row(folder / "scores.jsonl", SelectorScores("text", "rte", seed, {"mnli": 0.75}, 0.5, 0.25, 100))
        append_row(folder / "pairs.jsonl", PairFeatures("rte", f"source_{seed}", 24, {"cosine/0": 0.5}))
    provenance = {"task": "rte", "method": "text", "base": "minilm", "seconds": 0.5, "seed": 0}
    TaskEmbedding({"vector": np.linspace(0, 1, 8)}, provenance).save(folder / "embedding.safetensors")
    EmbeddingIndex.build(["rte", "sst2"], np.eye(2, 4, dtype=np.float32)).save(folder / "index")
    return folder


def flipped(content, draw):
    """The content with one bit of it flipped, somewhere."""
    changed = bytearray(content)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def outcome_of(path, read):
    """The value that is read, or the line of the refusal."""
    try:
        return read(path)
    except UserError as error:
        return str(error)


def outcomes(path, read, draw, count):
    """What reading says of each flip: the value, or the line of the refusal."""
    content = path.read_bytes()
    for _ in range(count):
        path.write_bytes(flipped(content, draw))
        yield outcome_of(path, read)
    path.write_bytes(content)


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_refused_in_one_line_that_names_the_file_or_changes_nothing(folder, name):
    path, read = folder / name, READERS[name]
    before, refused = read(path), 0
    for outcome in outcomes(path, read, random.Random(name), FLIPS):
        if outcome != before:
            refused += 1
            assert isinstance(outcome, str), "an altered value was accepted"
            assert path.name in outcome
            assert "\n" not in outcome
    assert refused > FLIPS / 2
    assert read(path) == before


@pytest.mark.parametrize("name", READERS)
def test_the_last_byte_of_a_file_is_no_way_out(folder, name):
    """Of a file of lines it is the line end, without which a line counts as cut short by a kill."""
    path, read = folder / name, READERS[name]
    before, content = read(path), path.read_bytes()
    for bit in range(8):
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1 << bit]))
        outcome = outcome_of(path, read)
        assert outcome == before or path.name in outcome
    path.write_bytes(content)
    assert read(path) == before


OLD = {
    "pool/reviews/card.json": read_card,
    "results/scalearn/run.json": lambda path: read_of_result(path, TransferRecord),
    "results/scalearn/seed-0/seed.json": lambda path: read_of_result(path, SeedRecord),
    "results/scalearn/result.json": lambda path: read_of_result(path, ResultSummary),
    "exported/topics/scalearn.json": lambda path: read_export(path.parent),
    "run/experiment.json": lambda path: run_of(path.parent),
    "run/rows.jsonl": lambda path: run_of(path.parent),
    "run/rankings.jsonl": lambda path: run_of(path.parent),
    "matrix/provenance.json": lambda path: read_record(path, MatrixProvenance, "a measurement"),
    "matrix/matrix.jsonl": lambda path: read_matrix(path).rows,
    "matrix/scores.jsonl": read_scores,
    "index_of_vectors/index.json": lambda path: index_of(path.parent),
}


@pytest.mark.parametrize("name", OLD)
def test_a_flipped_bit_of_a_file_of_version_0_1_which_has_no_hash_is_no_traceback(tmp_path, name):
    shutil.copytree((STORED / name).parent, tmp_path / "old")
    path = tmp_path / "old" / Path(name).name
    before = OLD[name](path)
    refused = [text for text in outcomes(path, OLD[name], random.Random(name), FLIPS) if isinstance(text, str)]
    assert refused
    assert all("\n" not in text for text in refused)
    assert OLD[name](path) == before
