"""What a person or a script is told: the state of the servers, and how to use them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dev import tables
from dev.processes import LOOPBACK
from dev.services.service import Service
from dev.services.stack import APPLICATION_PASSWORD, APPLICATION_USER, DATABASE, Stack, replace_text


class State(StrEnum):
    UP = "up"  # runs and answers
    DOWN = "down"
    PAUSED = "paused"
    SILENT = "silent"  # runs and does not answer: still starting, or hung


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    name: str
    pid: int | None
    port: int
    state: State
    version: str


def status_of(service: Service) -> Status:
    record = service.daemon.running()
    if record is None:
        state = State.DOWN
    elif service.daemon.paused():
        state = State.PAUSED
    else:
        state = State.UP if service.answers() else State.SILENT
    pid, version = record.pid if record else None, service.version() if state is State.UP else ""
    return Status(name=service.name, pid=pid, port=service.port, state=state, version=version)


def table(statuses: Sequence[Status]) -> str:
    head = ("NAME", "PID", "PORT", "STATE", "VERSION")
    rows = [(s.name, str(s.pid or "-"), str(s.port), s.state.value, s.version or "-") for s in statuses]
    return tables.as_text([head, *rows], left=range(len(head)))


def environment(services: Sequence[Service]) -> dict[str, str]:
    """The project's settings that lead to these servers, all three of a stack."""
    ports = {service.name: service.port for service in services}
    login = f"{APPLICATION_USER}:{APPLICATION_PASSWORD}"
    return {
        "DATABASE_URL": f"mysql://{login}@{LOOPBACK}:{ports['mariadb']}/{DATABASE}",
        "REDIS_URL": f"redis://{LOOPBACK}:{ports['redis']}/0",
        "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{ports['kafka']}",
    }


def _exports(services: Sequence[Service]) -> list[str]:
    return [f"export {name}={value}\n" for name, value in environment(services).items()]


def write_environment(stack: Stack, services: Sequence[Service]) -> None:
    replace_text(stack.env_file, "".join(_exports(services)))


def how_to_go_on(stack: Stack, services: Sequence[Service], *, client: Path) -> str:
    relative = os.path.relpath(stack.env_file)
    env_file = shlex.quote(str(stack.env_file) if relative.startswith("..") else relative)
    port = next(service.port for service in services if service.name == "mariadb")
    login = f"-u {APPLICATION_USER} -p{APPLICATION_PASSWORD} {DATABASE}"
    return f"""
The settings of this stack, also in {env_file}:
  {"  ".join(_exports(services))}
The database:
  {client} --default-character-set=utf8mb4 -h {LOOPBACK} -P {port} {login}

How to go on:
  . {env_file}
  export SECRET_KEY=$(openssl rand -hex 32)
  .venv/bin/python manage.py migrate
  .venv/bin/python manage.py create_topics
  .venv/bin/python manage.py seed
  .venv/bin/gunicorn -c couponsite/gunicorn_conf.py couponsite.wsgi
and in a second terminal, after the first two of these lines
  .venv/bin/python manage.py run_coupon_consumer"""
