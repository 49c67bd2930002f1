"""What happens when a master of Redis dies. Losing Redis loses nothing but time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coupons.operations.preflight.findings import Finding, note, red, yellow
from coupons.operations.preflight.redis.reading import RedisFacts
from runtime.config.redis import RedisKind


def replicas(facts: RedisFacts) -> Iterator[Finding]:
    """Worth knowing: what happens when a master dies. Losing Redis loses nothing but time."""
    if facts.config.redis.kind is RedisKind.SENTINEL:
        yield from _sentinels(facts.master)
        return
    alone = [node.name for node in facts.nodes if node.info and not node.number("connected_slaves")]
    if alone:
        yield note(
            f"{', '.join(alone)} has no replica: while it is away the database decides, slower",
            "Sentinels or a cluster with replicas (docs/connections.md)",
        )


def _sentinels(master: Mapping[str, Any]) -> Iterator[Finding]:
    if not master:
        return
    sentinels = int(master.get("num-other-sentinels", 0)) + 1
    quorum = int(master.get("quorum", 1))
    if not int(master.get("num-slaves", 0)):
        yield yellow("no replica follows the master: the Sentinels have nobody to promote", "a replica")
    if quorum > sentinels:
        yield red(
            f"the quorum is {quorum}, and there are {sentinels} Sentinels: they promote nobody",
            f"SENTINEL SET … quorum {sentinels // 2 + 1}",
        )
    if sentinels < 3:
        yield note(
            f"{sentinels} Sentinel{'s' * (sentinels > 1)}: three can lose one and still promote", "three"
        )
