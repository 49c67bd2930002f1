"""One node of Apache Kafka with listeners for clients that log in, and what its properties have in common."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dev.processes import Process
from dev.services import programs
from dev.services.kafka import java_options

USER, PASSWORD = "shop", "of-the-shop"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
#: The same for all nodes of a cluster.
CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
#: Niceness. More, and two brokers that start beside a crowd take a minute longer; less, and it is slowed
#: down.
_BEHIND_ALL: Final = 5


@dataclass(slots=True, kw_only=True)
class Node:
    """A node in a folder of its own. ``properties``: server.properties, whose paths are relative to that."""

    folder: Path
    libs: Path
    properties: str
    files: Mapping[str, str] = field(default_factory=dict)  #: more files, by name
    options: tuple[str, ...] = ()  #: more of Java's
    server: Process = field(init=False)

    def format(self) -> None:
        """Make the folder and its data, in which USER may log in. Raises ProcessFailed."""
        self.folder.mkdir(parents=True)
        for name, text in {"server.properties": self.properties, **self.files}.items():
            (self.folder / name).write_text(text)
        logins = (f"{each}=[name={USER},password={PASSWORD}]" for each in _MECHANISMS)
        words = [word for login in logins for word in ("--add-scram", login)]
        storage = ["kafka.tools.StorageTool", "format", f"--cluster-id={CLUSTER_ID}"]
        made = self._java(*storage, "--config=server.properties", *words)
        made.run(within_s=60, failing="Kafka's data folder could not be made")

    def start(self, *, gently: bool = False) -> None:
        """The node begins to start. ``gently``: behind all others, as if it had cores of its own."""
        self.server = self._java("kafka.Kafka", "server.properties")
        self.server.start()
        if gently:
            self._give_way(_BEHIND_ALL)

    def hurry(self) -> None:
        """From now on it is like all others."""
        self._give_way(0)

    def _give_way(self, nice: int) -> None:
        """As far as we may say so.

        Where Linux shares cores among sessions first (autogroups), a process's own niceness counts within its
        session alone, and each broker is one.
        """
        with suppress(OSError):
            Path(f"/proc/{self.server.pid}/autogroup").write_text(str(nice))
        for thread in Path(f"/proc/{self.server.pid}/task").glob("*"):
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)

    def kill(self) -> None:
        """SIGKILL, if it was started."""
        if hasattr(self, "server"):
            self.server.kill()

    def _java(self, *words: str) -> Process:
        java = str(programs.require_java())
        return Process(
            name="kafka",
            command=[java, *java_options(), *self.options, "-cp", f"{self.libs}/*", *words],
            log=self.folder / "log",
            env=programs.inherited_environment(),
            folder=self.folder,
            dies_by=signal.SIGKILL,
        )
