"""The database: MariaDB, or MySQL where that was asked for or is what the machine has."""

from __future__ import annotations

import os
import pwd
import shutil
from functools import cached_property
from pathlib import Path

from dev.processes import LOOPBACK, Process
from dev.servers import ServiceError
from dev.services import database_programs, programs
from dev.services.daemon import Choice
from dev.services.database_programs import SERVER_PACKAGES, DatabasePrograms
from dev.services.mariadb_client import SOCKET, Client, NoAnswerError
from dev.services.service import Service
from dev.services.stack import APPLICATION_PASSWORD, APPLICATION_USER, DATABASE, Kind

ANSWER_WAIT_S = 5.0
INSTALL_TIMEOUT_S = 180.0

OPTIONS = (
    f"--socket={SOCKET}",
    f"--bind-address={LOOPBACK}",
    "--skip-name-resolve",
    "--default-time-zone=+00:00",
    "--transaction-isolation=READ-COMMITTED",
    "--character-set-server=utf8mb4",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=512M",
    "--max-connections=300",
    "--performance-schema=OFF",
)
KIND_OPTIONS = {
    Kind.MARIADB: ("--collation-server=utf8mb4_unicode_ci",),
    # It would open a second port, and insist on a folder of its package's.
    Kind.MYSQL: ("--mysqlx=OFF", "--secure-file-priv=NULL"),
}
#: With a log, an application's user may make no trigger, as the fault suite's does, unless it is trusted.
BINLOG_OPTIONS = {
    Kind.MARIADB: ("--log-bin=binlog", "--binlog-format=ROW", "--log-bin-trust-function-creators=ON"),
    Kind.MYSQL: ("--log-bin=binlog", "--log-bin-trust-function-creators=ON"),
}
#: A replica asks for what it lacks by the transactions' ids. MariaDB always has them.
GTID_OPTIONS = {
    Kind.MARIADB: (),
    Kind.MYSQL: ("--gtid-mode=ON", "--enforce-gtid-consistency=ON"),
}
#: It runs as whoever starts it, and wants to hear so from root. It listens on loopback alone.
_USER_OPTION = ("--user=root",) if os.geteuid() == 0 else ()

#: The databases of the project, of its tests, and of anything a person tries beside them.
SETUP = "\n".join(
    [
        f"CREATE DATABASE IF NOT EXISTS `{DATABASE}` CHARACTER SET utf8mb4;",
        f"CREATE USER IF NOT EXISTS '{APPLICATION_USER}'@'%' IDENTIFIED BY '{APPLICATION_PASSWORD}';",
        *(
            f"GRANT ALL PRIVILEGES ON `{databases}`.* TO '{APPLICATION_USER}'@'%';"
            for databases in (DATABASE, r"test\_%", r"coupon\_%")
        ),
    ]
)


class MariaDB(Service):
    name = "mariadb"
    stop_wait_s = 60.0
    server_id = 1

    @property
    def choice(self) -> Choice:
        """Of the server that runs; otherwise as asked, else as last time, else what the machine has."""
        record, stack = self.daemon.last_record(), self.stack
        last = record.choice if record else None
        if last and self.daemon.running():
            return last
        kind = stack.asked_kind or (last.kind if last else database_programs.kind_at_hand())
        as_last_time = last is not None and last.binlog
        return Choice(kind=kind, binlog=as_last_time if stack.asked_binlog is None else stack.asked_binlog)

    @property
    def folder(self) -> Path:
        """Each kind has one of its own: neither can read the other's files."""
        return self.stack.directory / self.choice.kind

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @cached_property
    def programs(self) -> DatabasePrograms:
        return database_programs.provide(self.choice.kind, directory=self.stack.directory)

    @property
    def client(self) -> Client:
        return Client(programs=self.programs, kind=self.choice.kind, data=self.data, wait_s=self.stack.wait_s)

    def require_as_asked(self) -> None:
        """A server that runs is never taken for another one."""
        kind, binlog = self.stack.asked_kind, self.stack.asked_binlog
        if kind not in (None, self.choice.kind):
            other = f"--database {kind}"
        elif binlog not in (None, self.choice.binlog):
            other = "--binlog" if binlog else "--no-binlog"
        else:
            return
        has = f"is {self.choice.kind}, with {'a' if self.choice.binlog else 'no'} binary log"
        line = self.stack.command_line(f"restart mariadb {other}")
        raise ServiceError(f"the database that runs {has}: change that with `{line}`")

    def prepare(self) -> Process:
        choice = self.choice
        self._make_data()
        # A killed MySQL that its parent has not reaped still has a pid, and its successor takes that for a
        # living owner of the socket. Who owns the data is told by InnoDB's own locks.
        (self.data / f"{SOCKET}.lock").unlink(missing_ok=True)
        command = [
            str(self.programs.server),
            "--no-defaults",
            *_USER_OPTION,
            "--datadir=./",
            *OPTIONS,
            *KIND_OPTIONS[choice.kind],
            *self.log_options(choice),
            f"--server-id={self.server_id}",
            f"--port={self.port}",
            f"--pid-file=./{self.name}.pid",
        ]
        return self.process(command, folder=self.data)

    def _make_data(self) -> None:
        """Have the data folder; one whose making was interrupted is made anew."""
        unfinished = self.folder / "data.new"
        self.folder.mkdir(exist_ok=True, mode=0o700)
        if self.data.exists():
            return
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        self.process(self._install_command(), folder=unfinished).run(
            within_s=INSTALL_TIMEOUT_S, failing="the database's data folder could not be made"
        )
        unfinished.rename(self.data)

    def _install_command(self) -> list[str]:
        """Relative to the new data folder: a space in the path above it cannot hurt."""
        common = ["--no-defaults", "--datadir=./", *_USER_OPTION]
        if self.choice.kind is Kind.MYSQL:
            return [str(self.programs.server), *common, "--initialize-insecure"]
        installer = programs.require(["mariadb-install-db", "mysql_install_db"], packages=SERVER_PACKAGES)
        return [
            str(installer), *common, "--skip-test-db", "--skip-name-resolve",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={pwd.getpwuid(os.geteuid()).pw_name}",
        ]  # fmt: skip

    def log_options(self, choice: Choice) -> tuple[str, ...]:
        # Killed while it kept one: a transaction that stands in both needs it once more to recover.
        was_killed = (self.data / f"{self.name}.pid").exists() and (self.data / "binlog.index").exists()
        if not choice.binlog and not was_killed:
            return ("--skip-log-bin",)
        return (*BINLOG_OPTIONS[choice.kind], *GTID_OPTIONS[choice.kind])

    def answers(self) -> bool:
        return self.client.ask_as_root("SELECT 1", timeout_s=ANSWER_WAIT_S) == "1"

    def finish(self) -> None:
        """The database and the application's user. A login as that user over TCP is the proof."""
        self.client.run_as_root(SETUP)
        try:
            self.client.log_in(port=self.port)
        except NoAnswerError as error:
            password_reset = f"ALTER USER {APPLICATION_USER} IDENTIFIED BY '{APPLICATION_PASSWORD}'"
            raise ServiceError(
                f"{APPLICATION_USER} cannot log in to {DATABASE}: {error}; "
                f"if its password was changed, set it back with: "
                + self.stack.command_line(f'sql "{password_reset}"')
            ) from error

    def version(self) -> str:
        told = self.client.ask_as_root("SELECT VERSION()", timeout_s=ANSWER_WAIT_S)
        name = {Kind.MARIADB: "MariaDB", Kind.MYSQL: "MySQL"}[self.choice.kind]
        return f"{name} {told.partition('-')[0]}" if told else ""
