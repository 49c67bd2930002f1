"""Where a stack lives and what was asked for it: parsed and checked once, then frozen."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from dev.servers import ServiceError, held

DEFAULT_DIRECTORY = Path(".services")
REPLICA = "replica"
DEFAULT_PORTS: Mapping[str, int] = MappingProxyType(
    {"mariadb": 23306, "redis": 26379, "kafka": 29092, REPLICA: 23307}
)

DATABASE = "e_commerce_db"
DATABASE_VARIABLE = "SERVICES_DATABASE"
APPLICATION_USER = "application"
APPLICATION_PASSWORD = "application"  # a development server that listens on loopback alone

LOCK_WAIT_S = 180.0
_MARK = "# The folder of a stack of servers: "  #: what follows may differ: another version made it
GITIGNORE = f"{_MARK}`python -m dev.services`.\n*\n"


class Kind(StrEnum):
    """Whose database server it is: the two that the project works with."""

    MARIADB = "mariadb"
    MYSQL = "mysql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One folder with three servers in it. Several stacks live side by side in folders of their own."""

    directory: Path
    asked_ports: Mapping[str, int]  #: by flag or environment variable; those not named are absent
    asked_kind: Kind | None = None  #: of the database server; None: as last time, else what the machine has
    asked_binlog: bool | None = None  #: whether the database keeps a binary log; None: as last time, else not
    wait_s: float = 120.0  #: how long one server may take to answer

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    @property
    def log_dir(self) -> Path:
        return self.directory / "logs"

    @property
    def env_file(self) -> Path:
        return self.directory / "env"

    def _make_folders(self) -> None:
        """Invisible to git wherever they are. A folder that holds other things is refused."""
        mark = self.directory / ".gitignore"
        if not mark.exists() or not mark.read_text().startswith(_MARK):
            self.directory.mkdir(parents=True, exist_ok=True)
            if any(self.directory.iterdir()):
                raise ServiceError(f"{self.directory} holds other things: name a new folder with --dir")
            mark.write_text(GITIGNORE)
        self.run_dir.mkdir(exist_ok=True)
        self.log_dir.mkdir(exist_ok=True)
        (self.run_dir / "lock").touch()

    def command_line(self, arguments: str) -> str:
        """What to type to run this package's command on this stack."""
        line = f"python -m dev.services {arguments}"
        if self.directory != DEFAULT_DIRECTORY.resolve():
            line += f" --dir {shlex.quote(str(self.directory))}"
        return line

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one start or stop at a time work on the folder, which is made now if it is new."""
        try:
            self._make_folders()
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise ServiceError(
                f"cannot write to {error.filename}: run this as its owner, or name another folder with --dir"
            ) from error
        at_work = f"starts or stops servers in {self.directory}: let it end, then try again"
        with held(self.run_dir / "lock", else_told=at_work, within_s=LOCK_WAIT_S):
            yield


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.replace(path)


def variable(name: str) -> str:
    return f"SERVICES_{name.upper()}_PORT"


def kind(text: str) -> Kind:
    if text in set(Kind):
        return Kind(text)
    raise argparse.ArgumentTypeError(
        f"{text!r}, given here or as {DATABASE_VARIABLE}, is no database server: choose {' or '.join(Kind)}"
    )


def port(text: str) -> int:
    """Kafka takes the next one too."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65_534:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text!r}, given here or as its variable, is not a port: give a whole number from 1 to 65534"
    )
