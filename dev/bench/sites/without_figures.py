"""Our API without the figures by the second: nothing is kept of a batch, and no thread writes."""

from importlib import import_module
from typing import Any

from couponsite.wsgi import application as application


def _start() -> None:
    """Nothing is begun."""


flushing: Any = import_module("coupons.figures.flushing")  # only now: Django is set up by the line above
flushing.start = _start
