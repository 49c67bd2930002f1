"""No cell that somebody else wrote begins a formula in the spreadsheet of whoever opens the file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from dev.processes import PROJECT
from runtime.csv_lines import csv_lines, harmless

_PRODUCT = ("coupons", "consumer", "couponsite", "runtime")


@pytest.mark.parametrize(
    "sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "﹢", "﹣", "﹫", "−", "⁼"]
)
@pytest.mark.parametrize(
    "front",
    [
        "",
        " ",
        "\u3000",
        "\xa0",
        "\u200b",
        "\ufeff",
        "\u200d \u2060",
        "\u202e",
        "\u3164",
        "\0",
        "\u034f",
        "\x1f",
    ],
)
def test_a_formula_is_text(front: str, sign: str) -> None:
    name = f"{front}{sign}HYPERLINK(1)"
    assert harmless(name) == f"'{name}"


@pytest.mark.parametrize("name", ["\t=1", "\r=1", "\n=1", "\tkim", "\rkim", "\nkim"])
def test_what_could_begin_another_cell_is_text(name: str) -> None:
    assert harmless(name) == f"'{name}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "kim",
        "홍길동",
        "홍 길동",
        "a=b",
        "１２",
        "😀",
        "(주)쿠폰",
        "_x",
        " ",
        "'=1",
        "é",
        "田中",
        "O'Neill",
    ],
)
def test_others_are_left_as_they_are(name: str) -> None:
    assert harmless(name) == name


def test_numbers_are_numbers_and_every_column_stays_one() -> None:
    rows: list[list[object]] = [["rank", "name"], [-1, '=1,"2"\r\n+3'], [2, None]]

    lines = list(csv_lines(rows))

    found = list(csv.reader(io.StringIO("".join(lines), newline="")))
    assert found == [["rank", "name"], ["-1", '\'=1,"2"\r\n+3'], ["2", ""]]


def test_all_csv_is_written_there() -> None:
    """Another writer would need the same care."""
    writing = [
        path
        for folder in _PRODUCT
        for path in (PROJECT / folder).rglob("*.py")
        if "csv.writer" in path.read_text() or "DictWriter" in path.read_text()
    ]
    assert writing == [Path(PROJECT / "runtime" / "csv_lines.py")]
