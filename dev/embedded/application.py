"""The application as commands: prepare its database and topics, start API and consumer."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dev.embedded.settings import EmbeddedSettings
from dev.embedded.signals import StopAsked, StopRequest
from dev.embedded.stack import fresh
from dev.embedded.terminal import ADMIN_NAME, ADMIN_PASSWORD
from dev.processes import Process, wait_until

COMMAND_WITHIN_S = 300.0
MANAGE = (sys.executable, "manage.py")
#: The beginnings of variables that say where servers are and how they are reached; and one that would
#: contradict this stack's own.
_OF_SERVERS = ("DATABASE_", "REDIS_", "KAFKA_", "SECRET_KEY_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """This project's own processes on one embedded stack."""

    settings: EmbeddedSettings
    environment: Mapping[str, str]
    stop: StopRequest

    def prepare(self) -> None:
        """Tables, first rows, a login for the Django admin (one that exists is left as it is), topics."""
        self._run("migrate", "--noinput")
        self._run("seed")
        if not has_user(database=self.settings.database, name=ADMIN_NAME):
            self._run("createsuperuser", "--noinput")
        self._run("create_topics")

    def start_api(self) -> Process:
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "couponsite/gunicorn_conf.py", "couponsite.wsgi"]
        # SIGTERM, also when the supervisor was killed: gunicorn's master takes its workers along.
        return self._start("the API", "api", gunicorn, dies_by=signal.SIGTERM)

    def start_consumer(self) -> Process:
        return self._start("the consumer", "consumer", [*MANAGE, "run_coupon_consumer"])

    def _start(
        self, name: str, log: str, command: list[str], *, dies_by: signal.Signals = signal.SIGKILL
    ) -> Process:
        log_file = fresh(self.settings.logs / f"{log}.log")
        process = Process(name=name, command=command, log=log_file, env=self.environment, dies_by=dies_by)
        return process.start()

    def _run(self, *arguments: str) -> None:
        """Run one command of manage.py to its end. Raises ProcessFailed, or StopAsked on Ctrl-C."""
        [command, *_] = arguments
        process = self._start(f"manage.py {command}", command, [*MANAGE, *arguments])
        wait_until(
            lambda: not process.running or self.stop.asked.is_set(), within_s=COMMAND_WITHIN_S, every_s=0.1
        )
        if process.process.returncode == 0:
            return
        failure = process.failure(process.how_it_ended())
        process.ask_to_stop()
        wait_until(lambda: not process.running or self.stop.at_once.is_set(), within_s=5)
        process.kill()
        raise StopAsked if self.stop.asked.is_set() else failure


def environment_for(
    *, settings: EmbeddedSettings, servers: Mapping[str, str], inherited: Mapping[str, str]
) -> dict[str, str]:
    """The application's variables: the caller's own, with this stack's services put over them.

    Servers that the caller has exported are never used here, nor how they are reached: they may be
    production's.
    """
    inherited = {name: value for name, value in inherited.items() if not name.startswith(_OF_SERVERS)}
    return {
        "SECRET_KEY": secret_key(settings.directory / "secret_key"),
        **inherited,
        **servers,
        "DJANGO_SETTINGS_MODULE": "couponsite.settings",
        "DATABASE_URL": f"sqlite:///{quote(str(settings.database))}",
        "COUPON_API_PORT": str(settings.api_port),
        "COUPON_HEALTH_PORT": str(settings.health_port),
        "COUPON_LOG_DIR": str(settings.application_logs),
        "DJANGO_SUPERUSER_USERNAME": ADMIN_NAME,
        "DJANGO_SUPERUSER_PASSWORD": ADMIN_PASSWORD,
        "DJANGO_SUPERUSER_EMAIL": "admin@example.com",
        "PYTHONUNBUFFERED": "1",
    }


def write_environment(path: Path, environment: Mapping[str, str]) -> None:
    """What makes `manage.py` work on this stack, for the shell: `. .embedded/env`."""
    names = ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "COUPON_LOG_DIR")
    path.touch(mode=0o600)
    path.write_text("".join(f"export {name}={shlex.quote(environment[name])}\n" for name in names))


def secret_key(path: Path) -> str:
    """Django's signing key of this directory, made once, so that logins outlive a restart."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text(encoding="ascii")


def has_user(*, database: Path, name: str) -> bool:
    """Is there a login of this name? Asked from the file: createsuperuser's refusal is just text."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT 1 FROM auth_user WHERE username = ?", (name,)).fetchone()
    return found is not None
