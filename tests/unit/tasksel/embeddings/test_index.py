"""Tests of the pool index: every ranking equals the one by loops, and no broken pool is searched."""

import json
import sys

import numpy as np
import pytest

from tasksel.embeddings.base import TaskEmbedding
from tasksel.embeddings.connectivity import Connectivity
from tasksel.embeddings.index import EmbeddingIndex, build_from_files, row_of
from tasksel.embeddings.similarity import hamming
from tasksel.errors import UserError

BITS = {"heads": 12, "neurons": 37}  # neither a multiple of 8
RNG = np.random.default_rng(0)


def pattern(task="rte", *, key="connectivity-1234", base="abcd", bits=BITS, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {group: np.packbits(rng.integers(0, 2, size)) for group, size in bits.items()}
    provenance = {"task": task, "method": "connectivity", "key": key, "base": "minilm", "base_fingerprint": base}
    return TaskEmbedding(arrays, {**provenance, "bits": bits, "seconds": 1.0})


def vector(task="rte", width=6, *, seed=0):
    provenance = {
        "task": task,
        "method": "text",
        "key": "text-1",
        "base": "minilm",
        "base_fingerprint": "abcd",
        "seconds": 1,
    }
    return TaskEmbedding({"vector": np.random.default_rng(seed).normal(size=width).astype(np.float32)}, provenance)


def stored(folder, *embeddings):
    paths = [folder / f"{number}.safetensors" for number in range(len(embeddings))]
    for path, embedding in zip(paths, embeddings, strict=True):
        embedding.save(path)
    return paths


@pytest.fixture
def binary():
    return EmbeddingIndex.build(["b", "a", "c"], np.packbits(RNG.integers(0, 2, (3, 13)), axis=1), bits=13)


@pytest.fixture
def dense():
    return EmbeddingIndex.build(["b", "a", "c"], RNG.normal(size=(3, 5)))


class TestRanking:
    def test_of_bits_by_hand(self):
        rows = np.packbits([[1, 0, 1, 1, 0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]], axis=1)
        index = EmbeddingIndex.build(["near", "far"], rows, bits=10)
        names, similarities = index.rank_all(np.packbits([1, 0, 1, 1, 0, 0, 0, 0, 0, 0]))
        assert names == ["near", "far"]
        assert similarities.tolist() == pytest.approx(
            [0.8, 0.3], abs=1e-15
        )  # 2 and 7 of 10 bits differ: the 6 of padding count nowhere

    def test_of_vectors_by_hand(self):
        index = EmbeddingIndex.build(["opposite", "same", "right"], np.array([[-6.0, -8.0], [0.3, 0.4], [4.0, -3.0]]))
        names, similarities = index.rank_all(np.array([3.0, 4.0]))
        assert names == ["same", "right", "opposite"]
        np.testing.assert_allclose(similarities, [1, 0, -1], atol=1e-6)

    @pytest.mark.parametrize("bits", [1, 7, 8, 9, 64, 130, 517])
    def test_of_bits_equals_loops(self, bits):
        rows = np.packbits(RNG.integers(0, 2, (200, bits)), axis=1)
        query, names = rows[7] ^ np.packbits(RNG.random(bits) < 0.2), [f"t{i}" for i in RNG.permutation(200)]
        wanted = sorted((-hamming(query, row, bits), name) for row, name in zip(rows, names, strict=True))
        index = EmbeddingIndex.build(names, rows, bits=bits)
        for k in (1, 10, 199, 200):
            found, similarities = index.nearest(query, k)
            assert list(zip((-similarities).tolist(), found, strict=True)) == wanted[:k]  # ties too, by name

    @pytest.mark.parametrize("width", [1, 3, 37, 384])
    def test_of_vectors_equals_loops(self, width):
        rows, query = RNG.normal(size=(200, width)), RNG.normal(size=width)
        cosine = {f"t{i}": float(r @ query / np.linalg.norm(r) / np.linalg.norm(query)) for i, r in enumerate(rows)}
        names, similarities = EmbeddingIndex.build(list(cosine), rows).rank_all(query)
        assert sorted(names) == sorted(cosine)
        np.testing.assert_allclose(similarities, [cosine[name] for name in names], atol=1e-6)
        assert (np.diff(similarities) <= 0).all()

    @pytest.mark.parametrize("width", [5, 37, 768])
    def test_equal_rows_go_by_name_wherever_they_stand(self, width):
        rows = RNG.normal(size=(301, width)).astype(np.float32)
        rows[::3] = rows[0]
        names = [f"t{i:03d}" for i in RNG.permutation(301)]
        equal = sorted(names[::3])
        index = EmbeddingIndex.build(names, rows)
        for k in (1, 7, 101):
            assert index.nearest(rows[0], k)[0] == equal[:k]

    def test_of_bare_rows_by_an_embedding(self):
        embedding = pattern()
        index = EmbeddingIndex.build(["x", "y"], np.stack([row_of(pattern(seed=1)), row_of(embedding)]), bits=49)
        assert index.nearest(embedding, 1)[0] == ["y"]

    def test_more_rows_than_one_block(self):
        rows = RNG.normal(size=(2500, 4)).astype(np.float32)
        index = EmbeddingIndex.build([str(i) for i in range(2500)], rows)
        for i in (0, 1023, 1024, 2499):
            assert index.nearest(rows[i] * 3, 1)[0] == [str(i)]

    def test_leaves_the_callers_arrays_as_they_are(self):
        rows, query = np.array([[3.0, 4.0]], dtype=np.float32), np.array([6.0, 8.0], dtype=np.float32)
        EmbeddingIndex.build(["a"], rows).nearest(query, 1)
        assert rows.tolist() == [[3, 4]]
        assert query.tolist() == [6, 8]

    def test_searches_with_one_thread_and_gives_the_others_back(self, binary, monkeypatch):
        import faiss

        seen, search = [], binary._index.range_search
        monkeypatch.setattr(
            binary._index, "range_search", lambda *a: seen.append(faiss.omp_get_max_threads()) or search(*a)
        )
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(2)
        try:
            binary.nearest(np.zeros(2, np.uint8), 1)
            assert faiss.omp_get_max_threads() == 2
        finally:
            faiss.omp_set_num_threads(before)
        assert seen == [1]

    def test_prints_what_it_holds(self, binary, dense):
        assert repr(binary) == "EmbeddingIndex(3 tasks, binary, 13 bits each, 6 bytes)"
        assert repr(dense) == "EmbeddingIndex(3 tasks, dense, 5 numbers each, 60 bytes)"


class TestAdd:
    @pytest.mark.parametrize("kind", ["binary", "dense"])
    def test_in_parts_is_as_at_once(self, kind):
        rows = RNG.integers(0, 256, (30, 4), dtype=np.uint8) if kind == "binary" else RNG.normal(size=(30, 4))
        names = [f"t{i}" for i in range(30)]
        parts = EmbeddingIndex.build(names[:10], rows[:10])
        parts.add(names[10:11], rows[10:11])
        parts.add(tuple(names[11:]), rows[11:])
        whole = EmbeddingIndex.build(names, rows)
        assert len(parts) == 30
        for k in (1, 30):
            ours, theirs = parts.nearest(rows[20], k), whole.nearest(rows[20], k)
            assert ours[0] == theirs[0]
            np.testing.assert_array_equal(ours[1], theirs[1])

    def test_all_rows_or_none(self, dense, tmp_path):
        query = RNG.normal(size=5)
        before = dense.rank_all(query)
        rows = RNG.normal(size=(1500, 5))
        rows[1400, 2] = np.nan  # in the second block
        with pytest.raises(UserError, match="'t1400' holds NaN or infinity"):
            dense.add([f"t{i}" for i in range(1500)], rows)
        assert dense.rank_all(query)[0] == before[0]
        dense.save(tmp_path / "index")
        assert len(EmbeddingIndex.load(tmp_path / "index")) == 3

    @pytest.mark.parametrize(
        ("names", "rows", "message"),
        [
            (["x"], np.zeros((2, 2), np.uint8), "1 names for 2 rows: give one name per row"),
            (["x", "x"], np.zeros((2, 2), np.uint8), "1 duplicate names in the pool, the first is 'x'"),
            (["x", "a"], np.zeros((2, 2), np.uint8), "1 duplicate names in the pool, the first is 'a'"),
            (["x"], np.zeros((1, 3), np.uint8), r"'x' is uint8 \[3\], but a row of this index is 13 bits, uint8 \[2\]"),
            (["x"], np.zeros((1, 2)), r"'x' is float64 \[2\], but a row of this index is 13 bits"),
            (["x", "y"], np.array([[0, 8], [0, 4]], np.uint8), "'y' has bits set behind its 13: padding must be 0"),
        ],
    )
    def test_refuses_bits(self, binary, names, rows, message):
        with pytest.raises(UserError, match=message):
            binary.add(names, rows)
        assert binary.names == ["b", "a", "c"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ([1.0, np.inf, 0, 0, 0], "'x' holds NaN or infinity, so that it has no cosine"),
            ([0.0] * 5, "'x' holds zeros only, so that it has no cosine"),
            ([1.0] * 4, r"'x' is float64 \[4\], but a row of this index is 5 numbers, float32 \[5\]"),
            ([1] * 5, r"'x' is int64 \[5\]"),
        ],
    )
    def test_refuses_vectors(self, dense, row, message):
        with pytest.raises(UserError, match=message):
            dense.add(["x"], np.array([row]))


