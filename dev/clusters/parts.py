"""What of a fault row's servers is a cluster."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """What is a cluster. A row names its parts; rows of the same parts run on the same servers."""

    BROKERS = "brokers"
