"""Tests of CSV and TSV: long cells, quotes that are text, separators, headers, encodings; cells stay as they stand."""

import csv
from functools import partial

import pytest
from refusals import refused_line

from tasksel.tasks.files import read_rows
from tasksel.tasks.separated import find_separator


def write(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def values(path, **options):
    return [row.values for row in read_rows(path, **options)]


refused = partial(refused_line, read_rows)


def test_a_cell_may_be_long(tmp_path):
    csv.field_size_limit(131_072)  # the library's own
    path = write(tmp_path / "a.csv", "text,label\n" + "x" * 300_000 + ",1\n")
    assert len(values(path)[0]["text"]) == 300_000


def test_words_and_numbers_stay_the_text_that_they_are(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nNA,null\nnan,1.0\n,007\nTrue, x \n")
    assert [tuple(row.values()) for row in read_rows_values(path)] == [
        ("NA", "null"),
        ("nan", "1.0"),
        ("", "007"),
        ("True", " x "),
    ]


def read_rows_values(path):
    return [row.values for row in read_rows(path)]


class TestQuotesInTabs:
    @pytest.mark.parametrize(
        "texts",
        [
            ['"said he', "plain", '"and she'],  # each opens a cell that the next one closes
            ['"yes" he said', "plain"],
            ["plain", '"open'],
            ['"', "plain"],
            ['"a', 'b"', "c"],
        ],
    )
    def test_are_text_where_rows_do_not_agree_with_quoting(self, tmp_path, texts):
        path = write(tmp_path / "a.tsv", "text\tlabel\n" + "".join(f"{text}\tgood\n" for text in texts))
        assert [row["text"] for row in values(path)] == texts
        assert [row.where[-2:] for row in read_rows(path)] == [f":{line}" for line in range(2, 2 + len(texts))]

    def test_are_quotes_where_they_do(self, tmp_path):
        path = write(tmp_path / "a.tsv", 'text\tlabel\n"a\tb"\t1\n"two\nlines"\t2\n"say ""yes"""\t3\n')
        assert [row["text"] for row in values(path)] == ["a\tb", "two\nlines", 'say "yes"']

    def test_a_short_row_is_named_whatever_the_quotes(self, tmp_path):
        path = write(tmp_path / "a.tsv", 'text\tlabel\n"open\t1\nfine\t0\nshort\n"x\t1\n')
        assert refused(path).startswith(f"{path}:4: 2 columns in the header, another number in this row")

    def test_are_quotes_where_the_header_has_them(self, tmp_path):
        path = write(tmp_path / "a.tsv", '"text"\t"label"\n"fine"\t"1"\n"say "yes""\t"0"\n')
        assert refused(path).startswith(f"{path}:3: broken CSV")

    def test_in_commas_are_always_quotes(self, tmp_path):
        path = write(tmp_path / "a.csv", 'text,label\n"open,1\nfine,0\n')
        assert refused(path).startswith(f"{path}:2: broken CSV (unexpected end of data)")


class TestSeparators:
    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    def test_are_found_from_the_header(self, tmp_path, name, separator):
        with (tmp_path / name).open("w", newline="") as file:
            rows = [("body", "verdict"), ("soup, rich; hot", "good"), ("a, b, c", "bad"), ("none", "good")]
            csv.writer(file, delimiter=separator).writerows(rows)
        assert [tuple(row.values()) for row in read_rows_values(tmp_path / name)] == rows[1:]

    @pytest.mark.parametrize(
        ("head", "separator"),
        [
            (["text,label\n", "a;b,1\n", "c;d,2\n"], ","),  # rows agree on the usual one
            (["text\n", "a;b\n"], ","),  # one column
            (["id;text, with a comma;label\n", "1;a;x\n", "2;b;y\n"], ";"),
            (["a|b,label\n", "x|y,1\n"], ","),
            (["text;label\n"], ";"),
            ([], ","),
        ],
    )
    def test_are_the_usual_one_where_rows_agree_on_it(self, head, separator):
        assert find_separator(head, ",") == separator

    def test_can_be_said(self, tmp_path):
        path = write(tmp_path / "a.csv", "text:label\na, b:1\n")
        assert values(path, separator=":") == [{"text": "a, b", "label": "1"}]
        assert "give one character" in refused(path, separator="::")

    def test_may_stand_in_the_first_line_as_excel_writes_it(self, tmp_path):
        path = write(tmp_path / "a.csv", "sep=;\ntext;label\na, b;1\n")
        assert values(path) == [{"text": "a, b", "label": "1"}]
        assert read_rows(path)[0].where.endswith(":3")

    def test_of_a_short_row_are_named(self, tmp_path):
        assert "the separator is a semicolon" in refused(write(tmp_path / "a.csv", "a;b;c\n1;2;3\n1;2\n1,2,3\n"))


class TestHeader:
    def test_no_column_stands_twice(self, tmp_path):
        path = write(tmp_path / "a.csv", "text,label,text\nx,1,y\n")
        assert refused(path) == f"{path}:1: column 'text' stands twice in the header; rename or remove one"

    def test_nameless_columns_may(self, tmp_path):
        assert values(write(tmp_path / "a.csv", "text,label,,\nx,1,,\n"))[0]["text"] == "x"

    def test_may_be_wide(self, tmp_path):
        names = [f"c{i}" for i in range(20_000)]
        path = write(tmp_path / "a.csv", ",".join(names) + "\n" + ",".join("1" * len(names)) + "\n")
        assert len(values(path)[0]) == 20_000

    def test_may_follow_empty_lines(self, tmp_path):
        assert values(write(tmp_path / "a.csv", "\n\ntext,label\nx,1\n")) == [{"text": "x", "label": "1"}]


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
    def test_are_found_by_their_mark(self, tmp_path, encoding):
        path = write(tmp_path / "a.csv", "text,label\ncafé 😀,1\n", encoding)
        assert values(path) == [{"text": "café 😀", "label": "1"}]

    @pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "mac-roman"])
    def test_can_be_said(self, tmp_path, encoding):
        path = write(tmp_path / "a.csv", "text,label\ncafé,1\n", encoding)
        assert values(path, encoding=encoding) == [{"text": "café", "label": "1"}]

    @pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("line", [2, 302, 40_000])
    def test_name_the_line_of_a_byte_that_they_lack(self, tmp_path, ends, line):
        path = tmp_path / "late.csv"
        rows = ["text,label"] + ["A plain sentence, about a lamp and a chair,bad".replace(",", "", 1)] * 40_001
        rows[line - 1] = "Caf\xe9,good"
        said = refused(write(path, ends.join(rows), "latin-1"))
        assert said.startswith(f"{path}:{line}: not UTF-8 text (byte 0xe9)")
        assert "--encoding cp1252" in said

    def test_that_nobody_knows_are_refused(self, tmp_path):
        path = write(tmp_path / "a.csv", "a,b\n1,2\n")
        for name in ("utf-7777", "rot13", "base64", "a\0b", ""):
            assert refused(path, encoding=name).startswith(f"no encoding '{name}'")

    def test_without_a_mark_are_guessed_from_the_header(self, tmp_path):
        assert "utf-16-le" in refused(write(tmp_path / "a.csv", "text,label\nx,1\n", "utf-16-le"))

    @pytest.mark.parametrize(
        ("first", "answer"), [(b"\x1f\x8b\x08\xff", "gzip"), (b"PK\x03\x04\xff", "Excel"), (b"PAR1\xff", "Parquet")]
    )
    def test_of_another_kind_of_file_are_no_matter(self, tmp_path, first, answer):
        assert answer in refused(write(tmp_path / "a.csv", first))


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way(tmp_path, ends):
    path = write(tmp_path / "a.csv", ends.join(["text,label", "x,1", "y,0", ""]))
    assert [row.where[-1] for row in read_rows(path)] == ["2", "3"]
    assert [row["text"] for row in values(path)] == ["x", "y"]


def test_a_nought_byte_is_a_character(tmp_path):
    assert values(write(tmp_path / "a.csv", "text,label\na\0b,1\n"))[0]["text"] == "a\0b"


def test_all_bad_rows_are_counted(tmp_path):
    said = refused(write(tmp_path / "a.csv", "a,b\n1,2\n" + "1,2,3\n" * 4 + 'x,"y" z\n' * 4 + "1,2\n"))
    assert "(8 bad rows, the first 5 are shown)" in said
    assert ":7: broken CSV" in said
