"""The command: start the servers, run the cases, print the table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dev import suite
from dev.clusters.parts import Part
from dev.clusters.servers import ClusterServers
from dev.faults import clustered, reporting
from dev.faults.case import CLUSTERS_LONG, CLUSTERS_SHORT, LONG, SHORT, Case
from dev.services.own import Services


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.list or options.clusters == []:
        with tempfile.TemporaryDirectory() as folder:
            suite.set_up_django(Path(folder))
            cases = suite.chosen(_all(options), options)
        if not options.list:
            return clustered.run_by_parts(cases, options)
        suite.show(cases)
        return 0
    servers: Services | None = None
    if options.clusters:
        servers = ClusterServers(folder=suite.folder_of("faults"), parts=options.clusters)
    return suite.on_own_servers("faults", lambda services: _run(options, services), servers)


def _parser() -> argparse.ArgumentParser:
    parser = suite.parser("faults", "The promises under faults.")
    parser.add_argument(
        "--clusters",
        nargs="*",
        type=Part,
        metavar="PART",
        help="in place of the others the faults of clusters, over TLS; with parts, those on just these: "
        + ", ".join(Part),
    )
    return parser


def _all(options: argparse.Namespace) -> list[Case]:
    from dev.faults.cases import ALL, CLUSTERED

    if options.clusters is None:
        return ALL
    return [each for each in CLUSTERED if not options.clusters or each.parts == set(options.clusters)]


def _run(options: argparse.Namespace, services: Services) -> int:
    from dev.faults import former, running, scene

    cases = suite.chosen(_all(options), options)
    left_out = [each.name for each in cases if each.begins_with_former and not former.is_at_hand()]
    if left_out and options.only:
        former.require()
    cases = [each for each in cases if each.name not in left_out]
    scene.make_users(20_000)
    long, short = (CLUSTERS_LONG, CLUSTERS_SHORT) if options.clusters else (LONG, SHORT)
    scale = short if options.short else long
    rows = suite.in_turn(
        cases,
        lambda case: running.run(case, scale=scale, services=services),
        told=lambda row: f"{row.verdict} ({row.seconds:.0f} s)",
    )
    if left_out:
        print(f"NOT RUN: {', '.join(left_out)}: {former.MISSING}")
    code = reporting.report(rows, stack=", ".join(services.versions().values()), options=options)
    return code if len(rows) == len(cases) else suite.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
