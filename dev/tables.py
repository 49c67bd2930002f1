"""Rows of text as a table: for the terminal, and for the docs."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def as_text(rows: Sequence[Sequence[str]], *, left: Collection[int]) -> str:
    """The first row is the head. The columns ``left`` are words, the others numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def cell(column: int, text: str) -> str:
        return text.ljust(widths[column]) if column in left else text.rjust(widths[column])

    return "\n".join("  ".join(cell(*each) for each in enumerate(row)).rstrip() for row in rows)


def as_markdown(rows: Sequence[Sequence[str]], *, left: Collection[int]) -> str:
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    rule = " | ".join("---" if column in left else "---:" for column in range(len(rows[0])))
    return "\n".join([head, f"| {rule} |", *others])
