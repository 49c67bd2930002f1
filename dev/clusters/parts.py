"""What of a fault row's servers is a cluster."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """What is a cluster. A row names its parts; rows of the same parts run on the same servers."""

    BROKERS = "brokers"
    SENTINEL = "sentinel"  #: Redis: a master and its replica
    REDIS_CLUSTER = "redis-cluster"
    DATABASES = "databases"  #: and haproxy in front of them
