"""Tables and constraints. Other systems rely on their names (docs/api.md); defaults are the database's own.

Every safety promise rests on them: UNIQUE(coupon_id, user_id), stock >= 0, and the locked coupon row.
"""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from coupons.outcomes import RequestStatus


def epoch_of(created_at: datetime) -> str:
    """A coupon row's epoch (``Coupon.epoch``)."""
    return str(int(created_at.timestamp() * 1_000_000))


class Timestamped(models.Model):
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


class User(Timestamped):
    """A person who gets coupons; staff who log in to the admin are Django's own users."""

    user_id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=255)

    class Meta:
        db_table = "user"

    def __str__(self) -> str:
        return f"{self.name} ({self.user_id})"


class Point(Timestamped):
    point_id = models.BigAutoField(primary_key=True)
    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="point")
    balance = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "point"
        constraints = (
            models.CheckConstraint(condition=Q(balance__gte=0), name="point_balance_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.user_id}: {self.balance:,}"


class CouponStatus(models.TextChoices):
    OPENED = "OPENED", _("Opened")
    CLOSED = "CLOSED", _("Closed")


class Coupon(Timestamped):
    """A coupon event. ``stock``: how many are left; ``issued_count``: how many were issued.

    Issuing does not change their sum; only an operator who changes the stock does. The Redis gate
    counts against the sum (docs/decisions/admission.md).
    """

    coupon_id = models.BigAutoField(primary_key=True)
    description = models.CharField(max_length=255)
    discount_amount = models.BigIntegerField()
    stock = models.BigIntegerField()
    issued_count = models.BigIntegerField(db_default=0, editable=False)
    #: how many of ``issued_count`` have no outcome here: another application's (`manage.py adopt`), or
    #: purged (`manage.py purge`)
    adopted_count = models.BigIntegerField(db_default=0, editable=False)
    coupon_status = models.CharField(
        max_length=20, choices=CouponStatus, db_default=CouponStatus.OPENED, default=CouponStatus.OPENED
    )
    opens_at = models.DateTimeField(null=True, blank=True)
    closes_at = models.DateTimeField(null=True, blank=True)
    #: since when claims are answered "later"; what was accepted is decided all the same. Null: they are not
    claims_paused_at = models.DateTimeField(null=True, editable=False)
    #: since when nothing of it is decided: its events are deferred (DeferredEvent). Null: they are decided
    deciding_paused_at = models.DateTimeField(null=True, editable=False)
    #: how many events of it are deferred; newer events join them until all of these are decided
    deferred_count = models.BigIntegerField(db_default=0, editable=False)
    #: goes the whole way and is not shown to customers; `rehearsal --remove` takes it away with its traces
    is_rehearsal = models.BooleanField(db_default=False, default=False)
    #: is for the users of its list alone (EligibleUser); claims of coupons without a list pay nothing for it
    eligible_only = models.BooleanField(db_default=False, default=False)
    #: earlier outcomes are not here: `seed --reset` or `purge` deleted them, or they were another's
    reset_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "coupon"
        indexes = (models.Index(fields=("deciding_paused_at",), name="coupon_deciding_paused"),)
        constraints = (
            models.CheckConstraint(condition=Q(stock__gte=0), name="coupon_stock_not_negative"),
            models.CheckConstraint(condition=Q(discount_amount__gt=0), name="coupon_discount_positive"),
            models.CheckConstraint(condition=Q(issued_count__gte=0), name="coupon_issued_not_negative"),
            models.CheckConstraint(
                condition=Q(adopted_count__gte=0, adopted_count__lte=F("issued_count")),
                name="coupon_adopted_were_issued",
            ),
            models.CheckConstraint(
                condition=Q(opens_at__isnull=True)
                | Q(closes_at__isnull=True)
                | Q(opens_at__lt=F("closes_at")),
                name="coupon_opens_before_it_closes",
            ),
        )

    def __str__(self) -> str:
        return f"{self.description} ({self.coupon_id})"

    @property
    def epoch(self) -> str:
        """The row's identity: another row with the same id, before or after this one, has another epoch."""
        return epoch_of(self.created_at)

    @property
    def defers(self) -> bool:
        """Whether the consumer defers its events: deciding is paused, or earlier events wait from a pause."""
        return self.deciding_paused_at is not None or self.deferred_count > 0


class UserCouponStatus(models.TextChoices):
    ISSUED = "ISSUED", _("Issued")
    USED = "USED", _("Used")


class UserCoupon(Timestamped):
    user_coupon_id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="user_coupons")
    coupon = models.ForeignKey(
        Coupon, on_delete=models.PROTECT, related_name="user_coupons", db_index=False
    )  # the unique constraint is its index
    status = models.CharField(
        max_length=10,
        choices=UserCouponStatus,
        db_default=UserCouponStatus.ISSUED,
        default=UserCouponStatus.ISSUED,
    )
    issued_at = models.DateTimeField(db_default=Now())
    used_at = models.DateTimeField(null=True, blank=True)
    #: the request that won the coupon; null where its outcome is not here (another application's, purged)
    request_id = models.UUIDField(null=True, editable=False)

    class Meta:
        db_table = "user_coupon"
        constraints = (models.UniqueConstraint(fields=("coupon", "user"), name="user_coupon_once_per_user"),)

    def __str__(self) -> str:
        return f"{self.coupon}: {self.user}"


class EligibleUser(models.Model):
    """A user who may have a coupon that is for listed users alone.

    No foreign keys: a list of a million is written before its event, and read by its unique index.
    """

    eligible_user_id = models.BigAutoField(primary_key=True)
    coupon_id = models.BigIntegerField()
    user_id = models.BigIntegerField()

    class Meta:
        db_table = "coupon_eligible_user"
        constraints = (models.UniqueConstraint(fields=("coupon_id", "user_id"), name="eligible_user_once"),)

    def __str__(self) -> str:
        return f"user {self.user_id}, coupon {self.coupon_id}"


class IssueOutcome(models.Model):
    """The final decision on one request, written in the transaction that decides it and never changed.

    No foreign keys, because a user or coupon that does not exist gets an outcome too. ``user_id`` and
    ``coupon_id`` are null where a dead letter's could not be read.
    """

    request_id = models.UUIDField(primary_key=True)
    coupon_id = models.BigIntegerField(null=True)
    user_id = models.BigIntegerField(null=True)
    status = models.CharField(
        max_length=10, choices=[(status, status) for status in RequestStatus if status != "PENDING"]
    )
    reason = models.CharField(max_length=40, null=True)
    coupon_epoch = models.BigIntegerField(
        null=True
    )  # the epoch of the coupon's row; null where there was no row
    detail = models.CharField(max_length=255, null=True)
    user_coupon_id = models.BigIntegerField(null=True)
    claim_rank = models.BigIntegerField(null=True)
    requested_at = models.DateTimeField()
    processed_at = models.DateTimeField(db_default=Now())
    #: the coupon's stock after this decision; `manage.py verify` follows the decisions by it
    stock_left = models.BigIntegerField(null=True)
    kafka_partition = models.IntegerField(null=True)
    kafka_offset = models.BigIntegerField(null=True)

    class Meta:
        db_table = "coupon_issue_outcome"
        indexes = (models.Index(fields=("coupon_id", "claim_rank"), name="outcome_coupon_rank"),)

    def __str__(self) -> str:
        return f"{self.request_id}: {self.status}"


class LogPosition(models.Model):
    """How far a consumer group has decided one partition, written in the transaction that decides.

    Every event before ``next_offset`` has its outcome in this very database, so that events that a restored
    or promoted database forgot are decided again. ``topic_id`` is Kafka's own: a topic that was made anew
    under the same name has another one. docs/decisions/deciding.md.
    """

    group_id = models.CharField(max_length=255)
    topic = models.CharField(max_length=249)
    partition = models.IntegerField()
    topic_id = models.CharField(max_length=36)
    next_offset = models.BigIntegerField()
    #: where the log ended when it was found to end below the position; the partition waits for an operator
    lost_end = models.BigIntegerField(null=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "coupon_log_position"
        constraints = (
            models.UniqueConstraint(fields=("group_id", "topic", "partition"), name="log_position_once"),
            models.CheckConstraint(condition=Q(next_offset__gte=0), name="log_position_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.group_id}, {self.topic}/{self.partition}: {self.next_offset}"


class DeferredEvent(models.Model):
    """An event behind the position that is not decided, because somebody paused the deciding of its coupon.

    Written in the transaction that moves the position past the event, and deleted in the one that decides it.
    A coupon's rows are decided by ``deferred_id``, which is the log's order. The foreign key keeps the coupon
    there. docs/decisions/deferring.md.
    """

    deferred_id = models.BigAutoField(primary_key=True)
    coupon = models.ForeignKey(Coupon, on_delete=models.PROTECT, related_name="+", db_index=False)
    request_id = models.UUIDField(unique=True)
    kafka_partition = models.IntegerField()
    kafka_offset = models.BigIntegerField()
    #: the message as it is in the log, for the case that it becomes a dead letter; headers as MessagePack
    written_ms = models.BigIntegerField(null=True)
    event_key = models.BinaryField(null=True)
    event_value = models.BinaryField()
    event_headers = models.BinaryField(null=True)
    deferred_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "coupon_deferred_event"
        indexes = (models.Index(fields=("coupon", "deferred_id"), name="deferred_of_coupon"),)

    def __str__(self) -> str:
        return f"coupon {self.coupon_id}, {self.kafka_partition}:{self.kafka_offset}"


class DisclosedRequest(models.Model):
    """An undecided request whose id was disclosed to a client, and which may not be in the log.

    If Redis is lost and the broker never saw the request, this row is the only trace of the request. The row
    is deleted when the request has its outcome. docs/decisions/admission.md.
    """

    request_id = models.UUIDField(primary_key=True)
    coupon_id = models.BigIntegerField()
    user_id = models.BigIntegerField()
    requested_at = models.DateTimeField()

    class Meta:
        db_table = "coupon_disclosed_request"

    def __str__(self) -> str:
        return f"{self.request_id}: user {self.user_id}, coupon {self.coupon_id}"


class Steering(models.Model):
    """What an operator did about an event: who, when, why, and what it was before and after.

    Written in the transaction that does it. ``coupon_id`` is null where it was about dead letters.
    """

    steering_id = models.BigAutoField(primary_key=True)
    coupon_id = models.BigIntegerField(null=True)
    action = models.CharField(max_length=20)  # a SteeringAction
    who = models.CharField(max_length=150)
    why = models.CharField(max_length=255)
    #: JSON: the columns that were changed, from what to what, and how many requests waited
    change = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "coupon_steering"
        indexes = (models.Index(fields=("coupon_id", "steering_id"), name="steering_of_coupon"),)

    def __str__(self) -> str:
        return f"{self.action} {self.coupon_id}: {self.who}"


class SecondFigures(models.Model):
    """What one process answered and decided of one coupon in one second (``coupons/figures``).

    Kept, so that the report of an event can be drawn years later. ``second``: of Unix time; ``process``: a
    number that the process drew when it started; ``figures``: JSON, so that a new answer needs no migration.
    """

    second_figures_id = models.BigAutoField(primary_key=True)
    coupon_id = models.BigIntegerField()
    second = models.BigIntegerField()
    process = models.BigIntegerField()
    figures = models.TextField()

    class Meta:
        db_table = "coupon_second_figures"
        constraints = (
            models.UniqueConstraint(fields=("coupon_id", "second", "process"), name="second_figures_once"),
        )

    def __str__(self) -> str:
        return f"coupon {self.coupon_id}, {self.second}: {self.figures}"


class Refusal(models.Model):
    """Somebody was told no: when, why, and how often in that second (``coupons/figures/refusals.py``).

    A sample, for support; ``request_id`` where the request was accepted first and then rejected.
    """

    refusal_id = models.BigAutoField(primary_key=True)
    user_id = models.BigIntegerField()
    coupon_id = models.BigIntegerField()
    code = models.CharField(max_length=40)
    count = models.IntegerField()
    request_id = models.UUIDField(null=True)
    refused_at = models.DateTimeField()

    class Meta:
        db_table = "coupon_refusal"
        indexes = (
            models.Index(fields=("user_id", "refusal_id"), name="refusal_of_user"),
            models.Index(fields=("coupon_id", "refusal_id"), name="refusal_of_coupon"),
        )

    def __str__(self) -> str:
        return f"user {self.user_id}, coupon {self.coupon_id}: {self.code}"


class DeadLetterState(models.TextChoices):
    WAITING = "WAITING", _("Waiting")
    REPLAYED = "REPLAYED", _("Replayed")
    DISCARDED = "DISCARDED", _("Discarded")


class DeadLetter(models.Model):
    """A copy of a message in the dead letter topic, and what an operator did about it.

    The topic is for machines, and keeps everything; this table shows which events failed, why, and which
    wait.
    """

    dead_letter_id = models.BigAutoField(primary_key=True)
    state = models.CharField(
        max_length=10,
        choices=DeadLetterState,
        default=DeadLetterState.WAITING,
        db_default=DeadLetterState.WAITING,
    )
    reason = models.CharField(max_length=40)
    error = models.CharField(max_length=255)
    request_id = models.UUIDField(null=True)
    original_topic = models.CharField(max_length=249)
    original_partition = models.IntegerField()
    original_offset = models.BigIntegerField()
    original_timestamp_ms = models.BigIntegerField(null=True)
    original_key = models.BinaryField(null=True)
    original_value = models.BinaryField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "coupon_dead_letter"
        indexes = (
            models.Index(fields=("state", "reason"), name="dead_letter_state_reason"),
            models.Index(fields=("original_partition", "original_offset"), name="dead_letter_place"),
        )

    def __str__(self) -> str:
        return f"{self.dead_letter_id}: {self.reason}"
