"""Calls to the Redis that holds the gates: bounded, tried once, left alone for a second after a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from django_redis import get_redis_connection
from redis import Redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError, RedisError

from runtime import metrics, redis_server
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
T = TypeVar("T")
Argument = int | str | bytes
Call = tuple[Sequence[str], Sequence[Argument]]  #: keys and arguments of a script


class GateUnavailable(RuntimeError):
    """Redis did not answer, or refused to write. Let the database decide instead."""


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
    def _scripts(self) -> Mapping[str, Script]:
        common = (_LUA / "common.lua").read_text()
        return {
            path.stem: self._redis.register_script(common + path.read_text())
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
            raise GateUnavailable("Redis did not answer a moment ago")
        try:
            return call()
        except RedisError as error:
            if _ONE_KEY not in str(error):
                self._away_until = time.monotonic() + RETRY_REDIS_AFTER_S
            metrics.GATE_FAILURES.inc()
            redis_server.warn(error)
            leave_if_demoted(self._redis, error)
            raise GateUnavailable(str(error)) from error

    def run(self, script: str, call: Call) -> Any:
        keys, args = call
        return self.guarded(lambda: self._scripts[script](keys=keys, args=args))

    def run_each(self, script: str, calls: Sequence[Call]) -> list[Any]:
        """Run the script with each of these, in order, in as few round trips as their size allows."""
        if len(calls) == 1:
            return [self.run(script, calls[0])]
        return [answer for some in _in_pipelines(calls) for answer in self._run_together(script, some)]

    def _run_together(self, script: str, calls: Sequence[Call]) -> list[Any]:
        answers = self.guarded(lambda: self._pipelined(self._scripts[script], calls))
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # Redis was restarted, or never saw the script. Calls that have run already give the same answer
            # again.
            self.guarded(lambda: self._redis.script_load(self._scripts[script].script))
            answers = self.guarded(lambda: self._pipelined(self._scripts[script], calls))
        for answer in answers:
            if isinstance(answer, RedisError):
                self.guarded(_raiser(answer))
        return answers

    def _pipelined(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            pipeline.evalsha(script.sha, len(keys), *keys, *args)
        return list(pipeline.execute(raise_on_error=False))


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
