"""What is missing between alerts, runbooks, tests, dashboards and the metrics that the code exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import yaml

from coupons import measures as measures  # registers its metrics
from dev.monitoring import files
from runtime import metrics

SEVERITIES: Final = ("page", "ticket")
HEADINGS: Final = {
    "": ["What it means", "Look at", "Do", "Wake"],
    ".ko": ["뜻", "살펴볼 것", "할 일", "깨울 사람"],
}
_OURS: Final = re.compile(r"\bcoupon_\w+")
_RECORDED: Final = re.compile(r"\bcoupon:[\w:]+")
_EXPORTED: Final = re.compile(r"^# TYPE (\w+) (\w+)$", re.MULTILINE)
_ASKED_FOR: Final = re.compile(r'ALERTS\{.*alertname="(\w+)"')
_PARTS: Final = ("bucket", "count", "sum")


def wrong(monitoring: Path, runbooks: Path) -> list[str]:
    """Everything that does not go together, a line each."""
    rules = list(_rules(monitoring))
    alerts = [rule for rule in rules if "alert" in rule]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    named = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules]
    named += [entry for path in files.dashboards(monitoring) for entry in _drawn(path)]
    return [
        *_unknown(named, recorded),
        *chain.from_iterable(_of_alert(alert, runbooks) for alert in alerts),
        *_untested([alert["alert"] for alert in alerts], monitoring),
        *_without_alert({alert["alert"] for alert in alerts}, runbooks),
    ]


def exported() -> set[str]:
    """The names of all series that the processes export."""
    found = set()
    for name, kind in _EXPORTED.findall(metrics.exposition().decode()):
        found |= {f"{name}_{part}" for part in _PARTS} if kind == "histogram" else {name}
    return found


def _rules(monitoring: Path) -> Iterator[dict[str, Any]]:
    for path in files.rules(monitoring):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def _drawn(path: Path) -> Iterator[tuple[str, str]]:
    board = json.loads(path.read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield f"{path.name}, {panel['title']}", target["expr"]
    for variable in board["templating"]["list"]:
        yield f"{path.name}, variable {variable['name']}", variable["query"]


def _unknown(named: list[tuple[str, str]], recorded: set[str]) -> Iterator[str]:
    known = exported()
    for where, expression in named:
        for name in sorted(set(_OURS.findall(expression)) - known):
            yield f"{where}: no process exports {name}"
        for name in sorted(set(_RECORDED.findall(expression)) - recorded):
            yield f"{where}: no rule records {name}"


def _of_alert(alert: dict[str, Any], runbooks: Path) -> Iterator[str]:
    name, told = alert["alert"], alert.get("annotations", {})
    if alert.get("labels", {}).get("severity") not in SEVERITIES:
        yield f"{name}: its severity must be one of {', '.join(SEVERITIES)}"
    for annotation in ("summary", "summary_ko"):
        if not told.get(annotation):
            yield f"{name}: it has no {annotation}"
    if told.get("runbook") != f"docs/runbooks/{name}.md":
        yield f"{name}: its runbook must be docs/runbooks/{name}.md"
    for language, headings in HEADINGS.items():
        page = runbooks / f"{name}{language}.md"
        if not page.exists():
            yield f"{name}: docs/runbooks/{page.name} is missing"
        elif (found := re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)) != headings:
            yield f"docs/runbooks/{page.name}: its headings are {found}, and must be {headings}"


def _untested(alerts: list[str], monitoring: Path) -> Iterator[str]:
    """Alerts that no promtool test sees firing, or none sees quiet."""
    seen = set()
    for path in files.tests_of_rules(monitoring):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for asked in test["promql_expr_test"]:
                names = _ASKED_FOR.findall(asked["expr"])
                seen |= {(name, bool(asked["exp_samples"])) for name in names}
    for alert in alerts:
        for is_firing, what in ((True, "fires"), (False, "is quiet")):
            if (alert, is_firing) not in seen:
                yield f"{alert}: no test in deploy/monitoring/tests shows that it {what}"


def _without_alert(alerts: set[str], runbooks: Path) -> Iterator[str]:
    for page in sorted(runbooks.glob("*.md")):
        name = page.name.removesuffix(".md").removesuffix(".ko")
        if name != "README" and name not in alerts:
            yield f"docs/runbooks/{page.name}: there is no alert {name}"
    for index in (runbooks / "README.md", runbooks / "README.ko.md"):
        text = index.read_text() if index.exists() else ""
        for alert in sorted(alerts):
            if f"({alert}{'.ko' if '.ko' in index.name else ''}.md)" not in text:
                yield f"docs/runbooks/{index.name}: it does not name {alert}"
