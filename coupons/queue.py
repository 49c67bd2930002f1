"""How many requests for a coupon are accepted and not yet decided."""

from __future__ import annotations

from typing import Final

from coupons import backlog, catalog
from coupons.admission import GateUnavailable, gate

_LOG_TIMEOUT_S: Final = 3.0


def size(coupon_id: int) -> int | None:
    """None if there is no such coupon.

    The gate's count, or the log's where the gate is empty or Redis away. Raises
    backlog.LogUnavailable when neither answers.
    """
    if catalog.coupon_view(coupon_id) is None:
        return None
    try:
        reserved = gate.reserved(coupon_id)
    except GateUnavailable:
        reserved = None
    if reserved is not None:
        return reserved
    return len(backlog.read(timeout_s=_LOG_TIMEOUT_S, coupon_id=coupon_id).requests)
