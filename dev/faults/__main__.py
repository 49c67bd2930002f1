"""The command: start the servers, run the cases, print the table."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dev import suite
from dev.faults.case import LONG, SHORT
from dev.services.own import Services


def main(arguments: Sequence[str] | None = None) -> int:
    options = suite.parser("faults", "The promises under faults.").parse_args(arguments)
    if not options.list:
        return suite.on_own_servers("faults", lambda services: _run(options, services))
    with tempfile.TemporaryDirectory() as folder:
        suite.set_up_django(Path(folder))
        from dev.faults.cases import ALL

        suite.show(suite.chosen(ALL, options))
    return 0


def _run(options: argparse.Namespace, services: Services) -> int:
    from dev.faults import running, scene, table
    from dev.faults.cases import ALL

    cases = suite.chosen(ALL, options)
    scene.make_users(20_000)
    scale = SHORT if options.short else LONG
    rows = suite.in_turn(
        cases,
        lambda case: running.run(case, scale=scale, services=services),
        told=lambda row: f"{row.verdict} ({row.seconds:.0f} s)",
    )
    stack, day = ", ".join(services.versions().values()), time.strftime("%Y-%m-%d", time.gmtime())
    print(f"\n{table.as_text(rows)}\n\n{stack}, {os.cpu_count()} cores, {day}")
    passed = sum(row.passed for row in rows)
    print(f"{passed} of {len(rows)} rows as they must be")
    if options.json:
        told = [asdict(row) | {"verdict": row.verdict} for row in rows]
        options.json.write_text(json.dumps({"stack": stack, "cores": os.cpu_count(), "rows": told}, indent=2))
    if options.markdown:
        options.markdown.write_text(table.as_markdown(rows) + "\n")
    return int(passed < len(rows))


if __name__ == "__main__":
    sys.exit(main())
