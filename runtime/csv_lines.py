"""CSV whose cells begin no formula in a spreadsheet. All CSV of the system is written here.

What somebody else wrote (a user's name) may be meant for whoever opens the file: a cell that begins with "=",
"+", "-" or "@" is run (OWASP, CSV injection). Spreadsheets in East Asian languages take the full-width forms
for the same, and pass over spaces and invisible characters in front.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

_BEGIN_A_FORMULA: Final = frozenset("=+-@\N{MINUS SIGN}")
#: Tab, carriage return and line feed: some programs take what follows for a cell of its own.
_BEGIN_A_CELL: Final = ("\t", "\r", "\n")
#: By category: controls, invisible format characters, marks without a letter, all kinds of spaces.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Mn", "Zl", "Zp", "Zs"})
#: Letters and signs by category, that nobody sees: the fillers of Hangul, and Braille without a dot.
_UNSEEN_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")


class _Line:
    """Takes the one line that csv.writer writes."""

    def write(self, text: str) -> str:
        return text


def csv_lines(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Each row as a line of CSV, with its line end."""
    writer = csv.writer(_Line())
    for row in rows:
        yield str(writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in row]))


def harmless(text: str) -> str:
    """The text; if it could begin a formula, with an apostrophe in front, which makes it text."""
    if text.isalnum():  # nearly all of them
        return text
    if text.startswith(_BEGIN_A_CELL):
        return f"'{text}"
    first = next((letter for letter in text if not _is_unseen(letter)), "")
    begins = unicodedata.normalize("NFKC", first)[:1]  # of a full-width, small or raised form the usual one
    return f"'{text}" if begins in _BEGIN_A_FORMULA else text


def _is_unseen(letter: str) -> bool:
    return unicodedata.category(letter) in _UNSEEN or letter in _UNSEEN_LETTERS
