#!/usr/bin/env python3
"""Dump the database, or restore a dump into an empty one. Python's standard library and MySQL's client alone.

    DATABASE_URL=mysql://user:password@host:3306/name deploy/backup/backup.py dump FOLDER
    DATABASE_URL=mysql://user:password@host:3306/name deploy/backup/backup.py restore FILE.sql.gz
    deploy/backup/backup.py dump FOLDER --in-container     (Compose's: its own client, user and password)

A dump is of one moment, so that positions and outcomes agree; claims and consumers go on meanwhile. Beside it
stands a file of the settings that the environment has, without secrets. What to do with Kafka and Redis, and
what comes after a restore: docs/operations.md, "Backup and restore".
Speaks Korean where COUPON_LANGUAGE=ko, or where the shell does.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
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
#: The variables that tell the language, the first one that is set: as manage.py's commands have it.
LANGUAGES = ("COUPON_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
KOREAN = {
    __doc__: """데이터베이스를 덤프하거나 빈 데이터베이스에 복원합니다.
파이썬 표준 라이브러리와 MySQL 클라이언트만 씁니다.

    DATABASE_URL=mysql://user:password@host:3306/name deploy/backup/backup.py dump FOLDER
    DATABASE_URL=mysql://user:password@host:3306/name deploy/backup/backup.py restore FILE.sql.gz
    deploy/backup/backup.py dump FOLDER --in-container     (Compose의 클라이언트, 사용자, 비밀번호로)

