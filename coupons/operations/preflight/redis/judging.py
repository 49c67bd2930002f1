"""Whether Redis carries the crowd. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from coupons.operations.preflight import clocks
from coupons.operations.preflight.findings import Check, Finding, Subject, note, red, yellow
from coupons.operations.preflight.redis import reading, replicas
from coupons.operations.preflight.redis.reading import RedisFacts
from runtime.operator_language import say

#: Bytes for one who claims: a reservation (83, measured with Redis 7) and a place in the log (51), and as
#: much again while a hash of the crowd is made larger. tests/integration/test_preflight.py measures
#: them.
BYTES_OF_A_USER: Final = 270
_OLDEST: Final = (6, 2)
#: The share of what Redis may take that a crowd fills. More, and fragments and clients' buffers fill the
#: rest.
_USABLE: Final = 0.8
_MIB: Final = 1 << 20


def version(facts: RedisFacts) -> Iterator[Finding]:
    found = {node.text("redis_version") for node in facts.nodes if node.info}
    for each in sorted(found):
        if tuple(map(int, re.findall(r"\d+", each)[:2])) < _OLDEST:
            yield yellow(
                say("Redis {version} is not tried with this system", version=each), say("Redis 6.2 or newer")
            )


def readable(facts: RedisFacts) -> Iterator[Finding]:
    for node in facts.nodes:
        if node.refusal:
            yield yellow(
                say(
                    "{name} does not let us ask INFO, so policy and memory are not looked at: {refusal}",
                    name=node.name,
                    refusal=node.refusal,
                ),
                say("ACL SETUSER the user of REDIS_URL +info (docs/connections.md)"),
            )


def role(facts: RedisFacts) -> Iterator[Finding]:
    """A replica that takes writes (replica-read-only no) forgets them."""
    for node in facts.nodes:
        if node.text("role") == "slave":
            yield red(
                say("{name} is a replica: what is written there its master does not know", name=node.name),
                say("the master in REDIS_URL, or redis+sentinel://…, which finds it"),
            )


def policy(facts: RedisFacts) -> Iterator[Finding]:
    for node in facts.nodes:
        found = node.text("maxmemory_policy")
        if node.info and found not in ("noeviction", ""):
            yield red(
                say(
                    "{name}'s maxmemory-policy is {found}: in a crowd it throws away reservations, "
                    "and the database decides in its place",
                    name=node.name,
                    found=found,
                ),
                say("CONFIG SET maxmemory-policy noeviction, and in its configuration"),
            )


def memory(facts: RedisFacts) -> Iterator[Finding]:
    """All who claim may want one coupon, whose keys are on one node."""
    needed = facts.expected.users * BYTES_OF_A_USER
    for node in facts.nodes:
        most, machine = node.number("maxmemory"), node.number("total_system_memory")
        room = (most or machine) - node.number("used_memory")
        if not (most or machine):
            continue
        shown = say(
            "{name} has room for {room:,.0f} MiB, and {users:,} users need {needed:,.0f}",
            name=node.name,
            room=max(0, room) / _MIB,
            users=facts.expected.users,
            needed=needed / _MIB,
        )
        if needed > room:
            yield red(shown, _more_memory(facts, needed, node.number("used_memory"), bounded=bool(most)))
        elif needed > room * _USABLE:
            yield yellow(shown, _more_memory(facts, needed, node.number("used_memory"), bounded=bool(most)))
        if not most:
            yield note(say("{name} has no maxmemory: it grows until the machine kills it", name=node.name))


def _more_memory(facts: RedisFacts, needed: int, used: int, *, bounded: bool) -> str:
    wanted = int((used + needed) / _USABLE / _MIB) + 1
    return (
        f"CONFIG SET maxmemory {wanted}mb"
        if bounded
        else say("a machine with {wanted} MiB more for Redis", wanted=wanted)
    )


def persistence(facts: RedisFacts) -> Iterator[Finding]:
    for node in facts.nodes:
        if node.number("loading"):
            yield red(say("{name} is still loading its data", name=node.name), say("wait, then again"))
        failed = [
            name for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
            if node.text(name) not in ("ok", "")
        ]  # fmt: skip
        if failed:
            yield yellow(
                say(
                    "{name} cannot write to its disk ({names}), and may refuse us for it",
                    name=node.name,
                    names=", ".join(failed),
                ),
                say(
                    "room on its disk, or no persistence, which we do not need: CONFIG SET save '' "
                    "appendonly no"
                ),
            )
        if node.number("aof_enabled"):
            yield note(
                say(
                    "{name} keeps an append-only file: we do not need it, and each write waits for it",
                    name=node.name,
                )
            )


def clients(facts: RedisFacts) -> Iterator[Finding]:
    """Whether as many may connect as there are threads that use Redis, for keys and for locks."""
    api, expected = facts.config.api, facts.expected
    needed = expected.apis * api.workers * (api.threads + 6) + 8 * expected.consumers + 10
    for node in facts.nodes:
        most = node.number("maxclients")
        if 0 < most < needed:
            yield yellow(
                say(
                    "{name}'s maxclients is {most}, and {needed} may be needed",
                    name=node.name,
                    most=most,
                    needed=needed,
                ),
                f"CONFIG SET maxclients {max(1000, 2 * needed)}",
            )


def rights(facts: RedisFacts) -> Iterator[Finding]:
    if facts.refused:
        what = ", ".join(facts.refused)
        yield red(
            say(
                "Redis does not let our user do what claims need ({what}): {error}",
                what=what,
                error=next(iter(facts.refused.values())),
            ),
            say("the rights in docs/connections.md"),
        )


def evicted(facts: RedisFacts) -> Iterator[Finding]:
    for node in facts.nodes:
        if count := node.number("evicted_keys"):
            yield note(
                say("{name} has thrown away {count} keys since it started", name=node.name, count=count)
            )


def clock(facts: RedisFacts) -> Iterator[Finding]:
    for node in facts.nodes:
        if node.clock is not None:
            yield from clocks.differences(node.name, node.clock)


def _without_info(facts: RedisFacts) -> str:
    return "" if all(node.info for node in facts.nodes) else say("it does not tell (redis.readable)")


SUBJECT: Final = Subject(
    name="redis",
    read=reading.read,
    told=lambda facts: ", ".join(f"{name} {value}" for name, value in facts.component.details.items()),
    checks=(
        Check(
            name="version",
            right="a version that this system was tried with",
            look=version,
            blind=_without_info,
        ),
        Check(name="readable", right="it tells us about itself", look=readable),
        Check(name="role", right="it is a master", look=role, blind=_without_info),
        Check(name="policy", right="it throws nothing away (noeviction)", look=policy, blind=_without_info),
        Check(name="memory", right="it has room for the crowd", look=memory, blind=_without_info),
        Check(
            name="persistence",
            right="nothing that it does with its disk holds us up",
            look=persistence,
            blind=_without_info,
        ),
        Check(name="clients", right="enough connections are allowed", look=clients, blind=_without_info),
        Check(name="rights", right="our user may do what claims need", look=rights),
        Check(name="replicas", right="a replica can take over", look=replicas.replicas, blind=_without_info),
        Check(name="evictions", right="it has thrown nothing away", look=evicted, blind=_without_info),
        Check(name="clock", right="its clock is ours", look=clock),
    ),
)
