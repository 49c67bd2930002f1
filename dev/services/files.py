"""Small files: written whole, read from their end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)


def last_lines(log: Path, *, start: int = 0, count: int = 12) -> str:
    """The end of a log, not reaching back before the offset ``start``."""
    if not log.exists():
        return "  (no log)"
    with log.open("rb") as file:
        lines = _tail(file, start=start).decode(errors="replace").splitlines()
    return "\n".join(f"  {line[:300]}" for line in lines[-count:]) or "  (nothing logged)"


def _tail(file: IO[bytes], *, start: int) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(start, size - 16_384, 0))
    return file.read()
