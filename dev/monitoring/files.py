"""Where the watch's files are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dev.processes import PROJECT

MONITORING: Final = PROJECT / "deploy/monitoring"
RUNBOOKS: Final = PROJECT / "docs/runbooks"


def rules(folder: Path) -> list[Path]:
    return sorted((folder / "rules").glob("*.yml"))


def tests_of_rules(folder: Path) -> list[Path]:
    return sorted((folder / "tests").glob("*.yml"))


def dashboards(folder: Path) -> list[Path]:
    return sorted((folder / "grafana/dashboards").glob("*.json"))
