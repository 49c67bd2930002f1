"""What the three servers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from dev.processes import Process
from dev.services import programs
from dev.services.daemon import Choice, Daemon
from dev.services.stack import DEFAULT_PORTS, Stack, variable


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
        last = self.daemon.last_record()
        if last is not None and (self.name not in self.stack.asked_ports or self.daemon.running()):
            return last.port
        return self.stack.asked_ports.get(self.name, DEFAULT_PORTS[self.name])

    @property
    def ports(self) -> dict[str, int]:
        """All that it listens on, by the variable that changes them."""
        return {variable(self.name): self.port}

    @property
    def choice(self) -> Choice | None:
        """Which server it is, where there is a choice."""
        return None

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
