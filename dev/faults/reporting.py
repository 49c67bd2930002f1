"""What a run found: printed, and written into the files that were asked for."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from dev.faults import table
from dev.faults.table import Row


def report(rows: Sequence[Row], *, stack: str, options: argparse.Namespace) -> int:
    """Returns the exit code."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    print(f"\n{table.as_text(rows)}\n\n{stack}, {os.cpu_count()} cores, {day}")
    for row in rows:
        if not row.passed:
            # Said once already, in its turn; a CI shows the last lines.
            print(
                "\n".join((f"{row.name} is {row.verdict}:", *(f"    {each}" for each in row.complaints[:10])))
            )
    passed = sum(row.passed for row in rows)
    print(f"{passed} of {len(rows)} rows as they must be")
    if options.json:
        told = [asdict(row) | {"verdict": row.verdict} for row in rows]
        options.json.write_text(json.dumps({"stack": stack, "cores": os.cpu_count(), "rows": told}, indent=2))
    if options.markdown:
        options.markdown.write_text(table.as_markdown(rows) + "\n")
    return int(passed < len(rows))


def read(file: Path) -> tuple[list[Row], str]:
    """The rows and the stack that ``report`` wrote."""
    told = json.loads(file.read_text())
    names = {each.name for each in fields(Row)}
    rows = [Row(**{name: value for name, value in row.items() if name in names}) for row in told["rows"]]
    return rows, told["stack"]
