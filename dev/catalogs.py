"""`make messages`: compile coupons/locale, whose text is read by people and whose other form by gettext.

The texts of the commands are found in the code, and those without Korean are told: their help, what ``say``
gets, and what is ``marked`` for it (runtime/operator_language.py), or is a ``Wording`` (runtime/wording.py).
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polib

from dev.processes import PROJECT
from runtime.operator_language import DOMAIN

LOCALE: Final = PROJECT / "coupons" / "locale"
PRODUCT: Final = ("coupons", "consumer", "runtime", "couponsite")
#: ``Wording`` and the errors that are one.
WORDINGS: Final = frozenset({"Wording", "ConfigError", "UnusableKeysError", "UnusableOfficeKeysError"})


def texts() -> list[Path]:
    return sorted(LOCALE.rglob("*.po"))


def compiled(text: Path) -> bytes:
    """What the other form of the text is. Raises OSError, with the line that is no entry."""
    return bytes(polib.pofile(str(text)).to_binary())


def of_commands() -> dict[str, str]:
    """The catalogue of what commands print: Korean by English."""
    text = LOCALE / "ko" / "LC_MESSAGES" / f"{DOMAIN}.po"
    return {entry.msgid: entry.msgstr for entry in polib.pofile(str(text))}


def said() -> dict[str, str]:
    """All that the product's code says to an operator, with the place of one that says it."""
    found: dict[str, str] = {}
    for folder in PRODUCT:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            place = path.relative_to(PROJECT)
            for line, text in said_in(ast.parse(path.read_text())):
                found.setdefault(text, f"{place}:{line}")
    return found


def said_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each; of a wording whose text is no literal the code, for which there is no Korean."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="say" | "marked"), args=[ast.Constant(value=str(text))]):
                yield node.lineno, text
            case ast.Call(func=ast.Name(id=name), args=[text, *_]) if name in WORDINGS:
                if not isinstance(text, ast.Name):  # it is marked where it stands
                    yield (
                        node.lineno,
                        str(text.value) if isinstance(text, ast.Constant) else ast.unparse(text),
                    )


def without_korean() -> dict[str, str]:
    """The texts that the catalogue lacks, with their places."""
    known = of_commands()
    return {text: place for text, place in said().items() if not known.get(text)}


def main(*, is_check: bool) -> int:
    """``is_check``: write nothing."""
    for each in () if is_check else texts():
        each.with_suffix(".mo").write_bytes(compiled(each))
    missing = without_korean()
    for text, place in missing.items():
        print(f"{place}: no Korean in {DOMAIN}.po for: {text}", file=sys.stderr)
    return os.EX_DATAERR if missing else 0


if __name__ == "__main__":
    sys.exit(main(is_check="check" in sys.argv[1:]))
