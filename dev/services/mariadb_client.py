"""SQL typed at the database's own client, a dump, and a dump's way back."""

from __future__ import annotations

import os
import pwd
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dev.processes import LOOPBACK
from dev.servers import ServiceError
from dev.services import programs
from dev.services.database_programs import DatabasePrograms
from dev.services.stack import APPLICATION_PASSWORD, APPLICATION_USER, DATABASE, Kind

#: Relative to the data folder, where server and client both stand: no folder is too deep for it
#: (a socket's path may have no more than 107 bytes). Only the folder's owner and root get there.
SOCKET = "./mariadb.sock"
#: MySQL's own tool would name transactions that a restored server has had already.
BACKUP_OPTIONS = {Kind.MARIADB: (), Kind.MYSQL: ("--set-gtid-purged=OFF",)}


class NoAnswerError(ServiceError):
    """The database refused what it was told, or said nothing in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    programs: DatabasePrograms
    kind: Kind
    data: Path
    wait_s: float  #: for an answer, unless a call says otherwise

    def run_as_root(self, statement: str, *, table: bool = False, timeout_s: float | None = None) -> str:
        """Run SQL with every right, through the socket; what it printed."""
        arguments = [*self._as_root(), *(["--table"] if table else [])]
        return self._run(self.programs.client, arguments, statement=statement, timeout_s=timeout_s)

    def ask_as_root(self, question: str, *, timeout_s: float | None = None) -> str:
        """The one value that answers; empty when there is none in time."""
        with suppress(NoAnswerError):
            return self.run_as_root(question, timeout_s=timeout_s).strip().rpartition("\n")[2]
        return ""

    def log_in(self, *, port: int) -> None:
        """As the application does: over TCP, with its user and password."""
        arguments = [f"--host={LOOPBACK}", f"--port={port}", "--protocol=tcp", f"--user={APPLICATION_USER}"]
        self._run(
            self.programs.client, [*arguments, DATABASE], statement="SELECT 1", password=APPLICATION_PASSWORD
        )

    def dump(self, *arguments: str, to: IO[str]) -> None:
        """A backup of one moment, taken while the application goes on."""
        self._run(self.programs.dump, [*self._as_root(), "--single-transaction", *arguments], output=to)

    def feed(self, source: IO[str], *arguments: str) -> None:
        """Run a file of SQL with every right."""
        self._run(self.programs.client, [*self._as_root(), *arguments], source=source)

    def back_up(self, database: str, file: Path) -> None:
        """Write the database as it is at one moment; the file appears whole or not at all."""
        unfinished = file.with_name(f"{file.name}.new")
        try:
            with unfinished.open("w") as output:
                self.dump(*BACKUP_OPTIONS[self.kind], database, to=output)
        except OSError as error:
            raise ServiceError(f"{unfinished} cannot be written: {error.strerror}") from error
        unfinished.replace(file)

    def restore(self, database: str, file: Path) -> None:
        """Replace the database by what the file holds: what came after the dump is gone."""
        try:
            with file.open() as source:
                self.run_as_root(
                    f"DROP DATABASE IF EXISTS `{database}`;\n"
                    f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4;"
                )
                self.feed(source, database)
        except OSError as error:
            raise ServiceError(f"{file} cannot be read: {error.strerror}") from error

    def _as_root(self) -> list[str]:
        # MariaDB knows the system's user at the other end of the socket. MySQL's root has no password, and
        # reaches the server through the socket alone.
        login = "root" if self.kind is Kind.MYSQL else pwd.getpwuid(os.geteuid()).pw_name
        return [f"--socket={SOCKET}", "--protocol=socket", f"--user={login}"]

    def _run(
        self,
        program: Path,
        arguments: list[str],
        *,
        statement: str | None = None,
        source: IO[str] | None = None,
        output: IO[str] | None = None,
        password: str | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Raises NoAnswerError; of time by default after the stack's wait."""
        limit_s = self.wait_s if timeout_s is None else timeout_s
        secret = {} if password is None else {"MYSQL_PWD": password}  # not in the process list
        try:
            done = subprocess.run(
                [str(program), "--no-defaults", "--default-character-set=utf8mb4", *arguments],
                input=(statement or "") if source is None else None,
                stdin=source,
                stdout=subprocess.PIPE if output is None else output,
                stderr=subprocess.PIPE,
                cwd=self.data,
                env=programs.inherited_environment(secret),
                text=True,
                check=True,
                timeout=limit_s,
            )
            return done.stdout or ""
        except subprocess.CalledProcessError as error:
            raise NoAnswerError(f"the database refused: {error.stderr.strip()}") from error
        except subprocess.TimeoutExpired as error:
            raise NoAnswerError(
                f"mariadb did not answer within {limit_s:.0f} s: is it paused, or is a lock held? "
                "--wait allows for more"
            ) from error
        except PermissionError as error:
            raise ServiceError(f"{self.data} belongs to another user: run this as them") from error
