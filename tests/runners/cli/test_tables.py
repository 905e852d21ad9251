from __future__ import annotations

import re
import sys

import pytest

from runners.cli.tables import Cell, print_table


def test_a_table_shows_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[list[Cell]] = [["keep-all", 1.0, None, 11873], ["[bold]random", 2.0512, 1.337, 5]]
    print_table("At equal FLOPs", ["agent", "speed-up", "HasAns F1", "texts"], rows)
    shown = capsys.readouterr().out
    assert shown.startswith("At equal FLOPs")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    assert cells == [["keep-all", "1.00", "-", "11873"], ["[bold]random", "2.05", "1.34", "5"]]
    assert re.search(r"│ keep-all {5}│ {5}1\.00 │", shown)


def test_a_wide_table_is_not_folded_in_a_log_file(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"kept_fraction_{index}" for index in range(7)]
    print_table("Wide", names, [[0.5] * 7])
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a table row has 1 cells for 2 columns: \['x'\]"):
        print_table("T", ["a", "b"], [["x"]])


def printed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    columns: list[str],
    rows: list[list[Cell]],
) -> list[str]:
    """The lines of a table on a terminal of a width, with no line longer than it."""
    with monkeypatch.context() as terminal:
        terminal.setenv("COLUMNS", str(width))
        terminal.setenv("TERM", "xterm")
        terminal.setattr(sys.stdout, "isatty", lambda: True)
        print_table("At equal FLOPs", columns, rows)
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    return lines


NAMES = ["speed-up", "F1", "kept_fraction_1", "kept_fraction_2", "texts", "log_likelihood"]
VALUES: list[Cell] = [2.0512, 59.125, 0.4123, 0.1299, 1234567, -0.55512]
TEXTS = ["2.05", "59.12", "0.41", "0.13", "1234567", "-0.56"]


@pytest.mark.parametrize("width", [32, 40, 60, 80, 200])
def test_no_number_is_cut_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    lines = printed(monkeypatch, capsys, width, ["agent", *NAMES], [["random", *VALUES], ["keep-all", *VALUES]])
    words = " ".join(lines).replace("│", " ").split()
    assert "…" not in "".join(lines)
    for text in TEXTS:
        assert words.count(text) == 2
    # Each part of a table that was divided says whose numbers these are.
    parts = sum(line.startswith("┏") for line in lines)
    assert words.count("random") == words.count("keep-all") == parts
    assert (parts == 1) == (width == 200)


def test_text_is_folded_before_a_table_is_divided(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "tokens that a heuristic keeps, by the attention that they receive"
    path = "/home/someone/runs/SQuAD2/stage2-reinforce/20260101-000000-0"
    lines = printed(monkeypatch, capsys, 60, ["system", "folder", "F1"], [[said, path, 59.0]])
    assert sum(line.startswith("┏") for line in lines) == 1
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    system, folder, score = zip(*cells, strict=True)
    assert " ".join(system).split() == said.split()
    assert "".join(folder) == path
    assert "".join(score) == "59.00"
