"""All that an event's page says, in both languages: for its templates, and for its script as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from coupons.admin.names import text
from coupons.operations.steering import Outlook, Phase
from coupons.outcomes import SteeringAction as Action

ACTIONS: Final = {
    Action.OPEN: text(en="Open now", ko="지금 열기"),
    Action.PAUSE_CLAIMS: text(en="Pause claims", ko="접수 일시 중단"),
    Action.RESUME_CLAIMS: text(en="Resume claims", ko="접수 재개"),
    Action.PAUSE_DECIDING: text(en="Pause deciding", ko="발급 처리 일시 중지"),
    Action.RESUME_DECIDING: text(en="Resume deciding", ko="발급 처리 재개"),
    Action.STOP_CLAIMS: text(en="Stop claims, honour what was accepted", ko="접수 마감 (접수분은 발급)"),
    Action.STOP_AT_ONCE: text(en="Stop at once", ko="즉시 중지 (미처리분 거절)"),
    Action.CHANGE_STOCK: text(en="Add or take stock", ko="재고 증감"),
    Action.CHANGE_WINDOW: text(en="Change the window", ko="기간 변경"),
    Action.REPLAY_LETTERS: text(en="Replay dead letters", ko="처리 불가 이벤트 재처리"),
    Action.DISCARD_LETTERS: text(en="Discard dead letters", ko="처리 불가 이벤트 폐기"),
    Action.REMOVE_REHEARSAL: text(en="Remove the rehearsal", ko="리허설 삭제"),
}

_PHASES: Final = {
    Phase.CLOSED: text(en="Closed", ko="닫힘"),
    Phase.PLANNED: text(en="Planned", ko="예정"),
    Phase.OPEN: text(en="Open", ko="진행 중"),
    Phase.PAUSED: text(en="Claims paused", ko="접수 일시 중단"),
    Phase.ENDED: text(en="Ended", ko="종료"),
}

#: Answers and decisions, as the figures have them.
_CODES: Final = {
    "ACCEPTED": text(en="accepted", ko="접수"),
    "OUT_OF_STOCK": text(en="sold out", ko="재고 소진"),
    "ALREADY_REQUESTED": text(en="asked before", ko="이미 요청함"),
    "COUPON_CLOSED": text(en="not open", ko="기간 아님"),
    "CLAIMS_PAUSED": text(en="paused", ko="접수 중단 중"),
    "NOT_ELIGIBLE": text(en="not on the list", ko="발급 대상 아님"),
    "USER_NOT_FOUND": text(en="unknown user", ko="없는 사용자"),
    "COUPON_NOT_FOUND": text(en="unknown coupon", ko="없는 쿠폰"),
    "BROKER_UNAVAILABLE": text(en="broker away", ko="브로커 응답 없음"),
    "INVALID_REQUEST": text(en="malformed", ko="잘못된 요청"),
    "IDENTITY_NOT_PROVEN": text(en="identity not proven", ko="본인 확인 실패"),
    "TOO_MANY_REQUESTS": text(en="too often", ko="너무 잦은 요청"),
    "INTERNAL_ERROR": text(en="error", ko="오류"),
    "FAILED": text(en="dead letter", ko="처리 불가"),
    "ISSUED": text(en="issued", ko="발급"),
    "REJECTED": text(en="rejected", ko="거절"),
    # Why an event is a dead letter.
    "NOT_JSON": text(en="not JSON", ko="JSON이 아님"),
    "INVALID_FIELDS": text(en="invalid fields", ko="잘못된 필드"),
    "UNKNOWN_VERSION": text(en="unknown version", ko="알 수 없는 버전"),
    "TOO_LARGE": text(en="too large", ko="너무 큼"),
    "UNSTORABLE": text(en="cannot be stored", ko="저장할 수 없음"),
    "EVENT_LOST": text(en="event lost", ko="이벤트 유실"),
}

_LABELS: Final = {
    "accepted": text(en="Accepted", ko="접수"),
    "issued": text(en="Issued", ko="발급"),
    "left": text(en="Left", ko="남은 재고"),
    "waiting": text(en="Waiting", ko="대기"),
    "claimsRate": text(en="Claims/s", ko="초당 요청"),
    "issuedRate": text(en="Issued/s", ko="초당 발급"),
    "p50": text(en="Half answered within", ko="응답 중앙값 (p50)"),
    "p99": text(en="99 of 100 within", ko="응답 p99"),
    "refused": text(en="Refused, by reason", ko="거절 사유별 (접수 전)"),
    "rejected": text(en="Rejected after acceptance", ko="접수 후 거절"),
    "none": text(en="none", ko="없음"),
    "minutes": text(en="The last five minutes", ko="최근 5분"),
    "whole": text(en="The whole event", ko="전체 기간"),
    "claimsChart": text(en="Claims a second, by answer", ko="초당 요청 (응답별)"),
    "issuedChart": text(en="Issued a second", ko="초당 발급"),
    "waitingChart": text(en="Waiting to be decided", ko="처리 대기 건수"),
    "tookChart": text(en="Seconds until the answer", ko="응답 시간 (초)"),
    "partition": text(en="Partition", ko="파티션"),
    "lag": text(en="Behind", ko="밀린 이벤트"),
    "decidedAt": text(en="Last decided", ko="마지막 처리"),
    "partitions": text(en="Who is behind", ko="파티션별 지연"),
    "health": text(en="Health", ko="상태 점검"),
    "winners": text(en="Newest winners", ko="최근 당첨자"),
    "rank": text(en="Rank", ko="순위"),
    "user": text(en="User", ko="사용자"),
    "when": text(en="When", ko="시각"),
    "steps": text(en="What was done", ko="조치 기록"),
    "opensIn": text(en="Opens in", ko="시작까지"),
    "report": text(en="Report", ko="결과 보고"),
    "reportLine": text(
        en="{accepted} accepted of {claims} claims, {issued} issued, {left} left, {waiting} still waiting.",
        ko="요청 {claims}건 중 {accepted}건 접수, {issued}장 발급, 재고 {left}장 남음, 처리 대기 "
        "{waiting}건.",
    ),
    "decidingPaused": text(
        en="Deciding is paused by {who} since {since}: {count} events are put aside and wait.",
        ko="{who} 님이 {since}부터 발급 처리를 일시 중지했습니다. 이벤트 {count}건이 보류되어 기다립니다.",
    ),
    "decidingPausedShort": text(en="Deciding paused", ko="발급 처리 중지"),
    "decidingResumed": text(
        en="Deciding was resumed: {count} events that were put aside are being decided.",
        ko="발급 처리가 재개되었습니다. 보류된 이벤트 {count}건을 처리하는 중입니다.",
    ),
    "somebody": text(en="somebody", ko="누군가"),
    "stale": text(
        en="These figures are {seconds} s old: the server or its database does not answer.",
        ko="{seconds}초 전 수치입니다. 서버나 데이터베이스가 응답하지 않습니다.",
    ),
    "soon": text(en="The first figures are being read.", ko="첫 수치를 읽는 중입니다."),
    "gone": text(en="There is no such event any more.", ko="이벤트가 삭제되었습니다."),
    "loggedOut": text(en="You are logged out: reload the page.", ko="로그아웃되었습니다. 새로 고치세요."),
    "noEvents": text(en="There are no events today.", ko="오늘은 이벤트가 없습니다."),
    "unknown": text(en="not known", ko="알 수 없음"),
    "steer": text(en="Steer", ko="제어"),
    "today": text(en="Today's events", ko="오늘의 이벤트"),
    "event": text(en="Event", ko="이벤트"),
    "state": text(en="State", ko="상태"),
    "winnersFile": text(en="Winners as CSV", ko="당첨자 CSV"),
    "rehearsal": text(en="Rehearsal: not shown to customers", ko="리허설: 고객에게 보이지 않음"),
    "edit": text(en="Edit", ko="편집"),
    "zone": text(en="Times are in your browser's zone: {zone}", ko="시각은 브라우저 시간대 기준: {zone}"),
}

_HEALTH: Final = {
    "database.WELL": text(en="The database answers.", ko="데이터베이스 정상."),
    "database.SLOW": text(en="The database is slow: {number} s.", ko="데이터베이스가 느림: {number}초."),
    "redis.WELL": text(en="Redis answers.", ko="Redis 정상."),
    "redis.AWAY": text(
        en="Redis does not answer: the database decides alone, more slowly.",
        ko="Redis 응답 없음: 데이터베이스가 단독으로 처리하여 느려집니다.",
    ),
    "kafka.WELL": text(en="Kafka answers.", ko="Kafka 정상."),
    "kafka.AWAY": text(
        en="Kafka does not answer: claims are refused until it does.",
        ko="Kafka 응답 없음: 복구될 때까지 요청이 거절됩니다.",
    ),
    "deciding.WELL": text(en="Requests are being decided.", ko="요청을 처리하는 중입니다."),
    "deciding.IDLE": text(en="Nothing waits to be decided.", ko="처리할 요청이 없습니다."),
    "deciding.BEHIND": text(en="Deciding is behind by {number} requests.", ko="{number}건이 밀려 있습니다."),
    "deciding.STANDS_STILL": text(
        en="{number} requests wait, and nothing was decided for 10 s: see whether a consumer runs.",
        ko="{number}건이 대기 중인데 10초 동안 처리되지 않았습니다. 컨슈머가 실행 중인지 확인하세요.",
    ),
    "letters.WELL": text(en="No dead letters wait.", ko="대기 중인 처리 불가 이벤트 없음."),
    "letters.WAITING": text(
        en="{number} dead letters wait for an operator.",
        ko="처리 불가 이벤트 {number}건이 조치를 기다립니다.",
    ),
}


def for_script() -> dict[str, Mapping[str, str]]:
    """The words that the page's script uses, in the reader's language."""
    return {
        "labels": {name: str(each) for name, each in _LABELS.items()},
        "codes": {name: str(each) for name, each in _CODES.items()},
        "phases": {phase.value: str(each) for phase, each in _PHASES.items()},
        "health": {name: str(each) for name, each in _HEALTH.items()},
        "actions": {action.value: str(each) for action, each in ACTIONS.items()},
    }


def code(name: str) -> str:
    """An answer or a reason, in the reader's language; itself if there is no word for it."""
    return str(_CODES.get(name, name))


