"""These tests ask the running system over HTTP, as docs/api.md describes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system import System


@pytest.fixture
def _consumer_stands_still(running: System) -> Iterator[None]:
    """What is claimed stays undecided. For less time than the group waits for a silent member."""
    with running.consumers[0].paused():
        yield
