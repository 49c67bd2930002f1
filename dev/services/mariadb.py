"""The database: MariaDB, or MySQL where that was asked for or is what the machine has."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from dev.processes import LOOPBACK, Process
from dev.services import database_choice, database_programs, mariadb_data
from dev.services.database_choice import Choice
from dev.services.database_programs import DatabasePrograms
from dev.services.errors import ServiceError
from dev.services.mariadb_client import SOCKET, Client
from dev.services.service import Service
from dev.services.stack import APPLICATION_PASSWORD, APPLICATION_USER, DATABASE, Kind

ANSWER_WAIT_S = 5.0

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
        """Of the server that runs; otherwise of the one that a start would bring."""
        running = database_choice.last(self.stack) if self.daemon.running() else None
        return running or database_choice.for_a_start(self.stack)

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
        database_choice.require_as_asked(self.stack, running=self.choice)

    def prepare(self) -> Process:
        choice = self.choice
        account = mariadb_data.account_for(self.stack.directory)
        mariadb_data.provide(self, account)
        # A killed MySQL that its parent has not reaped still has a pid, and its successor takes that for a
        # living owner of the socket. Who owns the data is told by InnoDB's own locks.
        (self.data / f"{SOCKET}.lock").unlink(missing_ok=True)
        database_choice.remember(self.stack, choice)
        command = [
            str(self.programs.server),
            "--no-defaults",
            *mariadb_data.user_option(account),
            "--datadir=./",
            *OPTIONS,
            *KIND_OPTIONS[choice.kind],
            *self.log_options(choice),
            f"--server-id={self.server_id}",
            f"--port={self.port}",
            f"--pid-file=./{self.name}.pid",
        ]
        return self.process(command, folder=self.data)

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
        done = self.client.run_as_root(SETUP)
        if done.returncode != 0:
            raise ServiceError(f"the database could not be set up: {done.stderr.strip()}")
        login = self.client.log_in(port=self.port, statement="SELECT 1")
        if login.returncode != 0:
            password_reset = f"ALTER USER {APPLICATION_USER} IDENTIFIED BY '{APPLICATION_PASSWORD}'"
            raise ServiceError(
                f"{APPLICATION_USER} cannot log in to {DATABASE}: {login.stderr.strip()}; "
                f"if its password was changed, set it back with: "
                + self.stack.command_line(f'sql "{password_reset}"')
            )

    def version(self) -> str:
        told = self.client.ask_as_root("SELECT VERSION()", timeout_s=ANSWER_WAIT_S)
        name = {Kind.MARIADB: "MariaDB", Kind.MYSQL: "MySQL"}[self.choice.kind]
        return f"{name} {told.partition('-')[0]}" if told else ""
