"""``python -m dev.embedded``: run the whole system on this machine until Ctrl-C.

Exit codes: 0 stopped as asked and all accepted requests decided; 1 something failed or was
left; 2 a setting is wrong.
"""

from __future__ import annotations

import argparse
import sys

from environs import EnvError

from dev.embedded import settings as embedded_settings
from dev.embedded.signals import StopRequest
from dev.embedded.supervisor import Supervisor
from dev.processes import say
from dev.servers import ServiceError, held, refuse_shared, refuse_taken


def main() -> int:
    argparse.ArgumentParser(
        prog="python -m dev.embedded",
        description="Run the whole system on this machine until Ctrl-C: SQLite, Redis, a Kafka-compatible "
        "broker, the API, a consumer. Settings are environment variables; README.md lists them. While it "
        "runs, `. .embedded/env` lets manage.py work on the same stack.",
    ).parse_args()
    try:
        settings = embedded_settings.load()
        refuse_shared(settings.ports)
    except (EnvError, ServiceError) as error:
        say(f"settings: {error}")
        return 2
    try:
        settings.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.logs.mkdir(exist_ok=True)
    except OSError as error:
        say(f"COUPON_EMBEDDED_DIR: cannot use {settings.directory}: {error.strerror}")
        return 1
    stop = StopRequest()
    running = (
        f"runs the embedded stack in {settings.directory}: stop it with Ctrl-C there or `kill`, "
        "or set COUPON_EMBEDDED_DIR and the ports for a second one"
    )
    with stop.listening():
        try:
            with held(settings.directory / "lock", else_told=running):
                refuse_taken(settings.ports)
                return Supervisor(settings=settings, stop=stop).run()
        except ServiceError as error:
            say(str(error))
            return 1


if __name__ == "__main__":
    sys.exit(main())
