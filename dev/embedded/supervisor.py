"""Start everything in order, watch it, stop it in the opposite order. Nothing is left behind."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from dev.embedded.application import Application, environment_for, write_environment
from dev.embedded.draining import drain
from dev.embedded.errors import ProcessFailed, StackError, StopAsked
from dev.embedded.process import ChildProcess
from dev.embedded.readiness import status_of
from dev.embedded.restarting import RestartedConsumer, ended_error
from dev.embedded.settings import EmbeddedSettings
from dev.embedded.signals import StopRequest
from dev.embedded.stack import Server, start_broker, start_redis
from dev.embedded.terminal import say, welcome

READY_WITHIN_S = 60.0
TELL_EVERY_S = 5.0
API_GRACE_S = 60.0  #: above any graceful_timeout of gunicorn's: it has its own end
CONSUMER_GRACE_S = 20.0
READINESS = "/actuator/health/readiness"


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
            except StackError as error:
                say(f"\n{error}\n\nstopping everything")
                self._all_well = False
        say("everything has stopped")
        return 0 if self._all_well else 1

    def _run(self, running: ExitStack) -> None:
        settings = self._settings
        redis = start_redis(directory=settings.logs, port=settings.redis_port)
        running.callback(self._stop_server, redis)
        say(f"Redis    {redis.address}  ({redis.origin})")
        self._go_on()
        broker = start_broker(
            directory=settings.logs,
            port=settings.kafka_port,
            kind=settings.broker,
            topics=(settings.topic, settings.dead_letter_topic),
        )
        running.callback(self._stop_server, broker)
        say(f"Kafka    {broker.address}  ({broker.origin})")
        self._go_on()
        application = self._prepared_application(redis=redis, broker=broker)
        consumer = RestartedConsumer(start=application.start_consumer)
        running.callback(self._stop_consumer, consumer, broker)
        api = application.start_api()
        running.callback(self._stop_api, api)
        self._wait_until_ready([redis.process, broker.process, consumer.process, api])
        say(welcome(settings=settings, redis=redis, broker=broker))
        self._watch(essential=[broker.process, api], consumer=consumer, redis=redis.process)

    def _prepared_application(self, *, redis: Server, broker: Server) -> Application:
        environment = environment_for(
            settings=self._settings, servers={**redis.env, **broker.env}, inherited=os.environ
        )
        write_environment(self._settings.directory / "env", environment)
        application = Application(settings=self._settings, environment=environment, stop=self._stop)
        say(f"Database {self._settings.database}")
        application.migrate()
        application.seed()
        application.create_admin_once()
        if broker.creates_topics:
            application.create_topics()
        return application

    def _wait_until_ready(self, children: list[ChildProcess]) -> None:
        """Until API and consumer say they are ready. Raises ProcessFailed or StopAsked."""
        waiting = {
            "the API": self._settings.api_url + READINESS,
            "the consumer": self._settings.consumer_url + READINESS,
        }
        started = told = time.monotonic()
        say("waiting for the API and the consumer")
        while waiting:
            self._go_on()
            _refuse_ended(children)
            waiting = {name: url for name, url in waiting.items() if status_of(url) != 200}
            now = time.monotonic()
            if waiting and now - started > READY_WITHIN_S:
                raise _not_ready(waiting, children)
            if waiting and now - told > TELL_EVERY_S:
                told = now
                say(f"  still waiting for {' and '.join(waiting)} ({now - started:.0f} s)")
            self._stop.asked.wait(0.2)

    def _watch(
        self, *, essential: list[ChildProcess], consumer: RestartedConsumer, redis: ChildProcess
    ) -> None:
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

    def _stop_api(self, api: ChildProcess) -> None:
        if api.running:
            say("  the API: finishing the claims in hand")
        self._end(api, grace_s=API_GRACE_S)

    def _stop_consumer(self, consumer: RestartedConsumer, broker: Server) -> None:
        process = consumer.process
        if not self._stop.at_once.is_set():
            self._all_well &= drain(settings=self._settings, broker=broker, consumer=process, stop=self._stop)
        self._end(process, grace_s=CONSUMER_GRACE_S)

    def _stop_server(self, server: Server) -> None:
        self._end(server.process, grace_s=server.stop_grace_s)

    def _end(self, process: ChildProcess, *, grace_s: float) -> None:
        """Stop it; a second Ctrl-C ends the patience."""
        process.ask_to_stop()
        deadline = time.monotonic() + grace_s
        while process.running and time.monotonic() < deadline and not self._stop.at_once.is_set():
            process.wait(timeout_s=0.1)
        process.kill()
        say(f"  {process.name}: stopped")


def _refuse_ended(children: list[ChildProcess]) -> None:
    for child in children:
        if not child.running:
            raise ended_error(child)


def _not_ready(waiting: dict[str, str], children: list[ChildProcess]) -> ProcessFailed:
    logs = "\n".join(
        f"the last lines of {child.name} ({child.log}):\n{child.last_lines()}"
        for child in children
        if child.name in waiting
    )
    urls = " and ".join(f"{name} ({url})" for name, url in waiting.items())
    return ProcessFailed(f"not ready after {READY_WITHIN_S:.0f} s: {urls}; {logs}")
