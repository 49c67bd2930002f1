#!/usr/bin/env python3
"""Dump the database, or restore a dump into an empty one. Python's standard library and MySQL's client alone.

    DATABASE_URL=mysql://user:password@host:3306/name deploy/backup/backup.py dump FOLDER
    DATABASE_URL=mysql://user:password@host:3306/name deploy/backup/backup.py restore FILE.sql.gz
    deploy/backup/backup.py dump FOLDER --in-container     (Compose's: its own client, user and password)

A dump is of one moment, so that positions and outcomes agree; claims and consumers go on meanwhile. Beside it
stands a file of the settings that the environment has, without secrets. What to do with Kafka and Redis, and
what comes after a restore: docs/operations.md, "Backup and restore".
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

OURS = re.compile(r"(COUPON|DATABASE|REDIS|KAFKA)_\w+|ALLOWED_HOSTS|CSRF_TRUSTED_ORIGINS|DEBUG|SECRET_KEY\w*")
#: A URL may have a password in it, and so may Kafka's own properties.
SECRET = re.compile(r"\w*(SECRET|PASSWORD|_URL|CLIENT_CONFIG|SSL_KEY)\w*")
#: A dump that ends otherwise is a part of one: the server went away, or the disk was full.
COMPLETED = b"-- Dump completed"
#: MariaDB's tool begins with it, and MySQL's client takes it for a command.
SANDBOX = b"/*M!999999\\- enable the sandbox mode"
#: The password is the container's own, which has it in its environment.
IN_CONTAINER = (
    *("docker", "compose", "exec", "-T", "mysql"),
    *("sh", "-c", 'MYSQL_PWD="$MYSQL_PASSWORD" exec "$@"', "--"),
)
TLS = {
    "--ssl-ca": "DATABASE_SSL_CA",
    "--ssl-cert": "DATABASE_SSL_CERTIFICATE",
    "--ssl-key": "DATABASE_SSL_KEY",
}
CHUNK = 1 << 20


class BackupError(RuntimeError):
    """What a person must mend."""


@dataclass(frozen=True)
class Database:
    host: str
    port: int
    user: str
    password: str
    name: str

    @classmethod
    def of(cls, url: str) -> Database:
        parts = urlsplit(url)
        if parts.scheme not in ("mysql", "mysql+pymysql") or not parts.path.strip("/"):
            raise BackupError("DATABASE_URL must be mysql://user:password@host:3306/name")
        return cls(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            name=unquote(parts.path.strip("/")),
        )


@dataclass(frozen=True)
class Client:
    """MySQL's or MariaDB's programs: this machine's, or those in Compose's container."""

    database: Database
    is_in_container: bool

    def command(self, names: Sequence[str], *words: str) -> list[str]:
        if self.is_in_container:
            return [*IN_CONTAINER, names[-1], "--host=127.0.0.1", f"--user={self.database.user}", *words]
        program = next(filter(None, map(shutil.which, names)), None)
        if program is None:
            raise BackupError(f"none of {', '.join(names)} is here: install mariadb-client or mysql-client")
        there = [f"--host={self.database.host}", f"--port={self.database.port}", "--protocol=tcp"]
        tls = [f"{word}={os.environ[name]}" for word, name in TLS.items() if os.environ.get(name)]
        return [program, *there, *tls, f"--user={self.database.user}", *words]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "MYSQL_PWD": self.database.password,
        }  # not on the command line, which all can read

    def ask(self, statement: str) -> str:
        words = ["--batch", "--skip-column-names", f"--execute={statement}", self.database.name]
        done = subprocess.run(
            self.command(["mariadb", "mysql"], *words),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise BackupError(done.stderr.strip() or "the database did not answer")
        return done.stdout.strip()


def dump(client: Client, folder: Path) -> Path:
    """Write the dump; it appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{client.database.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    file, unfinished = folder / f"{name}.sql.gz", folder / f"{name}.sql.gz.new"
    words = [
        "--single-transaction",
        "--quick",
        "--no-tablespaces",
        "--hex-blob",
        "--default-character-set=utf8mb4",
    ]
    command = client.command(["mariadb-dump", "mysqldump"], *words, client.database.name)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: unfinished.unlink(missing_ok=True))
        process = stack.enter_context(_started(command, client, stdout=subprocess.PIPE))
        tail = b""
        with gzip.open(unfinished, "wb", compresslevel=6) as written:
            while data := process.stdout.read(CHUNK):
                written.write(data)
                tail = (tail + data)[-200:]
        if process.wait() != 0 or COMPLETED not in tail:
            raise BackupError("the dump is not whole: see what the client said above")
        os.sync()
        unfinished.replace(file)
    (folder / f"{name}.settings").write_text(_settings())
    return file


def restore(client: Client, file: Path) -> None:
    """Load a dump into an empty database. One that has tables is refused: nothing is overwritten."""
    tables = client.ask("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()")
    if tables != "0":
        raise BackupError(
            f"the database {client.database.name} has {tables} tables: name an empty one "
            "(CREATE DATABASE … CHARACTER SET utf8mb4) in DATABASE_URL"
        )
    _refuse_a_part(file)
    words = ["--default-character-set=utf8mb4", client.database.name]
    with _started(client.command(["mariadb", "mysql"], *words), client, stdin=subprocess.PIPE) as process:
        try:
            with gzip.open(file, "rb") as read:
                first = read.readline()
                process.stdin.write(b"" if first.startswith(SANDBOX) else first)
                shutil.copyfileobj(read, process.stdin, CHUNK)
            process.stdin.close()
        except BrokenPipeError:
            pass  # the client ended, and said why
        if process.wait() != 0:
            raise BackupError("the dump was not loaded whole: see what the client said above")


def _refuse_a_part(file: Path) -> None:
    tail = b""
    try:
        with gzip.open(file, "rb") as read:
            while data := read.read(CHUNK):
                tail = (tail + data)[-200:]
    except (OSError, EOFError) as error:
        raise BackupError(f"{file} cannot be read whole: {error}") from error
    if COMPLETED not in tail:
        raise BackupError(f"{file} is no whole dump: its last line is missing")


@contextlib.contextmanager
def _started(command: Sequence[str], client: Client, **pipes: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=client.environment(), **pipes)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _settings() -> str:
    lines = ["# The settings beside this dump. Secrets are kept elsewhere.\n"]
    for name in sorted(filter(OURS.fullmatch, os.environ)):
        is_secret = SECRET.fullmatch(name) and not name.endswith("_FILE")
        lines.append(f"#{name}=(secret)\n" if is_secret else f"{name}={os.environ[name]}\n")
    return "".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("dump").add_argument("path", type=Path, metavar="FOLDER")
    actions.add_parser("restore").add_argument("path", type=Path, metavar="FILE")
    for action in actions.choices.values():
        action.add_argument("--in-container", action="store_true", help="with the client in Compose's mysql")
    options = parser.parse_args()
    try:
        url = (
            os.environ.get("DATABASE_URL")
            or Path(os.environ.get("DATABASE_URL_FILE", os.devnull)).read_text()
        )
        client = Client(Database.of(url.strip()), options.in_container)
        if options.action == "dump":
            file = dump(client, options.path)
            print(f"{file} ({file.stat().st_size:,} bytes)")
        else:
            restore(client, options.path)
            print("restored. Next, before a consumer starts: manage.py migrate, manage.py log_position show")
    except (BackupError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
