"""What happens when a master of Redis dies. Losing Redis loses nothing but time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coupons.operations.preflight.findings import Finding, note, red, yellow
from coupons.operations.preflight.redis.reading import RedisFacts
from runtime.config.redis import RedisKind
from runtime.operator_language import say


def replicas(facts: RedisFacts) -> Iterator[Finding]:
    """Worth knowing: what happens when a master dies. Losing Redis loses nothing but time."""
    if facts.config.redis.kind is RedisKind.SENTINEL:
        yield from _sentinels(facts.master)
        return
    alone = [node.name for node in facts.nodes if node.info and not node.number("connected_slaves")]
    if alone:
        yield note(
            say(
                "{names} has no replica: while it is away the database decides, slower",
                names=", ".join(alone),
            ),
            say("Sentinels or a cluster with replicas (docs/connections.md)"),
        )


def _sentinels(master: Mapping[str, Any]) -> Iterator[Finding]:
    if not master:
        return
    sentinels = int(master.get("num-other-sentinels", 0)) + 1
    quorum = int(master.get("quorum", 1))
    if not int(master.get("num-slaves", 0)):
        yield yellow(
            say("no replica follows the master: the Sentinels have nobody to promote"), say("a replica")
        )
    if quorum > sentinels:
        yield red(
            say(
                "the quorum is {quorum}, and there are {sentinels} Sentinels: they promote nobody",
                quorum=quorum,
                sentinels=sentinels,
            ),
            f"SENTINEL SET … quorum {sentinels // 2 + 1}",
        )
    if sentinels < 3:
        yield note(
            say(
                "{sentinels} Sentinel{plural}: three can lose one and still promote",
                sentinels=sentinels,
                plural="s" * (sentinels > 1),
            ),
            say("three"),
        )
