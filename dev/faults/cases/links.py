"""The network between two parts: slow, cut, losing replies after the request was carried out, or lying."""

from __future__ import annotations

import time
from collections.abc import Callable

from dev.faults.case import Case, lasting
from dev.faults.proxy import Link
from dev.faults.scene import Scene

_ROLES = {"api": "API", "consumer": "consumer"}
_SERVERS = {"kafka": "broker", "redis": "Redis", "db": "database"}
_LATENCY_S = 0.1
_LOST_SHARE = 0.1
_LASTS_S = 5.0


def _slow(link: Link) -> None:
    link.latency_s = _LATENCY_S


def _cut(link: Link) -> None:
    link.cut()


def _lose_replies(link: Link) -> None:
    link.lost_replies = _LOST_SHARE


_FAULTS: dict[str, tuple[str, Callable[[Link], None]]] = {
    "slow": (f"{_LATENCY_S * 1000:.0f} ms more each way", _slow),
    "cut": ("cut", _cut),
    "replies-lost": (f"{_LOST_SHARE:.0%} of replies lost, after the request passed", _lose_replies),
}


def _break_link(name: str, strike: Callable[[Link], None]) -> Callable[[Scene], None]:
    def mend(scene: Scene) -> None:
        scene.expect(scene.links[name].hits > 0, "the fault struck nothing")
        scene.links[name].mend()

    return lasting(lambda scene: strike(scene.links[name]), mend, for_s=lambda scale: _LASTS_S)


def _case(role: str, server: str, fault: str) -> Case:
    what, strike = _FAULTS[fault]
    link = f"{role}-{server}"
    return Case(
        name=f"{link}-{fault}",
        what=f"network {_ROLES[role]} to {_SERVERS[server]}: {what}",
        act=_break_link(link, strike),
        links=(link,),
        consumer_words=("--batch-size", "20"),
        in_short=link in ("api-kafka", "consumer-db") and fault == "replies-lost",
    )


def _come_back_naming_none(name: str) -> Callable[[Scene], None]:
    """Several times: in one of five or so, librdkafka forgets every broker (consumer/broker_watch.py)."""

    def act(scene: Scene) -> None:
        link = scene.links[name]
        scene.struck()
        named_none = 0
        for _ in range(5):
            link.cut()
            time.sleep(0.5)
            link.mend()
            link.names_no_brokers = True
            hits = link.hits
            time.sleep(1)
            named_none += link.hits - hits
            link.mend()
            time.sleep(1)
        scene.expect(named_none > 0, "the fault struck nothing")

    return act


CASES = [
    *(_case(role, server, fault) for role in _ROLES for server in _SERVERS for fault in _FAULTS),
    *(
        Case(
            name=f"{role}-kafka-none-named",
            what=f"network {_ROLES[role]} to broker: cut, and when it is back the broker names no brokers",
            act=_come_back_naming_none(f"{role}-kafka"),
            links=(f"{role}-kafka",),
            consumer_words=("--batch-size", "20"),
        )
        for role in _ROLES
    ),
]
