"""The command: start the servers, measure, print the table, write JSON and the chart."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from django.db import Error as DatabaseLayerError
from redis.exceptions import RedisError

from dev import suite
from dev.bench import wrk
from dev.bench.catalogue import ALL, Measurement
from dev.bench.judging import Outcome, exit_code, lines
from dev.bench.run import Run
from dev.bench.scale import LONG, SHORT
from dev.bench.targets import TARGETS
from dev.processes import PROJECT
from dev.services.kafka import JAVA_PERFORMANCE_VARIABLE
from dev.services.own import Services

_RESULTS: Final = PROJECT / ".bench"
#: Those of Kafka's own start script, bin/kafka-run-class.sh: a broker as others run it.
_JAVA_PERFORMANCE_OPTIONS: Final = (
    "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 "
    "-XX:+ExplicitGCInvokesConcurrent"
)
#: What may go wrong with one measurement: it is red, and the others go on.
_BROKEN: Final = (
    AssertionError,
    RuntimeError,
    ValueError,
    OSError,
    subprocess.SubprocessError,
    DatabaseLayerError,
    RedisError,
    KafkaException,
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = suite.parser("bench", "How fast, beside what limits it.")
    parser.set_defaults(json=_RESULTS / "bench.json")
    parser.add_argument("--floors", action="store_true", help="fail if a ratio is below its floor")
    parser.add_argument("--before", type=Path, metavar="DIR", help="another checkout, in turn with this one")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="other than what ships"
    )
    parser.add_argument("--chart", type=Path, metavar="FILE", default=_RESULTS / "bench.png")
    options = parser.parse_args(arguments)
    wanted = suite.chosen(ALL, options)
    if options.list:
        suite.show(wanted)
        return 0
    wanted = [each for each in wanted if options.only or each.in_full]
    if options.before and not (options.before / "manage.py").is_file():
        parser.error(f"--before: {options.before} is no checkout of this project")
    for name in [name for name in os.environ if name.startswith("COUPON_")]:
        del os.environ[name]  # the settings are those that ship
    os.environ.setdefault(JAVA_PERFORMANCE_VARIABLE, _JAVA_PERFORMANCE_OPTIONS)
    for name, equals, value in (each.partition("=") for each in options.setting):
        if not equals:
            parser.error(f"--setting {name}: say NAME=VALUE")
        os.environ[name] = value
    return suite.on_own_servers("bench", lambda services: _run(wanted, options, services))


def _run(wanted: Sequence[Measurement], options: argparse.Namespace, services: Services) -> int:
    from dev.bench import chart, database, machine, report, stage

    wrk.program()
    run = Run(services, SHORT if options.short else LONG, options.before and options.before.resolve())
    print(f"making {run.scale.users:,} users ...", flush=True)
    database.make_users(run.scale.users)
    print(f"warming the broker for {run.scale.broker_warm_s} s ...", flush=True)
    stage.warm_broker(run)
    outcomes = suite.in_turn(
        wanted, lambda each: _measure(each, run), told=lambda outcome: f"{outcome.seconds:.0f} s"
    )
    facts, judged = machine.facts(services), lines(outcomes, TARGETS)
    print(f"\n{report.as_text(judged)}\n\n{machine.line(facts)}")
    for remark in report.remarks(outcomes):
        print(remark)
    report.write(options.json, facts=facts, judged=judged, outcomes=outcomes, is_short=options.short)
    if chart.draw(options.chart, outcomes=outcomes, facts=facts):
        print(f"chart: {options.chart}")
    print(f"all of it: {options.json}")
    if options.markdown:
        options.markdown.write_text(report.as_markdown(judged) + "\n")
    if len(outcomes) < len(wanted):
        return suite.INTERRUPTED
    return exit_code(judged, with_floors=options.floors)


def _measure(measurement: Measurement, run: Run) -> Outcome:
    started, load = time.monotonic(), os.getloadavg()[0]
    module, _, function = measurement.function.partition(".")
    try:
        outcome: Outcome = getattr(import_module(f"dev.bench.measurements.{module}"), function)(run)
    except _BROKEN as error:
        told = f"not measured: {type(error).__name__}: {error}"[:1000]
        outcome = Outcome(name=measurement.name, complaints=[told])
    details = outcome.details | {"load_average_before": load}
    return replace(outcome, details=details, seconds=time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
