"""What the three servers have in common."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from dev.processes import Process, port_error
from dev.services import programs
from dev.services.daemon import Daemon
from dev.services.errors import ServiceError
from dev.services.stack import DEFAULT_PORTS, Stack, flag, variable


class Service(ABC):
    """One server of a stack. Its process is the Daemon's business, starting and stopping the lifecycle's."""

    name: ClassVar[str]
    stop_wait_s: ClassVar[float]  #: after SIGTERM, before SIGKILL

    def __init__(self, *, stack: Stack) -> None:
        self.stack = stack
        self.daemon = Daemon(name=self.name, run_dir=stack.run_dir, log=stack.log_dir / f"{self.name}.log")

    @property
    def port(self) -> int:
        """Where it listens while it runs; otherwise where it will: asked for, else as last time."""
        running = self.daemon.running()
        if running is not None:
            return running.port
        if self.name in self.stack.asked_ports:
            return self.stack.asked_ports[self.name]
        last = self.daemon.last_record()
        return last.port if last else DEFAULT_PORTS[self.name]

    @property
    def all_ports(self) -> tuple[int, ...]:
        return (self.port,)

    def process(self, command: list[str], *, folder: Path, log: Path | None = None) -> Process:
        """Not yet started. Relative paths in ``command`` are below ``folder``."""
        return Process(
            name=self.name,
            command=command,
            log=log or self.daemon.log,
            env=programs.inherited_environment(),
            folder=folder,
            port=self.port,
        )

    @abstractmethod
    def prepare(self) -> Process:
        """Have the programs and the data folder ready; the server, to be started."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server does its work, asked in its own protocol and answered within some seconds."""

    def require_as_asked(self) -> None:  # noqa: B027 - most have nothing to choose
        """Raise ServiceError where the server that runs is not the one that was asked for."""

    def finish(self) -> None:  # noqa: B027 - most have nothing to add
        """What has to be set up in the answering server. Run at every start, so it may be repeated."""

    @abstractmethod
    def version(self) -> str:
        """The version that answers; an empty string when it cannot be told."""


def require_free(port: int, *, name: str, base_port: int) -> None:
    """Raise when the server cannot listen there, naming the port and what changes it.

    ``base_port`` is the one that the flag sets; Kafka's controller has the next one.
    """
    if (error := port_error(port)) is None:
        return
    reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    origin = "" if port == base_port else f" ({name} port {base_port} plus {port - base_port})"
    raise ServiceError(
        f"port {port}{origin} {reason}, so {name} cannot start: "
        f"stop what listens there, or choose another with {flag(name)} or {variable(name)}"
    ) from error


def require_distinct(services: Sequence[Service]) -> None:
    """Raise when two servers of this stack would use one port."""
    owners: dict[int, str] = {}
    for service in services:
        for port in service.all_ports:
            if port in owners:
                raise ServiceError(
                    f"port {port} is asked for by {owners[port]} and {service.name}: "
                    f"choose another with {flag(service.name)} or {variable(service.name)}"
                )
            owners[port] = service.name
