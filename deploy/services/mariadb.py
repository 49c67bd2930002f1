"""MariaDB, or MySQL 8 where that is what the machine has."""

from __future__ import annotations

import os
import pwd
import subprocess
from functools import cached_property
from pathlib import Path

from deploy.services import mariadb_data, programs
from deploy.services.errors import NoAnswerError, ServiceError
from deploy.services.ports import LOOPBACK
from deploy.services.process import Launch
from deploy.services.service import Service
from deploy.services.stack import APPLICATION_PASSWORD, APPLICATION_USER, DATABASE

SERVER_PACKAGES = ("mariadb-server", "default-mysql-server")
CLIENT_PACKAGES = ("mariadb-client", "default-mysql-client")
ANSWER_WAIT_S = 5.0

#: Relative to the data folder, where server and client both stand: no folder is too deep for it
#: (a socket's path may have no more than 107 bytes). Only the folder's owner and root get there.
SOCKET = "./mariadb.sock"

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
    "--skip-log-bin",
    "--performance-schema=OFF",
)
#: MySQL alone: it would open a second port, and insist on a folder of its package's.
MYSQL_OPTIONS = ("--mysqlx=OFF", "--secure-file-priv=NULL")

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

    @property
    def folder(self) -> Path:
        return self.stack.directory / "mariadb"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @cached_property
    def program(self) -> Path:
        return programs.require(["mariadbd", "mysqld"], packages=SERVER_PACKAGES)

    @cached_property
    def client(self) -> Path:
        return programs.require(["mariadb", "mysql"], packages=CLIENT_PACKAGES)

    @cached_property
    def is_mysql(self) -> bool:
        """By its own word: mysqld is often a link to mariadbd."""
        return "mariadb" not in programs.version_text(self.program).lower()

    def prepare(self) -> Launch:
        account = mariadb_data.account_for(self.stack.directory)
        mariadb_data.provide(
            folder=self.folder,
            program=self.program,
            is_mysql=self.is_mysql,
            account=account,
            log=self.daemon.log,
        )
        command = [
            str(self.program),
            "--no-defaults",
            *mariadb_data.user_option(account),
            "--datadir=./",
            *OPTIONS,
        ]
        command += [
            f"--port={self.port}",
            f"--pid-file=./{self.name}.pid",
            *(MYSQL_OPTIONS if self.is_mysql else ()),
        ]
        if not self.is_mysql:
            command.append("--collation-server=utf8mb4_unicode_ci")
        return Launch(command=command, directory=self.data, environment=programs.inherited_environment())

    def answers(self) -> bool:
        return self._ask_as_root("SELECT 1") == "1"

    def finish(self) -> None:
        """The database and the application's user. A login as that user over TCP is the proof."""
        done = self.run_as_root(SETUP)
        if done.returncode != 0:
            raise ServiceError(f"the database could not be set up: {done.stderr.strip()}")
        login = self._run_client(
            [
                f"--host={LOOPBACK}",
                f"--port={self.port}",
                "--protocol=tcp",
                f"--user={APPLICATION_USER}",
                DATABASE,
            ],
            statement="SELECT 1",
            password=APPLICATION_PASSWORD,
        )
        if login.returncode != 0:
            password_reset = f"ALTER USER {APPLICATION_USER} IDENTIFIED BY '{APPLICATION_PASSWORD}'"
            raise ServiceError(
                f"{APPLICATION_USER} cannot log in to {DATABASE}: {login.stderr.strip()}; "
                f"if its password was changed, set it back with: "
                + self.stack.command_line(f'sql "{password_reset}"')
            )

    def version(self) -> str:
        told = self._ask_as_root("SELECT VERSION()")
        return f"{'MySQL' if self.is_mysql else 'MariaDB'} {told.partition('-')[0]}" if told else ""

    def run_as_root(
        self, statement: str, *, table: bool = False, timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run SQL with every right, through the socket. The caller looks at the return code."""
        # MariaDB knows the system's user at the other end of the socket. MySQL's root has no password, and
        # reaches the server through the socket alone.
        login = "root" if self.is_mysql else pwd.getpwuid(os.geteuid()).pw_name
        arguments = [f"--socket={SOCKET}", "--protocol=socket", f"--user={login}"]
        return self._run_client(
            [*arguments, *(["--table"] if table else [])], statement=statement, timeout_s=timeout_s
        )

    def _ask_as_root(self, question: str) -> str:
        """The one value that answers; empty when there is none in time."""
        try:
            told = self.run_as_root(question, timeout_s=ANSWER_WAIT_S)
        except NoAnswerError:
            return ""
        return told.stdout.strip().rpartition("\n")[2] if told.returncode == 0 else ""

    def _run_client(
        self,
        arguments: list[str],
        *,
        statement: str,
        password: str | None = None,
        timeout_s: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Raises ServiceError when the server takes too long, by default longer than the stack's wait."""
        limit_s = self.stack.wait_s if timeout_s is None else timeout_s
        secret = {} if password is None else {"MYSQL_PWD": password}  # not in the process list
        try:
            return subprocess.run(
                [str(self.client), "--no-defaults", "--default-character-set=utf8mb4", *arguments],
                input=statement,
                cwd=self.data,
                env=programs.inherited_environment(secret),
                capture_output=True,
                text=True,
                check=False,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired as error:
            raise NoAnswerError(
                f"mariadb did not answer within {limit_s:.0f} s: is it paused, or is a lock held? "
                "--wait allows for more"
            ) from error
        except PermissionError as error:
            raise ServiceError(f"{self.data} belongs to another user: run this as them") from error
