"""How far a long piece of work is, told by the process that does it to whichever process is asked.

Losing it costs nothing but a bar that stands still.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from coupons.gate.admission import gate

log = logging.getLogger(__name__)

#: Longer than any step of the work takes. Longer, and what is over is kept for nobody.
_KEPT_S: Final = 600


class WorkDone(msgspec.Struct, frozen=True, kw_only=True):
    """``stage``: a word of whoever works; ``done`` of ``whole`` rows."""

    stage: str
    done: int
    whole: int


_decode: Final = msgspec.json.Decoder(WorkDone).decode


# Not ``gate.guarded``: a failure there turns claims away from Redis for a while, and a bar is not worth that.


def tell(name: str, work: WorkDone) -> None:
    """Tell it under this name. While Redis is away nothing is told. Waits for Redis: never in the loop."""
    if gate.is_away:
        return
    try:
        get_redis_connection("default").set(_key(name), msgspec.json.encode(work), ex=_KEPT_S)
    except RedisError as error:
        log.debug("how far %s is cannot be told: %s", name, error)


def ask(name: str) -> WorkDone | None:
    """What was told last under this name; None if nothing was. Waits for Redis: never in the loop."""
    if gate.is_away:
        return None
    try:
        found = get_redis_connection("default").get(_key(name))
        return None if found is None else _decode(found)
    except (RedisError, msgspec.DecodeError) as error:
        log.debug("how far %s is cannot be asked: %s", name, error)
        return None


def _key(name: str) -> str:
    return f"{{coupon-work}}:{name}"  # a prefix that the rights in docs/connections.md allow
