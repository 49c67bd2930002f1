"""Start everything in order, watch it, stop it in the opposite order. Nothing is left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack

from dev.embedded.application import Application, environment_for, write_environment
from dev.embedded.draining import drain
from dev.embedded.settings import EmbeddedSettings
from dev.embedded.signals import StopAsked, StopRequest
from dev.embedded.stack import Server, start_broker, start_redis
from dev.embedded.terminal import welcome
from dev.processes import READINESS, Process, ProcessFailed, say, status_of, wait_until
from dev.servers import ServiceError

READY_WITHIN_S = 60.0
TELL_EVERY_S = 5.0
API_GRACE_S = 60.0  #: above any graceful_timeout of gunicorn's: it has its own end
CONSUMER_GRACE_S = 20.0
RESTARTS = 3


class RestartedConsumer:
    """The consumer, and its replacement when it has ended.

    Stopping everything at its death would lose what is accepted and not decided, because the broker's
    log lives in memory; a consumer that comes back decides it.
    """

    def __init__(self, *, start: Callable[[], Process]) -> None:
        self._start = start
        self._restarts_left = RESTARTS
        self.process = start()

    def restart_if_ended(self) -> None:
        """Raises ProcessFailed when it has ended too often."""
        if self.process.running:
            return
        ended = _ended(self.process)
        if not self._restarts_left:
            raise ended
        self._restarts_left -= 1
        say(f"\n{ended}\nIt starts again; the broker gives it its partitions within some 10 s.")
        self.process = self._start()


class Supervisor:
    """One run of the stack.

    Each thing that starts leaves its stop on an ExitStack. Started in the order Redis, broker,
    consumer, API, they stop in the opposite one, which is the order that loses nothing: no new
    claims, then the rest decided, then the servers.
    """

    def __init__(self, *, settings: EmbeddedSettings, stop: StopRequest) -> None:
        self._settings = settings
        self._stop = stop
        self._all_well = True

    def run(self) -> int:
        """Run until a signal comes or something fails. Returns the exit code."""
        with ExitStack() as running:
            try:
                self._run(running)
            except StopAsked:
                say("\nstopping (a second Ctrl-C stops at once)")
            except (ServiceError, ProcessFailed) as error:
                say(f"\n{error}\n\nstopping everything")
                self._all_well = False
        say("everything has stopped")
        return 0 if self._all_well else 1

    def _run(self, running: ExitStack) -> None:
        settings = self._settings
        redis = start_redis(directory=settings.logs, port=settings.redis_port)
        running.callback(self._end, redis.process, grace_s=redis.stop_grace_s)
        say(f"Redis    {redis.address}  ({redis.origin})")
        self._go_on()
        broker = start_broker(directory=settings.logs, port=settings.kafka_port)
        running.callback(self._end, broker.process, grace_s=broker.stop_grace_s)
        say(f"Kafka    {broker.address}  ({broker.origin})")
        self._go_on()
        application = self._prepared_application(redis=redis, broker=broker)
        consumer = RestartedConsumer(start=application.start_consumer)
        running.callback(self._stop_consumer, consumer, broker)
        api = application.start_api()
        running.callback(self._stop_api, api)
        self._wait_until_ready(servers=[redis.process, broker.process], api=api, consumer=consumer.process)
        say(welcome(settings=settings, redis=redis, broker=broker))
        self._watch(essential=[broker.process, api], consumer=consumer, redis=redis.process)

    def _prepared_application(self, *, redis: Server, broker: Server) -> Application:
        environment = environment_for(
            settings=self._settings, servers={**redis.env, **broker.env}, inherited=os.environ
        )
        write_environment(self._settings.directory / "env", environment)
        application = Application(settings=self._settings, environment=environment, stop=self._stop)
        say(f"Database {self._settings.database}")
        application.prepare()
        return application

    def _wait_until_ready(self, *, servers: list[Process], api: Process, consumer: Process) -> None:
        """Until API and consumer say they are ready. Raises ProcessFailed or StopAsked."""
        started = told = time.monotonic()
        for process, url in ((api, self._settings.api_url), (consumer, self._settings.consumer_url)):
            say(f"waiting for {process.name}")
            while status_of(url + READINESS) != 200:
                self._go_on()
                _refuse_ended([*servers, api, consumer])
                now = time.monotonic()
                if now - started > READY_WITHIN_S:
                    raise process.failure(f"({url}) was not ready after {READY_WITHIN_S:.0f} s")
                if now - told > TELL_EVERY_S:
                    told = now
                    say(f"  still waiting ({now - started:.0f} s)")
                self._stop.asked.wait(0.2)

    def _watch(self, *, essential: list[Process], consumer: RestartedConsumer, redis: Process) -> None:
        """Until a signal comes (StopAsked) or something ends that cannot be replaced (ProcessFailed).

        Redis may go: the application works on without it, slower, and people try just that.
        """
        redis_ran = True
        while True:
            self._stop.asked.wait(0.5)
            self._go_on()
            _refuse_ended(essential)
            consumer.restart_if_ended()
            if redis_ran and not redis.running:
                redis_ran = False
                say(
                    f"\nRedis has ended ({redis.how_it_ended()}). Claims go on without it, slower. "
                    "Ctrl-C and a new start bring it back."
                )

    def _go_on(self) -> None:
        if self._stop.asked.is_set():
            raise StopAsked

    def _stop_api(self, api: Process) -> None:
        if api.running:
            say("  the API: finishing the claims in hand")
        self._end(api, grace_s=API_GRACE_S)

    def _stop_consumer(self, consumer: RestartedConsumer, broker: Server) -> None:
        process = consumer.process
        if not self._stop.at_once.is_set():
            self._all_well &= drain(settings=self._settings, broker=broker, consumer=process, stop=self._stop)
        self._end(process, grace_s=CONSUMER_GRACE_S)

    def _end(self, process: Process, *, grace_s: float) -> None:
        """Stop it, with all that it started; a second Ctrl-C ends the patience."""
        process.ask_to_stop()
        wait_until(lambda: not process.running or self._stop.at_once.is_set(), within_s=grace_s)
        process.kill()
        say(f"  {process.name}: stopped")


def _refuse_ended(children: list[Process]) -> None:
    for child in children:
        if not child.running:
            raise _ended(child)


def _ended(process: Process) -> ProcessFailed:
    return process.failure(f"has ended ({process.how_it_ended()})")