def phase(name: Phase) -> str:
    return str(_PHASES[name])


def label(name: str) -> str:
    return str(_LABELS[name])


def consequence(outlook: Outlook, *, ends_at: str) -> str:
    """What the step leads to, in the reader's language. ``ends_at``: ``outlook.ends_at`` as a time."""
    waiting = text(en="an unknown number of", ko="알 수 없는 수의")
    names = {
        "waiting": waiting if outlook.waiting is None else f"{outlook.waiting:,}",
        "stock": f"{outlook.stock:,}",
        "issued": f"{outlook.issued:,}",
        "ends_at": ends_at,
        "deferred": f"{outlook.deferred:,}",
    }
    return str(_CONSEQUENCES[outlook.action]).format(**names)


REMOVAL: Final = text(
    en="The rehearsal goes with all its traces: the coupon, {user_coupons} issued coupons, "
    "{outcomes} outcomes, {dead_letters} dead letters, {refusals} refusals, {figures} rows of figures, "
    "{eligible_users} entries of its list, {steps} steps, and its keys in Redis. Its events stay in Kafka's "
    "log. This cannot be taken back.",
    ko="리허설을 모든 흔적과 함께 삭제합니다. 쿠폰, 발급된 쿠폰 {user_coupons}장, 요청 결과 "
    "{outcomes}건, 처리 불가 이벤트 {dead_letters}건, 거절 기록 {refusals}건, 수치 {figures}행, 발급 대상 "
    "{eligible_users}건, 조치 기록 {steps}건, Redis의 키가 삭제됩니다. Kafka 로그의 이벤트는 남습니다. "
    "되돌릴 수 없습니다.",
)
REMOVING: Final = text(en="The removal begins.", ko="삭제를 시작합니다.")

