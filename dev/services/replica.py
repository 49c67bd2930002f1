"""A second database that follows the first: to lag behind it, and to take its place."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from dev.processes import LOOPBACK, Process
from dev.servers import ServiceError
from dev.services.daemon import Choice
from dev.services.mariadb import GTID_OPTIONS, MariaDB
from dev.services.stack import APPLICATION_PASSWORD, Kind, Stack

USER = "replication"
PASSWORD = APPLICATION_PASSWORD
CATCH_UP_S = 60
COPIED = "copied"  #: this file in the data folder: the copy is whole, and is followed or was promoted

#: The system's own tables are not copied: each server has its accounts from its own start.
DATABASES = """
SELECT GROUP_CONCAT(SCHEMA_NAME SEPARATOR ' ') FROM information_schema.SCHEMATA
WHERE SCHEMA_NAME NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema');
"""
#: The dump says at which transaction it was taken; from there the replica asks on.
POSITION_IN_DUMP = {
    Kind.MARIADB: ("--master-data=1", "--gtid"),
    Kind.MYSQL: ("--set-gtid-purged=ON",),
}
FOLLOW = {
    Kind.MARIADB: (
        "CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, MASTER_USER = '{user}', "
        "MASTER_PASSWORD = '{password}', MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos;"
    ),
    Kind.MYSQL: (
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{host}', SOURCE_PORT = {port}, SOURCE_USER = '{user}', "
        "SOURCE_PASSWORD = '{password}', SOURCE_CONNECT_RETRY = 1, SOURCE_AUTO_POSITION = 1, "
        "GET_SOURCE_PUBLIC_KEY = 1;"
    ),
}
POSITION = {Kind.MARIADB: "@@GLOBAL.gtid_binlog_pos", Kind.MYSQL: "@@GLOBAL.gtid_executed"}
#: 0 when it was reached in time.
WAIT_FOR_POSITION = {
    Kind.MARIADB: "SELECT MASTER_GTID_WAIT('{position}', {seconds});",
    Kind.MYSQL: "SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds});",
}


class Replica(MariaDB):
    """Begins as a copy of the first database at each start, and refuses every write until it is promoted."""

    name = "replica"
    server_id = 2

    def __init__(self, *, stack: Stack) -> None:
        super().__init__(stack=stack)
        self.primary = MariaDB(stack=stack)

    @property
    def choice(self) -> Choice:
        """The primary's kind; nothing follows a replica, so it has no binary log of its own."""
        return Choice(kind=self.primary.choice.kind, binlog=False)

    @property
    def folder(self) -> Path:
        return self.stack.directory / f"{self.choice.kind}-replica"

    def require_as_asked(self) -> None:
        """What was asked for is the primary's business."""

    def prepare(self) -> Process:
        if self.primary.daemon.running() is None or not self.primary.choice.binlog:
            line = self.stack.command_line("restart mariadb --binlog")
            raise ServiceError(f"a replica needs a primary with a binary log: start it with `{line}`")
        shutil.rmtree(self.folder, ignore_errors=True)
        return super().prepare()

    def log_options(self, choice: Choice) -> tuple[str, ...]:
        return ("--skip-log-bin", "--read-only=ON", *GTID_OPTIONS[choice.kind])

    def finish(self) -> None:
        """Accounts first; then everything that the primary has, and on from there. Once for each start."""
        if (self.data / COPIED).exists():
            return
        super().finish()
        kind = self.choice.kind
        self.primary.client.run_as_root(
            f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT REPLICATION SLAVE ON *.* TO '{USER}'@'%';"
        )
        databases = self.primary.client.ask_as_root(DATABASES).split()
        with tempfile.TemporaryFile("w+") as copy:
            self.primary.client.dump(*POSITION_IN_DUMP[kind], "--databases", *databases, to=copy)
            copy.seek(0)
            self.client.feed(copy)
        where = {"host": LOOPBACK, "port": self.primary.port, "user": USER, "password": PASSWORD}
        self.client.run_as_root(FOLLOW[kind].format(**where))
        self.follow()
        (self.data / COPIED).touch()

    def follow(self) -> None:
        """Go on following, and return when all is here that the primary has now."""
        kind = self.choice.kind
        self.client.run_as_root("START REPLICA;")
        position = self.primary.client.ask_as_root(f"SELECT REPLACE({POSITION[kind]}, '\\n', '');")
        wait = WAIT_FOR_POSITION[kind].format(position=position, seconds=CATCH_UP_S)
        if self.client.ask_as_root(wait, timeout_s=CATCH_UP_S + 10) != "0":
            state = self.client.run_as_root("SHOW REPLICA STATUS\\G")
            raise ServiceError(f"the replica did not catch up within {CATCH_UP_S} s:\n{state}")

    def lag(self) -> None:
        """Fetch nothing more: what the primary commits from now on is not here."""
        self.client.run_as_root("STOP REPLICA;")

    def promote(self) -> None:
        """Take the primary's place as it stands: nothing more is fetched, and writes are welcome."""
        self.client.run_as_root("STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only = 0;")
