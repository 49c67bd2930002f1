"""Calls to the Redis that holds the gates: bounded, tried once, left alone for a second after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import NoScriptError, RedisError

from runtime import metrics, redis_server
from runtime.operator_language import marked
from runtime.redis_cluster import ClusterRedis, is_moving
from runtime.redis_roles import leave_if_demoted

_LUA: Final = Path(__file__).parent / "lua"
#: After a failure Redis is left alone for so long. Shorter, and more claims wait for its timeout; longer, and
#: the database decides alone for longer after Redis is back.
RETRY_REDIS_AFTER_S: Final = 1.0
#: Arguments in one pipeline: some 50 kB, a few milliseconds of Redis's time. More, and other callers wait
#: longer; fewer, and a large batch takes more round trips.
_ARGUMENTS_AT_ONCE: Final = 5_000
#: An error of one key only: no reason to leave Redis alone with all others.
_ONE_KEY: Final = "WRONGTYPE"
_pack: Final = msgspec.msgpack.Encoder().encode
T = TypeVar("T")
Argument = int | str | bytes
Call = tuple[Sequence[str], Sequence[Argument]]  #: keys and arguments of a script


class GateUnavailable(RuntimeError):
    """Redis did not answer, or refused to write. Let the database decide instead."""


class GateMoving(GateUnavailable):
    """The gate is between two nodes of a cluster. Ask again: others answer, and this one soon will."""


@dataclass(frozen=True, slots=True)
class _Script:
    text: str
    name: str  #: its SHA-1: Redis's name for it

    @classmethod
    def of(cls, text: str) -> _Script:
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


class GateRedis:
    """Runs scripts. Every method raises GateUnavailable when Redis does not answer.

    After a failure Redis is left alone for a second, so that not every claim waits for its timeout. Every
    call waits for Redis: never in the loop.
    """

    def __init__(self) -> None:
        self._away_until = 0.0

    @cached_property
    def _redis(self) -> Redis:
        client: Redis = get_redis_connection("default")
        return client

    @cached_property
    def _scripts(self) -> Mapping[str, _Script]:
        common = (_LUA / "common.lua").read_text()
        return {
            path.stem: _Script.of(common + path.read_text())
            for path in _LUA.glob("*.lua")
            if path.stem != "common"
        }

    @property
    def is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def forget_failure(self) -> None:
        """Try Redis at the next call, even right after a failure."""
        self._away_until = 0.0

    def guarded(self, call: Callable[[], T]) -> T:
        """Call Redis and return its answer. Raises GateUnavailable, at once if Redis failed a moment ago."""
        if self.is_away:
            raise GateUnavailable(marked("Redis did not answer a moment ago"))
        try:
            return call()
        except RedisError as error:
            if is_moving(error):
                raise GateMoving(str(error)) from error
            if _ONE_KEY not in str(error):
                self._away_until = time.monotonic() + RETRY_REDIS_AFTER_S
            metrics.GATE_FAILURES.inc()
            redis_server.warn(error)
            leave_if_demoted(self._redis, error)
            raise GateUnavailable(str(error)) from error

    def run(self, script: str, call: Call) -> Any:
        return self.guarded(lambda: self._evaluated(self._scripts[script], call))

    def run_each(self, script: str, calls: Sequence[Call]) -> list[Any]:
        """Run the script with each of these, in order, in as few round trips as their size allows."""
        answers = self.try_each(script, calls)
        for answer in answers:
            if isinstance(answer, GateMoving):
                raise answer
        return answers

    def try_each(self, script: str, calls: Sequence[Call]) -> list[Any | GateMoving]:
        """As ``run_each``, with GateMoving in the place of an answer: the other gates have theirs."""
        if len(calls) == 1:
            try:
                return [self.run(script, calls[0])]
            except GateMoving as moving:
                return [moving]
        return [answer for some in _in_pipelines(calls) for answer in self._run_together(script, some)]

    def try_together(self, script: str, calls: Sequence[Call], *, head: int) -> list[Any | GateMoving]:
        """As ``try_each``, for a script that takes keys and arguments of several calls, and answers each.

        One run then has as many as may be sent at once. A cluster takes the keys of one coupon alone.
        ``head``: so many first arguments of each call travel together, as ARGV[1], in MessagePack, a list for
        each call. Bytes must not be among them: Redis cannot unpack those. Sent one by one they were half of
        all that redis-py has to write for claims on a hundred coupons.
        """
        if isinstance(self._redis, ClusterRedis):
            answers = self.try_each(script, [_together([call], head) for call in calls])
            return [answer if isinstance(answer, GateMoving) else answer[0] for answer in answers]
        found: list[Any | GateMoving] = []
        for some in _in_pipelines(calls):
            found += self.run(script, _together(some, head))
        return found

    def _run_together(self, script: str, calls: Sequence[Call]) -> list[Any | GateMoving]:
        named = self._scripts[script]
        answers = self.guarded(lambda: self._pipelined("EVALSHA", named.name, calls))
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            these = [calls[place] for place in unknown]
            again = self.guarded(lambda: self._pipelined("EVAL", named.text, these))
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        return [self._as_answer(answer) for answer in answers]

    def _as_answer(self, answer: Any) -> Any | GateMoving:
        if not isinstance(answer, RedisError):
            return answer
        try:
            return self.guarded(_raiser(answer))
        except GateMoving as moving:
            return moving

    def _evaluated(self, script: _Script, call: Call) -> Any:
        keys, args = call
        try:
            return self._redis.evalsha(script.name, len(keys), *keys, *args)
        except NoScriptError:
            # Redis was restarted, is another server, or its scripts were flushed. This asks that node alone:
            # SCRIPT LOAD would ask all masters of a cluster, and fail while one of them is away.
            return self._redis.eval(script.text, len(keys), *keys, *args)

    def _pipelined(self, command: str, script: str, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            pipeline.execute_command(command, script, len(keys), *keys, *args)  # type: ignore[no-untyped-call]
        return list(pipeline.execute(raise_on_error=False))


def _together(calls: Sequence[Call], head: int) -> Call:
    heads = _pack([args[:head] for _, args in calls])
    left = chain.from_iterable(args[head:] for _, args in calls)
    return [key for keys, _ in calls for key in keys], [heads, *left]


def _in_pipelines(calls: Sequence[Call]) -> Iterator[list[Call]]:
    together: list[Call] = []
    arguments = 0
    for call in calls:
        if together and arguments + len(call[1]) > _ARGUMENTS_AT_ONCE:
            yield together
            together, arguments = [], 0
        together.append(call)
        arguments += len(call[1])
    if together:
        yield together


def _raiser(error: RedisError) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail
