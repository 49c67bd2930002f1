"""What the fault suite and the benchmark have in common: the command line, servers, the way through."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar

from dev.processes import PROJECT, ProcessFailed, interrupt_by
from dev.servers import ServiceError
from dev.services.own import Services
from tests.system import System


class Item(Protocol):
    """A case, a measurement."""

    @property
    def name(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def in_short(self) -> bool: ...


class Result(Protocol):
    @property
    def seconds(self) -> float: ...
    @property
    def complaints(self) -> Sequence[str]: ...


T = TypeVar("T", bound=Item)
R = TypeVar("R", bound=Result)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m dev.{name}", description=description)
    parser.add_argument("--short", action="store_true", help="the most telling ones, smaller: a few minutes")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was found as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--list", action="store_true", help="say which there are")
    return parser


def chosen(items: Sequence[T], options: argparse.Namespace) -> list[T]:
    """Those named, else all, else the short form's. Ends the program where there is none of a name."""
    if unknown := set(options.only) - {each.name for each in items}:
        sys.exit(f"there is no {', '.join(sorted(unknown))}: --list names all there are")
    return [
        each
        for each in items
        if (each.name in options.only if options.only else each.in_short or not options.short)
    ]


def show(items: Sequence[Item]) -> None:
    width = max(len(each.name) for each in items)
    for each in items:
        print(f"{each.name:{width}} {each.what}{' (also in the short form)' if each.in_short else ''}")


INTERRUPTED: Final = 130  #: the exit code, as a shell has it after Ctrl-C


def in_turn(items: Sequence[T], run: Callable[[T], R], *, told: Callable[[R], str]) -> list[R]:
    """Run them one after the other, and say how each went.

    Ctrl-C, or SIGTERM, ends it with the results until then: they may have taken half an hour. Without any it
    is raised.
    """
    results: list[R] = []
    for number, each in enumerate(items, start=1):
        print(f"[{number}/{len(items)}] {each.name}: {each.what} ... ", end="", flush=True)
        try:
            result = run(each)
        except KeyboardInterrupt:
            if not results:
                raise
            print(f"interrupted after {len(results)} of {len(items)}", flush=True)
            break
        print(told(result), flush=True)
        for complaint in result.complaints[:10]:
            print(f"    {complaint}", flush=True)
        results.append(result)
    return results


def on_own_servers(name: str, run: Callable[[Services], int], services: Services | None = None) -> int:
    """Start the servers and Django on an empty database, run, and stop everything; also after Ctrl-C."""
    interrupt_by(signal.SIGTERM)
    services = services or Services(folder=folder_of(name))
    database = f"coupon_{name}_{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix=f"coupon-{name}-") as folder:
        try:
            print("starting the servers ...", flush=True)
            services.start()
            services.make_database(database)
            set_up_django(Path(folder), **services.environment())
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            return run(services)
        except (ServiceError, ProcessFailed) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted: stopping everything", file=sys.stderr)
            return INTERRUPTED
        finally:
            with suppress(ServiceError):  # a full run leaves gigabytes
                services.sql(f"DROP DATABASE IF EXISTS {database}")
            services.stop()


def folder_of(name: str) -> Path:
    """Of the suite's servers."""
    return PROJECT / ".test-stacks" / name


def set_up_django(folder: Path, **servers: str) -> None:
    """Django reads its settings from the environment once."""
    os.environ.update(SECRET_KEY=secrets.token_hex(32), DEBUG="false", COUPON_LOG_DIR=str(folder), **servers)
    os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
    import django

    django.setup()


def verified(
    system: System,
    *words: str,
    within_s: float,
    may_note: str = "",
    may_find: Callable[[Mapping[str, str]], bool] = lambda finding: False,
) -> list[str]:
    """What ``manage.py verify`` finds wrong; empty if it is clean. Notes with the words may be there."""
    try:
        done = system.manage("verify", "--json", *words, timeout_s=within_s)
    except subprocess.TimeoutExpired as error:
        return [f"verify did not answer: {error}"]
    try:
        report = json.loads(done.stdout)
    except ValueError:  # it refused, and says why
        return [f"verify: {done.stderr.strip()[-300:]}"]
    found = [f"{each['check']}: {each['message']}" for each in report["findings"] if not may_find(each)]
    notes = [note for note in report["notes"] if not may_note or may_note not in note]
    return [f"verify: {each}" for each in (*found[:20], *report["unchecked"], *notes)]
