"""The check that gunicorn's master makes before it listens, without Django: workers import Django anew."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from runtime.config import BASE_DIR

#: Starting Django and connecting (3 s at most). Shorter, and a slow machine skips the check; longer, and a
#: server that hangs delays the start: the workers wait for it, not the master.
_PATIENCE_S: Final = 20.0


def refuse_what_cannot_work() -> None:
    """End this process with the one line of `manage.py check_connections`; a server that is away passes."""
    # The command must leave no metrics files among those of the workers.
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    try:
        done = subprocess.run(
            [sys.executable, str(BASE_DIR / "manage.py"), "check_connections", "--refuse-only"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return
    if done.returncode == 1:
        sys.exit(done.stderr.strip().removeprefix("CommandError: "))
