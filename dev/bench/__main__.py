"""The command: start the servers, measure, print the table, write JSON and the chart."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from dev.bench import wrk
from dev.bench.catalogue import Measurement, chosen
from dev.bench.judging import Outcome, exit_code, lines
from dev.bench.preparing import clean_up, prepare
from dev.bench.run import Run
from dev.bench.scale import LONG, SHORT
from dev.bench.targets import TARGETS
from dev.services.errors import ServiceError
from dev.services.own import PROJECT, Services, ServicesFailed

_RESULTS = PROJECT / ".bench"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        wanted = chosen(options.only, short=options.short)
    except LookupError as error:
        sys.exit(str(error))
    if options.list:
        return _list(wanted)
    signal.signal(signal.SIGTERM, _interrupt)
    services = Services(folder=PROJECT / ".test-stacks" / "bench")
    with tempfile.TemporaryDirectory(prefix="coupon-bench-") as folder:
        try:
            wrk.provide()
            run = prepare(services, SHORT if options.short else LONG, folder=Path(folder))
            return _report(_measured(wanted, run), options, services)
        except (ServicesFailed, ServiceError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted: stopping everything", file=sys.stderr)
            return 130
        finally:
            clean_up(services)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dev.bench", description="How fast, beside what limits it."
    )
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


def _list(wanted: Sequence[Measurement]) -> int:
    for each in wanted:
        print(f"{each.name:14} {each.what}{'' if each.in_short else ' (not in the short form)'}")
    return 0


def _measured(wanted: Sequence[Measurement], run: Run) -> list[Outcome]:
    from dev.bench.measuring import measure

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
    from dev.bench import chart, machine, report, table

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


if __name__ == "__main__":
    sys.exit(main())
