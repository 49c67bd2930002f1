"""The command: start the servers, measure, print the table, write JSON and the chart."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from bench import wrk
from bench.judging import Outcome, exit_code, lines
from bench.scale import LONG, SHORT
from bench.targets import TARGETS
from deploy.services.errors import ServiceError
from deploy.services.own import PROJECT, Services, ServicesFailed

if TYPE_CHECKING:
    from bench.measurements import Measurement

_RESULTS = PROJECT / ".bench"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    services = Services(folder=PROJECT / ".test-stacks" / "bench")
    with tempfile.TemporaryDirectory(prefix="coupon-bench-") as folder:
        _prepare_environment(Path(folder))
        try:
            wanted = _wanted(options)
            if options.list:
                return _list(wanted)
            wrk.provide()
            outcomes = _measured(wanted, options, services)
            return _report(outcomes, options, services)
        except (ServicesFailed, ServiceError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted: stopping everything", file=sys.stderr)
            return 130
        finally:
            if not options.list:
                _stop(services)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast, beside what limits it.")
    parser.add_argument("--short", action="store_true", help="less of everything: under three minutes")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these measurements alone")
    parser.add_argument("--floors", action="store_true", help="fail if a ratio is below its floor")
    parser.add_argument("--json", type=Path, metavar="FILE", default=_RESULTS / "bench.json")
    parser.add_argument("--chart", type=Path, metavar="FILE", default=_RESULTS / "bench.png")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--list", action="store_true", help="say which measurements there are")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wanted(options: argparse.Namespace) -> list[Measurement]:
    from bench.measurements import ALL

    if unknown := set(options.only) - {each.name for each in ALL}:
        sys.exit(f"there is no measurement {', '.join(sorted(unknown))}: --list names them")
    return [
        each
        for each in ALL
        if (each.name in options.only if options.only else each.in_short or not options.short)
    ]


def _list(wanted: Sequence[Measurement]) -> int:
    for each in wanted:
        print(f"{each.name:14} {each.what}{'' if each.in_short else ' (not in the short form)'}")
    return 0


def _prepare_environment(folder: Path) -> None:
    """Settings as they ship; Django reads them from the environment once."""
    for name in [name for name in os.environ if name.startswith("COUPON_")]:
        del os.environ[name]
    os.environ.update(SECRET_KEY="only-for-the-benchmark", DEBUG="false", COUPON_LOG_DIR=str(folder))
    os.environ["DJANGO_SETTINGS_MODULE"] = "couponsite.settings"


def _measured(
    wanted: Sequence[Measurement], options: argparse.Namespace, services: Services
) -> list[Outcome]:
    from bench.measuring import measure, prepare

    scale = SHORT if options.short else LONG
    run = prepare(services, scale)
    outcomes = []
    for number, each in enumerate(wanted, start=1):
        print(f"[{number}/{len(wanted)}] {each.name}: {each.what} ... ", end="", flush=True)
        outcome = measure(each, run)
        print(f"{outcome.seconds:.0f} s", flush=True)
        for complaint in outcome.complaints[:10]:
            print(f"    {complaint}", flush=True)
        outcomes.append(outcome)
    return outcomes


def _report(outcomes: Sequence[Outcome], options: argparse.Namespace, services: Services) -> int:
    from bench import chart, machine, report, table

    facts, judged = machine.facts(services), lines(outcomes, TARGETS)
    print(f"\n{table.as_text(judged)}\n\n{machine.line(facts)}")
    for remark in report.remarks(outcomes):
        print(remark)
    report.write(options.json, facts=facts, judged=judged, outcomes=outcomes, is_short=options.short)
    if chart.draw(options.chart, outcomes=outcomes, facts=facts):
        print(f"chart: {options.chart}")
    print(f"all of it: {options.json}")
    if options.markdown:
        options.markdown.write_text(table.as_markdown(judged) + "\n")
    return exit_code(judged, with_floors=options.floors)


def _stop(services: Services) -> None:
    from bench.measuring import drop_database

    drop_database(services)
    services.stop()


if __name__ == "__main__":
    sys.exit(main())
