"""One case on the stage: a topic, a group and a coupon of its own, the processes, and the rush."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection

from coupons.eventlog.events import partition_key, partition_of
from coupons.models import Coupon, IssueOutcome, User
from dev import topics
from dev.faults import former
from dev.faults.case import Case, Scale
from dev.faults.proxy import Link
from dev.faults.rush import Rush
from dev.faults.stream import Stream
from dev.processes import Process, wait_until
from dev.services.own import Services
from tests.system import System

#: Waits of the suite: a dead consumer is missed after 3 s, a publish given up after 3 s.
_ENVIRONMENT = {
    "COUPON_CONSUMER_SESSION_TIMEOUT_MS": "3000",
    "COUPON_PUBLISH_TIMEOUT_MS": "3000",
    "COUPON_RETRY_BACKOFF_MAX_MS": "5000",
    "COUPON_LOG_LEVEL": "INFO",
}
PATCH = "COUPON_FAULTS_PATCH"
_STOCK_WHERE_IT_LASTS = 0.9
_LATE = 2000  #: users who come after the rush, if something is left


@dataclass(slots=True, kw_only=True)
class Scene:
    case: Case
    scale: Scale
    services: Services
    system: System
    coupon_id: int
    stock: int
    rush: Rush
    links: dict[str, Link] = field(default_factory=dict)
    written_ids: list[str] = field(default_factory=list)  #: events written past the API, to be decided too
    gone_ids: list[str] = field(default_factory=list)  #: accepted, and deleted from the log: told as lost
    missing_ids: set[str] = field(default_factory=set)  #: of the log: verify may miss the events of these
    notes: list[str] = field(default_factory=list)  #: what the case itself found wrong

    @property
    def api(self) -> Process:
        return self.system.api

    @property
    def consumer(self) -> Process:
        return self.system.consumers[0]

    @property
    def group_id(self) -> str:
        return f"group-{self.system.topic}"

    @property
    def publish_timeout_s(self) -> float:
        return int({**_ENVIRONMENT, **self.case.env}["COUPON_PUBLISH_TIMEOUT_MS"]) / 1000

    @property
    def partition(self) -> int:
        """Of the coupon."""
        return partition_of(partition_key(self.coupon_id), settings.CONFIG.kafka.partitions)

    def add_consumer(self, *words: str, patch: str = "") -> Process:
        """One more, with a change of ``patching.py`` if one is named."""
        consumer = self.system.new_consumer(*(words or self.case.consumer_words))
        _patch_consumer(consumer, patch)
        self.system.consumers.append(consumer)
        return consumer.start()

    def middle(self) -> None:
        """Wait until a quarter of the stock was accepted."""
        self.rush.wait_accepted(self.stock // 4)

    def struck(self) -> None:
        """The fault is there: it must be in time for something."""
        self.expect(len(self.rush.accepted) < self.stock, "the fault came when all was accepted")

    def users_beside(self, count: int) -> list[int]:
        """Users who do not come over HTTP."""
        first = self.scale.users + _LATE + 1
        return list(range(first, first + count))

    def late_users(self) -> Iterator[int]:
        return iter(range(self.scale.users + 1, self.scale.users + _LATE + 1))

    def stock_left(self) -> int:
        connection.close()
        return int(Coupon.objects.values_list("stock", flat=True).get(pk=self.coupon_id))

    def decided(self) -> int:
        """How many requests for this coupon have an outcome, as the database says now."""
        connection.close()
        return IssueOutcome.objects.filter(coupon_id=self.coupon_id).count()

    def deferred(self) -> int:
        """How many of its events are deferred, as the database says now."""
        connection.close()
        return int(Coupon.objects.values_list("deferred_count", flat=True).get(pk=self.coupon_id))

    def decided_from_the_log(self) -> set[str]:
        """Whose event stood in the log, by request id."""
        connection.close()
        found = IssueOutcome.objects.filter(coupon_id=self.coupon_id).exclude(reason="EVENT_LOST")
        return set(map(str, found.values_list("pk", flat=True)))

    def issued_ids(self) -> set[str]:
        """The requests that got a coupon."""
        connection.close()
        found = IssueOutcome.objects.filter(coupon_id=self.coupon_id, status="ISSUED")
        return set(map(str, found.values_list("pk", flat=True)))

    def undecided(self, request_ids: list[str]) -> int:
        connection.close()
        return len(request_ids) - IssueOutcome.objects.filter(pk__in=map(UUID, request_ids)).count()

    def database_is_at(self, port: int) -> None:
        """For the suite's own questions and for commands; the system's ways there are links."""
        connection.close()
        connection.settings_dict["PORT"] = port
        self.system.lead_to(self.services.environment({"db": port}))

    def expect(self, condition: bool, complaint: str) -> None:
        if not condition:
            self.notes.append(complaint)


def make_users(count: int) -> None:
    User.objects.bulk_create((User(user_id=n, name=f"user{n}") for n in range(1, count + 1)), batch_size=5000)


@contextmanager
def staged(case: Case, *, scale: Scale, services: Services) -> Iterator[Scene]:
    """The whole system, ready, and the rush not yet begun. Everything started is stopped."""
    topic = f"{case.name}-{uuid4().hex[:8]}"
    stock = scale.stock if case.lasts_s is None else int(scale.users * _STOCK_WHERE_IT_LASTS)
    connection.close()
    coupon = Coupon.objects.create(description=case.name, discount_amount=5000, stock=stock)
    services.empty_redis()
    with ExitStack() as stack:
        stack.enter_context(topics.own_topic(topic))
        links = {name: _start_link(name, services, stack) for name in case.links}
        system = System(topic=topic, consumers=0, env={**_ENVIRONMENT, **case.env})
        system.api = _api(system, case, services, links)
        system.consumers = [
            system.new_consumer(*case.consumer_words, **_environment("consumer", case, services, links))
            for _ in range(case.consumers)
        ]
        for server in system.consumers:
            _patch_consumer(server, case.consumer_patch)
        if case.begins_with_former:
            folder = stack.enter_context(former.release(services))
            for process in (system.api, *system.consumers):
                process.folder = folder
        stack.enter_context(system)
        rush = _rush(case, scale, port=system.api.port, coupon_id=coupon.pk)
        stack.callback(rush.abandon)
        yield Scene(
            case=case,
            scale=scale,
            services=services,
            system=system,
            coupon_id=coupon.pk,
            stock=stock,
            rush=rush,
            links=links,
        )


def _rush(case: Case, scale: Scale, *, port: int, coupon_id: int) -> Rush:
    users = range(1, scale.users + 1)
    per_s = scale.users / (case.lasts_s(scale) if case.lasts_s else scale.rush_s)
    if case.is_stream:
        return Stream(port=port, coupon_id=coupon_id, users=users, per_s=per_s)
    return Rush(ports=[port], coupon_id=coupon_id, users=users, per_s=per_s)


def _start_link(name: str, services: Services, stack: ExitStack) -> Link:
    server = name.partition("-")[2]
    link = Link(to_port=services.port(server), is_kafka=server == "kafka")
    link.start()
    stack.callback(link.stop)
    return link


def _environment(role: str, case: Case, services: Services, links: dict[str, Link]) -> dict[str, str]:
    through = {
        name.partition("-")[2]: link.port for name, link in links.items() if name.startswith(f"{role}-")
    }
    return services.environment(through)


def _api(system: System, case: Case, services: Services, links: dict[str, Link]) -> Process:
    api = system.new_api(**_environment("api", case, services, links))
    if case.api_patch:
        api.command = [*api.command[:-1], "dev.faults.patched"]
        api.env = {**api.env, PATCH: case.api_patch}
    return api


def _patch_consumer(consumer: Process, patch: str) -> None:
    if patch:
        python, _, *words = consumer.command
        consumer.command = [python, "-m", "dev.faults.patched", *words]
        consumer.env = {**consumer.env, PATCH: patch}


def wait_until_decided(scene: Scene, *, within_s: float = 120) -> float | None:
    """Seconds until everything that was accepted by now is decided; None if it was not in time."""
    started = time.monotonic()
    accepted = scene.rush.accepted
    decided = wait_until(lambda: not scene.undecided(accepted), within_s=within_s, every_s=0.1)
    return time.monotonic() - started if decided else None