덤프는 한 순간의 것이어서 위치와 결과가 서로 맞습니다. 그동안 신청과 컨슈머는 계속됩니다.
덤프 옆에 환경에 있는 설정을 비밀값 없이 파일로 남깁니다.
Kafka와 Redis는 어떻게 하는지, 복원한 다음에는 무엇을 하는지: docs/operations.ko.md, "백업과 복원".
COUPON_LANGUAGE=ko이거나 셸이 한국어이면 한국어로 말합니다.
""",
    "with the client in Compose's mysql": "Compose의 mysql에 있는 클라이언트로",
    "error: {error}": "오류: {error}",
    "DATABASE_URL must be mysql://user:password@host:3306/name": (
        "DATABASE_URL은 mysql://user:password@host:3306/name이어야 합니다"
    ),
    "none of {names} is here: install mariadb-client or mysql-client": (
        "{names} 중 아무것도 없습니다: mariadb-client나 mysql-client를 설치하세요"
    ),
    "the database did not answer": "데이터베이스가 응답하지 않았습니다",
    "the dump is not whole: see what the client said above": (
        "덤프가 온전하지 않습니다: 위에 클라이언트가 적은 것을 보세요"
    ),
    "the database {name} has {tables} tables: name an empty one (CREATE DATABASE … CHARACTER SET utf8mb4) in "
    "DATABASE_URL": (
        "데이터베이스 {name}에 테이블이 {tables}개 있습니다: DATABASE_URL에 빈 데이터베이스를 적으세요 "
        "(CREATE DATABASE … CHARACTER SET utf8mb4)"
    ),
    "the dump was not loaded whole: see what the client said above": (
        "덤프를 끝까지 읽어 들이지 못했습니다: 위에 클라이언트가 적은 것을 보세요"
    ),
    "{file} cannot be read whole: {error}": "{file}: 끝까지 읽을 수 없습니다: {error}",
    "{file} is no whole dump: its last line is missing": "{file}: 온전한 덤프가 아닙니다 (마지막 줄 없음)",
    "{megabytes:,} MB dumped": "{megabytes:,} MB 덤프함",
    "{percent} % checked": "{percent} % 확인함",
    "{percent} % restored": "{percent} % 복원함",
    "{file} ({size:,} bytes)": "{file} ({size:,}바이트)",
    "restored. Next, before a consumer starts: manage.py migrate, manage.py log_position show": (
        "복원했습니다. 컨슈머를 시작하기 전에: manage.py migrate, manage.py log_position show"
    ),
}


def say(text: str, **values: object) -> str:
    """The text in the operator's language; English where the terminal cannot show Hangul."""
    language = next(filter(None, (os.environ.get(name) for name in LANGUAGES)), "")
    told = KOREAN[text] if re.match(r"ko\b|ko_", language) else text
    try:
        told.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        told = text
    return told.format(**values) if values else told


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """What shows how far it is, on a terminal: in one line, which ends with the block."""
    shown = []

    def show(text: str) -> None:
        if sys.stderr and sys.stderr.isatty():
            shown.append(text)
            print(f"\r{text}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print(file=sys.stderr)


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
            raise BackupError(say("DATABASE_URL must be mysql://user:password@host:3306/name"))
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
            raise BackupError(
                say("none of {names} is here: install mariadb-client or mysql-client", names=", ".join(names))
            )
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
            raise BackupError(done.stderr.strip() or say("the database did not answer"))
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
        tail, size = b"", 0
        with progress() as show, gzip.open(unfinished, "wb", compresslevel=6) as written:
            while data := process.stdout.read(CHUNK):
                written.write(data)
                tail, size = (tail + data)[-200:], size + len(data)
                show(say("{megabytes:,} MB dumped", megabytes=size >> 20))
        if process.wait() != 0 or COMPLETED not in tail:
            raise BackupError(say("the dump is not whole: see what the client said above"))
        os.sync()
        unfinished.replace(file)
    (folder / f"{name}.settings").write_text(_settings())
    return file


def restore(client: Client, file: Path) -> None:
    """Load a dump into an empty database. One that has tables is refused: nothing is overwritten."""
    tables = client.ask("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()")
    if tables != "0":
        raise BackupError(
            say(
                "the database {name} has {tables} tables: name an empty one (CREATE DATABASE … CHARACTER SET "
                "utf8mb4) in DATABASE_URL",
                name=client.database.name,
                tables=tables,
            )
        )
    _refuse_a_part(file)
    words = ["--default-character-set=utf8mb4", client.database.name]
    with _started(client.command(["mariadb", "mysql"], *words), client, stdin=subprocess.PIPE) as process:
        try:
            with progress() as show, open(file, "rb") as packed, gzip.open(packed) as read:
                first = read.readline()
                process.stdin.write(b"" if first.startswith(SANDBOX) else first)
                while data := read.read(CHUNK):
                    process.stdin.write(data)
                    show(say("{percent} % restored", percent=percent(packed, file)))
            process.stdin.close()
        except BrokenPipeError:
            pass  # the client ended, and said why
        if process.wait() != 0:
            raise BackupError(say("the dump was not loaded whole: see what the client said above"))


def percent(opened: BinaryIO, file: Path) -> int:
    """How much of the file is read."""
    return 100 * opened.tell() // max(1, file.stat().st_size)


def _refuse_a_part(file: Path) -> None:
    tail = b""
    try:
        with progress() as show, open(file, "rb") as packed, gzip.open(packed) as read:
            while data := read.read(CHUNK):
                tail = (tail + data)[-200:]
                show(say("{percent} % checked", percent=percent(packed, file)))
    except (OSError, EOFError) as error:
        raise BackupError(say("{file} cannot be read whole: {error}", file=file, error=error)) from error
    if COMPLETED not in tail:
        raise BackupError(say("{file} is no whole dump: its last line is missing", file=file))


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
        description=say(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("dump").add_argument("path", type=Path, metavar="FOLDER")
    actions.add_parser("restore").add_argument("path", type=Path, metavar="FILE")
    for action in actions.choices.values():
        action.add_argument(
            "--in-container", action="store_true", help=say("with the client in Compose's mysql")
        )
    options = parser.parse_args()
    try:
        url = (
            os.environ.get("DATABASE_URL")
            or Path(os.environ.get("DATABASE_URL_FILE", os.devnull)).read_text()
        )
        client = Client(Database.of(url.strip()), options.in_container)
        if options.action == "dump":
            file = dump(client, options.path)
            print(say("{file} ({size:,} bytes)", file=file, size=file.stat().st_size))
        else:
            restore(client, options.path)
            print(
                say(
                    "restored. Next, before a consumer starts: manage.py migrate, manage.py log_position show"
                )
            )
    except (BackupError, OSError, subprocess.SubprocessError) as error:
        print(say("error: {error}", error=error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
