"""`make messages`: compile coupons/locale, whose text is read by people and whose other form by gettext."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polib

from dev.processes import PROJECT

LOCALE: Final = PROJECT / "coupons" / "locale"


def texts() -> list[Path]:
    return sorted(LOCALE.rglob("*.po"))


def compiled(text: Path) -> bytes:
    """What the other form of the text is. Raises OSError, with the line that is no entry."""
    return bytes(polib.pofile(str(text)).to_binary())


if __name__ == "__main__":
    for each in texts():
        each.with_suffix(".mo").write_bytes(compiled(each))