class TestRefusals:
    @pytest.mark.parametrize(
        ("names", "rows", "bits", "message"),
        [
            ([], np.zeros((0, 2), np.uint8), None, "the pool is empty: an index needs at least one embedding"),
            (["a"], np.zeros(3), None, r"rows of float64 \[3\]: give packed bits, uint8 \[n, bytes\], or vectors"),
            (["a"], np.zeros((1, 3), np.int64), None, r"rows of int64 \[1, 3\]"),
            (["a"], np.ones((1, 3)), 3, "bits=3 for rows of float64: only packed uint8 rows have bits"),
            (
                ["a"],
                np.zeros((1, 3), np.uint8),
                25,
                r"'a' is uint8 \[3\], but a row of this index is 25 bits, uint8 \[4",
            ),
            (["a"], np.zeros((1, 3), np.uint8), 0, "width 0: a row needs at least one bit"),
        ],
    )
    def test_of_what_is_no_pool(self, names, rows, bits, message):
        with pytest.raises(UserError, match=message):
            EmbeddingIndex.build(names, rows, bits=bits)

    def test_of_another_kind(self):
        with pytest.raises(UserError, match="no kind of index 'binari'; did you mean 'binary'"):
            EmbeddingIndex("binari", 8)

    @pytest.mark.parametrize("k", [0, -1, 4])
    def test_of_k(self, dense, k):
        with pytest.raises(UserError, match=f"k={k}, but 3 tasks are in the pool: choose 1 to 3"):
            dense.nearest(np.ones(5), k)

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            (np.ones(4), r"'the query' is float64 \[4\], but a row of this index is 5 numbers"),
            (np.ones((1, 5)), r"'the query' is float64 \[1, 5\]"),
            (np.array([1, 2, 3, 4, np.nan]), "'the query' holds NaN"),
            (np.zeros(5), "'the query' holds zeros only"),
        ],
    )
    def test_of_a_query(self, dense, query, message):
        with pytest.raises(UserError, match=message):
            dense.nearest(query, 1)

    def test_of_a_query_of_bits(self, binary):
        with pytest.raises(UserError, match=r"'the query' is uint8 \[3\], but a row of this index is 13 bits"):
            binary.nearest(np.zeros(3, np.uint8), 1)
        with pytest.raises(UserError, match="'the query' has bits set behind its 13"):
            binary.nearest(np.full(2, 255, np.uint8), 1)

    def test_where_faiss_is_absent(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "faiss", None)
        with pytest.raises(UserError, match=r'needs faiss: pip install "scalearn\[select\]"'):
            EmbeddingIndex("dense", 3)


