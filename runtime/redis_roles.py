"""Leaves a Redis that is no master any more, after a failover.

The name in REDIS_URL leads to the new master, but for new connections only. The old master lives on as a
replica and answers PING and reads, so a pool would keep its connections for ever. So the first refusal that
shows such a server empties the pool.
"""

from __future__ import annotations

import logging
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

#: Errors of a server that is no master, of a master that lost its replicas and must not write, or of one that
#: was restarted and loads what may be old. In a script, and before Redis 7, the word stands in the middle of
#: the message. The last one is redis-py's, for READONLY behind a Sentinel.
_DEMOTED: Final = ("READONLY", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "LOADING", "previous master")


def leave_if_demoted(client: Redis, error: RedisError) -> None:
    """Close the pool's idle connections if the error says that this server is the wrong one.

    Connections in use by other threads meet the same refusal. Call this after the failed call has given its
    connection back.
    """
    text = (
        f"{type(error).__name__.upper()} {error}"  # the client takes some of the words for the error's type
    )
    if any(word in text for word in _DEMOTED):
        log.warning("this Redis takes no writes, connecting anew: %s", error)
        client.connection_pool.disconnect(inuse_connections=False)
