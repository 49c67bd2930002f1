"""Arguments of commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from runtime.operator_language import say


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """For argparse: a whole number from ``low`` to ``high``, in ASCII digits."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                say("{text!r} is no whole number from {low} to {high}", text=text, low=low, high=high)
            )
        return int(text)

    return parse
