"""The command: parse, run, tell what is wrong."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from dev.monitoring import files
from dev.servers import ServiceError
from dev.services import programs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.monitoring", description="The watch's own tests.")
    parser.add_argument("action", choices=["lint", "test"])
    return _lint() if parser.parse_args(arguments).action == "lint" else _test()


def _lint() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "couponsite.settings")
    import django

    django.setup()
    from dev.monitoring import lint

    wrong = lint.wrong(files.MONITORING, files.RUNBOOKS)
    for each in wrong:
        print(each, file=sys.stderr)
    if not wrong:
        print("alerts, runbooks, dashboards and metrics go together")
    return bool(wrong)


def _test() -> int:
    try:
        promtool = programs.require(["promtool"], packages=["prometheus"])
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rules = [str(path) for path in files.rules(files.MONITORING)]
    # Its rule_files are paths of the container; without them the rest can be checked anywhere.
    words = (
        ["check", "config", "--syntax-only", str(files.MONITORING / "prometheus.yml")],
        ["check", "rules", *rules],
        ["test", "rules", *(str(path) for path in files.tests_of_rules(files.MONITORING))],
    )
    return max(subprocess.run([str(promtool), *each], check=False).returncode for each in words)


if __name__ == "__main__":
    sys.exit(main())