_CONSEQUENCES: Final = {
    Action.OPEN: text(
        en="Claims are accepted from now on, whatever start was planned, until the end that is set; an end "
        "that has passed is taken away. {stock} are left.",
        ko="예정된 시작 시각과 관계없이 지금부터 요청을 접수합니다. 이미 지난 종료 시각은 지워집니다. "
        "남은 재고는 {stock}장입니다.",
    ),
    Action.PAUSE_CLAIMS: text(
        en="Claims are answered “try again shortly” (503) until you resume them. The {waiting} requests that "
        "were accepted go on being decided, and users who come back later may still win.",
        ko="재개할 때까지 요청에 “잠시 후 다시 시도”(503)로 응답합니다. 이미 접수된 {waiting}건은 "
        "계속 처리됩니다. "
        "나중에 다시 요청한 사용자도 당첨될 수 있습니다.",
    ),
    Action.RESUME_CLAIMS: text(
        en="Claims are accepted again at once. {stock} are left.",
        ko="즉시 요청 접수를 재개합니다. 남은 재고는 {stock}장입니다.",
    ),
    Action.PAUSE_DECIDING: text(
        en="Nothing of this event is decided until somebody resumes it. The {waiting} requests that wait, "
        "and those that are accepted meanwhile, keep their order and their slots, and their users are told "
        "PENDING: nobody loses anything. Claims go on being accepted (pause them too, if that is meant), and "
        "other events are decided as before. {issued} were issued.",
        ko="재개할 때까지 이 이벤트의 요청을 처리하지 않습니다. 대기 중인 {waiting}건과 그사이 접수되는 "
        "요청은 순서와 자리를 그대로 유지하며, 사용자에게는 처리 대기(PENDING)로 안내됩니다. 잃는 요청은 "
        "없습니다. 접수는 계속되므로 필요하면 접수도 중단하세요. 다른 이벤트는 계속 처리됩니다. 지금까지 "
        "{issued}장 발급되었습니다.",
    ),
    Action.RESUME_DECIDING: text(
        en="The {deferred} events that were put aside are decided now, in the order in which they were "
        "accepted, then those that came later: coupons are issued to the first of them as far as the {stock} "
        "left reach. What was accepted within the window is honoured, however long the pause was.",
        ko="보류된 이벤트 {deferred}건을 접수된 순서대로 먼저 처리하고, 그 뒤의 요청을 이어서 처리합니다. "
        "남은 재고 {stock}장 안에서 앞선 요청부터 발급됩니다. 중지 기간과 관계없이 기간 안에 접수된 요청은 "
        "유효합니다.",
    ),
    Action.STOP_CLAIMS: text(
        en="Claims end at {ends_at}, when every server has heard of it. Nobody loses anything: the {waiting} "
        "requests that were accepted are still decided in their order, as far as the {stock} left reach.",
        ko="모든 서버에 전달되는 {ends_at}에 접수를 마감합니다. 이미 접수된 {waiting}건은 순서대로 "
        "끝까지 처리되며, "
        "남은 재고 {stock}장 안에서 발급됩니다.",
    ),
    Action.STOP_AT_ONCE: text(
        en="Claims end at once, and {waiting} requests that were accepted and are not decided yet are "
        "REJECTED, although their users were told that the coupon would come. The {issued} issued coupons "
        "stay. Deciding that is paused goes on, to reject them. This cannot be taken back for those who "
        "were rejected.",
        ko="접수를 즉시 멈추고, 접수되었으나 아직 처리되지 않은 {waiting}건을 거절합니다. 해당 "
        "사용자는 이미 접수 "
        "안내를 받은 상태입니다. 이미 발급된 {issued}장은 유지됩니다. 발급 처리가 중지되어 있으면 "
        "거절을 위해 재개됩니다. 거절된 요청은 되돌릴 수 없습니다.",
    ),
    Action.CHANGE_STOCK: text(
        en="{stock} are left now, {issued} were issued, {waiting} requests wait. More stock is given "
        "to claims "
        "from now on, not to those who were told that it was sold out. Taking stock below what waits rejects "
        "the last of those who wait.",
        ko="현재 재고 {stock}장, 발급 {issued}장, 대기 {waiting}건입니다. 추가한 재고는 지금부터의 "
        "요청에 발급되며, "
        "이미 소진 안내를 받은 사용자에게는 가지 않습니다. 대기 건수보다 적게 줄이면 늦게 접수된 "
        "요청부터 거절됩니다.",
    ),
    Action.CHANGE_WINDOW: text(
        en="Claims are accepted within the new window alone. {waiting} requests wait: those that were made "
        "outside the new window are REJECTED. A closed event that gets a start opens at that time. To end "
        "claims now without rejecting anyone, use “stop claims”.",
        ko="새 기간 안의 요청만 접수합니다. 대기 중인 {waiting}건 중 새 기간 밖에 요청된 건은 "
        "거절됩니다. 닫힌 "
        "이벤트에 시작 시각을 주면 그 시각에 열립니다. 거절 없이 지금 끝내려면 “접수 마감”을 사용하세요.",
    ),
}
