"""Every case, in the order they run: on single servers, and (CLUSTERED) on clusters."""

from __future__ import annotations

from dev.faults.case import Case
from dev.faults.cases import (
    alerts,
    brokers,
    bugs,
    deploys,
    encrypted,
    failovers,
    links,
    log,
    positions,
    processes,
    servers,
    settings,
)

ALL: list[Case] = [
    *processes.CASES,
    *servers.CASES,
    *links.CASES,
    *log.CASES,
    *positions.CASES,
    *settings.CASES,
    *alerts.CASES,
    *deploys.CASES,
    *bugs.CASES,
]

#: Those of the same parts stand together: the servers are started anew where the parts change.
CLUSTERED: list[Case] = [*brokers.CASES, *failovers.CASES, *encrypted.CASES]
