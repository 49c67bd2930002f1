"""Columns of a table on a terminal, where a Hangul letter is as wide as two Latin ones."""

from __future__ import annotations

from unicodedata import east_asian_width


def width(text: str) -> int:
    """How many of a terminal's columns the text takes."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def left(text: object, columns: int) -> str:
    """The text with spaces behind it, ``columns`` wide; a wider one as it is."""
    return f"{text}{' ' * (columns - width(str(text)))}"


def right(text: object, columns: int) -> str:
    """The text with spaces before it, ``columns`` wide; a wider one as it is."""
    return f"{' ' * (columns - width(str(text)))}{text}"


def row(columns: tuple[int, ...], *cells: object) -> str:
    """Cells, each at the right of its column."""
    return " ".join(right(cell, wide) for cell, wide in zip(cells, columns, strict=True))


def wrapped(text: str, columns: int) -> list[str]:
    """The text in lines of so many columns at most, cut between words; a longer word has its own line."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer) <= columns or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
