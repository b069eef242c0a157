"""The benchmark of what many units cost beside their training, at a small size; no time is judged."""

from benchmarks.scheduling import main


def test_every_row_is_measured_and_the_page_follows(tmp_path, capsys):
    main(["--pieces", "40", "--alone", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    page = (tmp_path / "scheduling.md").read_text()
    assert printed in page + "\n"
    for row in (
        "pieces per second, this process",
        "bytes of a packed unit",
        "milliseconds per unit, read, packed",
        "planned (28 units",
    ):
        assert row in page
