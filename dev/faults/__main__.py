"""The command: start the servers, run the cases, print the table."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from dev.faults.case import LONG, SHORT
from dev.services.own import PROJECT, Services, ServicesFailed

if TYPE_CHECKING:
    from dev.faults.table import Row


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    services = Services(folder=PROJECT / ".test-stacks" / "faults")
    with tempfile.TemporaryDirectory(prefix="coupon-faults-") as folder:
        try:
            _prepare(services, Path(folder), starts=not options.list)
            rows = _run(options, services)
            if rows:
                _report(rows, options, services)
        except ServicesFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted: stopping everything", file=sys.stderr)
            return 130
        finally:
            if not options.list:
                services.stop()
    return 0 if all(row.passed for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dev.faults", description="The promises under faults.")
    parser.add_argument("--short", action="store_true", help="the most telling cases, smaller: a few minutes")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these cases alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table for docs/reliability.md"
    )
    parser.add_argument("--list", action="store_true", help="say which cases there are")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _prepare(services: Services, folder: Path, *, starts: bool) -> None:
    """Servers, settings, tables and users; Django reads its settings from the environment once."""
    os.environ.update(SECRET_KEY="only-for-the-fault-suite", DEBUG="false", COUPON_LOG_DIR=str(folder))
    os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"
    if starts:
        print("starting MariaDB, Redis and Apache Kafka ...", flush=True)
        services.start()
        services.make_database(f"coupon_faults_{os.getpid()}")
        os.environ.update(services.environment())
    import django

    django.setup()
    if starts:
        from django.core.management import call_command

        from dev.faults.scene import make_users

        call_command("migrate", verbosity=0)
        make_users(20_000)


def _run(options: argparse.Namespace, services: Services) -> list[Row]:
    from dev.faults import running
    from dev.faults.cases import ALL

    cases = [
        case
        for case in ALL
        if (case.name in options.only if options.only else case.in_short or not options.short)
    ]
    unknown = set(options.only) - {case.name for case in ALL}
    if unknown:
        sys.exit(f"there is no case {', '.join(sorted(unknown))}: --list names them")
    if options.list:
        for case in cases:
            print(f"{case.name:30} {case.what}{' (also in the short form)' if case.in_short else ''}")
        return []
    rows = []
    for number, case in enumerate(cases, start=1):
        print(f"[{number}/{len(cases)}] {case.name}: {case.what} ... ", end="", flush=True)
        row = running.run(case, scale=SHORT if options.short else LONG, services=services)
        rows.append(row)
        print(f"{row.verdict} ({row.seconds:.0f} s)", flush=True)
        for complaint in row.complaints[:10]:
            print(f"    {complaint}", flush=True)
    return rows


def _report(rows: Sequence[Row], options: argparse.Namespace, services: Services) -> None:
    from dev.faults import table

    stack, day = ", ".join(services.versions().values()), time.strftime("%Y-%m-%d", time.gmtime())
    print(f"\n{table.as_text(rows)}\n\n{stack}, {os.cpu_count()} cores, {day}")
    passed = sum(row.passed for row in rows)
    print(f"{passed} of {len(rows)} rows as they must be")
    if options.json:
        told = [asdict(row) | {"verdict": row.verdict} for row in rows]
        options.json.write_text(json.dumps({"stack": stack, "cores": os.cpu_count(), "rows": told}, indent=2))
    if options.markdown:
        options.markdown.write_text(table.as_markdown(rows) + "\n")


if __name__ == "__main__":
    sys.exit(main())
