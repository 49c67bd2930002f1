"""What the three servers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from dev.services.daemon import Daemon
from dev.services.process import Launch
from dev.services.stack import DEFAULT_PORTS, Stack


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

    @abstractmethod
    def prepare(self) -> Launch:
        """Have the programs and the data folder ready, and say how to start."""

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
