"""Many values a few at a time, for statements and pipelines whose size is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def in_chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one of what is left; none if there are no items."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