class TestFolder:
    @pytest.mark.parametrize("kind", ["binary", "dense"])
    def test_comes_back_and_grows(self, kind, tmp_path, request):
        index = request.getfixturevalue(kind)
        query = RNG.integers(0, 256, 2, dtype=np.uint8) & [255, 248] if kind == "binary" else RNG.normal(size=5)
        query = query.astype(np.uint8) if kind == "binary" else query
        index.provenance = {"key": "k", "ä": [1]}
        index.save(tmp_path / "deep" / "index")
        back = EmbeddingIndex.load(tmp_path / "deep" / "index")
        assert (back.kind, back.width, back.names, back.provenance) == (
            index.kind,
            index.width,
            index.names,
            index.provenance,
        )
        assert back.rank_all(query)[0] == index.rank_all(query)[0]
        np.testing.assert_array_equal(back.rank_all(query)[1], index.rank_all(query)[1])
        back.add(["d"], query[None])
        assert back.nearest(query, 1)[0] == ["d"]
        back.save(tmp_path / "deep" / "index")  # in place of the old one
        assert EmbeddingIndex.load(tmp_path / "deep" / "index").names == ["b", "a", "c", "d"]
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["index"]

    @pytest.mark.parametrize("name", ["index.json", "names.json", "rows.faiss"])
    def test_a_broken_file_is_named(self, binary, tmp_path, name):
        folder, path = tmp_path / "index", tmp_path / "index" / name
        for harm in (lambda b: b[:-2], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: flipped(b, len(b) // 2)):
            binary.save(folder)
            path.write_bytes(harm(path.read_bytes()))
            with pytest.raises(UserError, match=rf"{name}\b.*(altered|broken JSON)") as refused:
                EmbeddingIndex.load(folder)
            assert "\n" not in str(refused.value)
        path.unlink()
        with pytest.raises(UserError, match=f"{name} is missing"):
            EmbeddingIndex.load(folder)

    def test_a_card_with_another_number_is_refused(self, binary, tmp_path):
        binary.save(tmp_path / "index")
        card = json.loads((tmp_path / "index/index.json").read_text())
        assert (card["kind"], card["width"], card["count"]) == ("binary", 13, 3)
        for changed in ({**card, "width": 12}, [card], {}):
            (tmp_path / "index/index.json").write_text(json.dumps(changed))
            with pytest.raises(UserError, match=r"index\.json is cut short or altered"):
                EmbeddingIndex.load(tmp_path / "index")

    def test_rows_that_this_faiss_cannot_read(self, binary, tmp_path, monkeypatch):
        import faiss

        binary.save(tmp_path / "index")
        monkeypatch.setattr(
            faiss, "read_index_binary", lambda _: (_ for _ in ()).throw(RuntimeError("type\nfrom 2031"))
        )
        with pytest.raises(
            UserError, match=r"rows\.faiss: faiss .* cannot read what faiss .* wrote \(type from 2031\)"
        ):
            EmbeddingIndex.load(tmp_path / "index")

    def test_no_index_there(self, tmp_path):
        with pytest.raises(UserError, match=r"no index at .*none"):
            EmbeddingIndex.load(tmp_path / "none")

    def test_a_folder_of_other_things_is_not_replaced(self, dense, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        for place in (tmp_path, tmp_path / "thesis.tex"):
            with pytest.raises(UserError, match="exists and is no index: choose a new folder"):
                dense.save(place)
        assert (tmp_path / "thesis.tex").read_text() == "years of work"

    def test_a_failure_leaves_the_old_index(self, binary, tmp_path, monkeypatch):
        binary.save(tmp_path / "index")
        binary.add(["d"], np.zeros((1, 2), np.uint8))
        monkeypatch.setattr("tasksel.embeddings.index.file_hash", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            binary.save(tmp_path / "index")
        monkeypatch.undo()
        assert EmbeddingIndex.load(tmp_path / "index").names == ["b", "a", "c"]
        assert [path.name for path in tmp_path.iterdir()] == ["index"]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class TestFiles:
    def test_patterns_rank_as_their_embedder_ranks_them(self, tmp_path):
        embeddings = [pattern(f"task{i}", seed=i) for i in range(20)]
        target = pattern("target", seed=99)
        index = build_from_files(stored(tmp_path, *embeddings))
        assert repr(index) == "EmbeddingIndex(20 tasks by connectivity on minilm, binary, 49 bits each, 140 bytes)"
        near = {e.provenance["task"]: Connectivity().similarity(target, e) for e in embeddings}
        names, similarities = index.rank_all(target)
        np.testing.assert_allclose(similarities, sorted(near.values(), reverse=True), atol=1e-12)
        np.testing.assert_allclose(similarities, [near[name] for name in names], atol=1e-12)

    def test_a_row_is_heads_then_neurons_without_a_gap(self):
        provenance = {**pattern().provenance, "bits": {"neurons": 3, "heads": 6}}
        arrays = {"neurons": np.packbits([1, 0, 1]), "heads": np.packbits([1, 1, 0, 0, 0, 1])}
        assert np.unpackbits(row_of(TaskEmbedding(arrays, provenance)), count=9).tolist() == [1, 1, 0, 0, 0, 1, 1, 0, 1]

    def test_vectors_and_what_made_them_come_back(self, tmp_path):
        index = build_from_files(stored(tmp_path, *(vector(f"t{i}", seed=i) for i in range(5))))
        index.save(tmp_path / "index")
        back = EmbeddingIndex.load(tmp_path / "index")
        assert back.provenance == {"method": "text", "key": "text-1", "base": "minilm", "base_fingerprint": "abcd", "sizes": {"vector": 6}}  # fmt: skip
        assert back.nearest(vector("other", seed=3), 1)[0] == ["t3"]
        with pytest.raises(
            UserError, match=r"the pool and the query 'rte' differ in key \(text-1, connectivity-1234\)"
        ):
            back.nearest(pattern(), 1)

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (pattern("b", key="connectivity-9"), r"0\.safetensors and .*1\.safetensors differ in key \(.*1234, .*-9\)"),
            (pattern("b", base="ffff"), r"differ in base_fingerprint \(abcd, ffff\): embed all alike"),
            (pattern("b", bits={"heads": 11, "neurons": 38}), "differ in sizes"),
            (vector("b"), "differ in key"),
            (pattern("a"), r"two embeddings of 'a', .*0\.safetensors and .*1\.safetensors: leave one out"),
        ],
    )
    def test_mixed_files_are_refused_by_name(self, tmp_path, other, message):
        with pytest.raises(UserError, match=message):
            build_from_files(stored(tmp_path, pattern("a"), other))

    def test_vectors_of_two_lengths_are_refused(self, tmp_path):
        with pytest.raises(UserError, match=r"differ in sizes \({'vector': 6}, {'vector': 7}\)"):
            build_from_files(stored(tmp_path, vector("a"), vector("b", 7)))

    def test_no_files_and_no_file(self, tmp_path):
        with pytest.raises(UserError, match="no embeddings to index"):
            build_from_files([])
        with pytest.raises(UserError, match=r"no file .*gone\.safetensors"):
            build_from_files([tmp_path / "gone.safetensors"])

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"tokens": np.ones((4, 6))}, r"by text holds tokens \[4, 6\]: an index takes patterns .* or one vector"),
            ({"vector": np.ones((2, 3))}, r"holds vector \[2, 3\]"),
            ({"heads": np.zeros(2, np.uint8), "neurons": np.zeros(2, np.uint8)}, "does not record its bits"),
        ],
    )
    def test_another_form_is_refused(self, tmp_path, arrays, message):
        with pytest.raises(UserError, match=message):
            build_from_files(stored(tmp_path, TaskEmbedding(arrays, vector().provenance)))

    def test_a_pattern_that_is_shorter_than_its_bits_is_refused(self):
        short = pattern()
        short.arrays["neurons"] = short.arrays["neurons"][:4]
        with pytest.raises(UserError, match=r"holds heads \[2\], neurons \[4\]"):
            row_of(short)

    def test_a_failure_half_way_adds_nothing(self, dense):
        def blocks():
            yield dense._stored(RNG.normal(size=(2, 5)), ["x", "y"])
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            dense._append(3, blocks())
        assert dense._index.ntotal == 3
        assert dense._index.codes.size() == 3 * 20
