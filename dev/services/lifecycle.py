"""Start, stop, kill, pause and resume, for any choice of the servers."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from dev.processes import last_lines, say, wait_until
from dev.servers import ServiceError, refuse_shared, refuse_taken
from dev.services.service import Service
from dev.services.stack import variable


def start(services: Sequence[Service], *, everything: Sequence[Service]) -> None:
    """Have these servers running and answering; those that already are stay as they are."""
    refuse_shared({name: port for each in everything for name, port in each.ports.items()})
    log_starts: dict[str, int] = {}
    fresh = [service for service in services if _must_be_spawned(service)]
    for service in fresh:
        refuse_taken(service.ports)
    for service in fresh:
        server, log = service.prepare(), service.daemon.log
        log_starts[service.name] = log.stat().st_size if log.exists() else 0
        service.daemon.start(server, service.choice)
    for service in services:
        _wait_for_answer(service, log_start=log_starts.get(service.name, 0))
        service.finish()
        record = service.daemon.running()
        state = "started" if service in fresh else "already running"
        pid = record.pid if record else "?"
        say(f"{service.name}: {state} on port {service.port}, pid {pid} ({service.version()})")


def _must_be_spawned(service: Service) -> bool:
    running = service.daemon.running()
    if running is None:
        return True
    asked = service.stack.asked_ports.get(service.name, running.port)
    if asked != running.port:
        raise ServiceError(
            f"{service.name} already runs on port {running.port}, not {asked}: leave out its flag and "
            f"{variable(service.name)}, or first run "
            f"`{service.stack.command_line(f'stop {service.name}')}`"
        )
    service.require_as_asked()
    if service.daemon.paused():
        line = service.stack.command_line(f"resume {service.name}")
        raise ServiceError(f"{service.name} is paused: let it go on with `{line}`")
    return False


def _wait_for_answer(service: Service, *, log_start: int) -> None:
    """Until the server answers; it may also end, and then waiting on is pointless."""

    def settled() -> bool:
        return service.daemon.running() is None or service.answers()

    wait_s = service.stack.wait_s
    if wait_until(settled, within_s=wait_s, every_s=0.2) and service.daemon.running():
        return
    log = service.daemon.log
    told = f"{log} ends:\n{last_lines(log, start=log_start)}"
    if service.daemon.running() is None:
        raise ServiceError(f"{service.name} ended while starting; {told}")
    raise ServiceError(
        f"{service.name} runs but did not answer within {wait_s:.0f} s; start again to wait on, with "
        f"--wait for longer; {told}"
    )


def stop(services: Sequence[Service]) -> None:
    """Ask all of them at once, then wait for each; what does not end in time is killed."""
    running = [service for service in services if service.daemon.running()]
    for service in running:
        service.daemon.ask_to_stop()
    for service in services:
        if service not in running:
            say(f"{service.name}: not running")
        elif service.daemon.wait_for_end(within_s=service.stop_wait_s):
            say(f"{service.name}: stopped")
        else:
            service.daemon.kill()
            say(f"{service.name}: killed, {service.stop_wait_s:.0f} s after it was asked to stop")


def kill(services: Sequence[Service]) -> None:
    """SIGKILL: no goodbye, nothing flushed, as in a crash."""
    for service in services:
        ran = service.daemon.running() is not None
        service.daemon.kill()
        say(f"{service.name}: {'killed' if ran else 'not running'}")


def pause(services: Sequence[Service]) -> None:
    """SIGSTOP: connections stay open and nothing answers, as with a hung server."""
    _signal_running(services, signal.SIGSTOP, "paused")


def resume(services: Sequence[Service]) -> None:
    """SIGCONT: paused servers go on."""
    _signal_running(services, signal.SIGCONT, "goes on")


def _signal_running(services: Sequence[Service], number: signal.Signals, told: str) -> None:
    for service in services:
        require_running(service)
    for service in services:
        service.daemon.signal(number)

    def all_followed() -> bool:
        return all(service.daemon.paused() is (number is signal.SIGSTOP) for service in services)

    if not wait_until(all_followed, within_s=10, every_s=0.01):
        raise ServiceError(f"{number.name} was sent but not followed within 10 s: see `ps`")
    for service in services:
        say(f"{service.name}: {told}")


def require_running(service: Service) -> None:
    if service.daemon.running() is None:
        line = service.stack.command_line(f"start {service.name}")
        raise ServiceError(f"{service.name} is not running: start it with `{line}`")
