"""The subjects, in the order in which they are told."""

from __future__ import annotations

from typing import Any, Final

from coupons.operations.preflight import machine, site
from coupons.operations.preflight.database import use
from coupons.operations.preflight.findings import Subject
from coupons.operations.preflight.kafka import cluster
from coupons.operations.preflight.redis import judging

SUBJECTS: Final[tuple[Subject[Any], ...]] = (
    site.SUBJECT,
    machine.SUBJECT,
    use.SUBJECT,
    judging.SUBJECT,
    cluster.SUBJECT,
)
