"""What gunicorn's master asks before it listens. Django stays out of the master: workers import it anew."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from runtime.config import BASE_DIR

#: A database that does not answer is waited for by the workers, not here: connecting takes 3 s at the most.
_PATIENCE_S: Final = 20.0


def refuse_a_database_that_cannot_work() -> None:
    """End this process with the one line of `manage.py check_database`, and let one that is away be."""
    # The command's metrics are nobody's: it must leave no files among those of the workers.
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    try:
        done = subprocess.run(
            [sys.executable, str(BASE_DIR / "manage.py"), "check_database"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return
    if done.returncode == 1:
        sys.exit(done.stderr.strip())
