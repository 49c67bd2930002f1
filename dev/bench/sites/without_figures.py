"""Our API without the figures by the second: nothing is kept of a batch, and no thread writes."""

from coupons.figures import flushing
from couponsite.wsgi import application as application


def _start() -> None:
    """Nothing is begun."""


flushing.start = _start
