"""Redis changes its master, and the name in REDIS_URL leads to the new one: for new connections only.

The old master lives on as a replica, answers PING and reads, and a pool would keep its connections for ever.
So the first refusal that shows it empties the pool.
"""

from __future__ import annotations

import logging
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

#: What a server says that is no master (any more), or a master that lost its replicas and must not write.
#: In a script, and before Redis 7, the word stands in the middle of the message.
_DEMOTED: Final = ("READONLY", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED")


def leave_if_demoted(client: Redis, error: RedisError) -> None:
    """Close the pool's idle connections if the error says that this server is the wrong one.

    Those in use by other threads meet the same refusal. Call it once the failed call has given its own
    connection back.
    """
    text = (
        f"{type(error).__name__.upper()} {error}"  # the client takes some of the words for the error's type
    )
    if any(word in text for word in _DEMOTED):
        log.warning("this Redis takes no writes, connecting anew: %s", error)
        client.connection_pool.disconnect(inuse_connections=False)
