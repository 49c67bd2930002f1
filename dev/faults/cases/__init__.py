"""Every case, in the order they run."""

from __future__ import annotations

from dev.faults.case import Case
from dev.faults.cases import bugs, links, log, positions, processes, servers, settings

ALL: list[Case] = [
    *processes.CASES,
    *servers.CASES,
    *links.CASES,
    *log.CASES,
    *positions.CASES,
    *settings.CASES,
    *bugs.CASES,
]
