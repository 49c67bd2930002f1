"""The lint of the watch: what is missing between alerts, runbooks, tests, dashboards and metrics is told."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dev.monitoring import files, lint
from dev.processes import PROJECT


@pytest.fixture
def copy(tmp_path: Path) -> tuple[Path, Path]:
    monitoring, runbooks = tmp_path / "monitoring", tmp_path / "runbooks"
    shutil.copytree(files.MONITORING, monitoring)
    shutil.copytree(files.RUNBOOKS, runbooks)
    return monitoring, runbooks


def changed(file: str, old: str, new: str) -> Callable[[Path, Path], object]:
    def change(monitoring: Path, runbooks: Path) -> None:
        path = monitoring / file if "/" in file else runbooks / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


BROKEN: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "no runbook": (lambda m, r: (r / "CouponGateAway.md").unlink(), "CouponGateAway.md is missing"),
    "no Korean": (lambda m, r: (r / "CouponGateAway.ko.md").unlink(), "CouponGateAway.ko.md is missing"),
    "a heading": (changed("CouponGateAway.md", "## Wake", "## Whom"), "CouponGateAway.md: its headings"),
    "no alert": (lambda m, r: (r / "CouponOld.md").write_text(""), "there is no alert CouponOld"),
    "the index": (changed("README.ko.md", "(CouponGateAway.ko.md)", "()"), "README.ko.md: it does not name"),
    "no such metric": (
        changed("rules/alerts.yml", "coupon_gate_failures_total", "coupon_gate_errors_total"),
        "CouponGateAway: no process exports coupon_gate_errors_total",
    ),
    "no such record": (
        changed("rules/alerts.yml", "deriv(coupon:lag[5m])", "deriv(coupon:late[5m])"),
        "CouponLagGrows: no rule records coupon:late",
    ),
    "a dashboard": (
        changed("grafana/dashboards/event.json", "coupon_oldest_undecided_seconds", "coupon_oldest"),
        "event.json, Oldest waits / 가장 오래 기다린 시간: no process exports coupon_oldest",
    ),
    "a variable": (
        changed(
            "grafana/dashboards/event.json", "label_values(coupon_claims_by_coupon", "label_values(coupon_by"
        ),
        "event.json, variable coupon: no process exports coupon_by_total",
    ),
    "no severity": (
        changed("rules/alerts.yml", "{ severity: page }", "{ severity: loud }"),
        "its severity must be",
    ),
    "no summary": (changed("rules/alerts.yml", "summary_ko: ", "summary_kr: "), "it has no summary_ko"),
    "another's runbook": (
        changed("rules/alerts.yml", "runbooks/CouponGateAway.md", "runbooks/CouponRetrying.md"),
        "CouponGateAway: its runbook must be",
    ),
    "never fires": (
        changed("tests/alerts.yml", 'ALERTS{alertname="CouponGateAway"', 'ALERTS{alertname="Other"'),
        "CouponGateAway: no test in deploy/monitoring/tests shows that it fires",
    ),
}


def test_what_there_is_goes_together() -> None:
    assert lint.wrong(files.MONITORING, files.RUNBOOKS) == []


@pytest.mark.parametrize("what", BROKEN)
def test_what_does_not_go_together_is_told(copy: tuple[Path, Path], what: str) -> None:
    break_it, told = BROKEN[what]
    break_it(*copy)

    assert any(told in each for each in lint.wrong(*copy)), lint.wrong(*copy)


def test_every_metric_that_is_documented_is_exported_and_the_other_way_round() -> None:
    """docs/api.md is what others rely on."""
    documented = set(re.findall(r"`(coupon_\w+?)(?:\{\w+(?:,\w+)*\})?`", _metrics_of("docs/api.md")))
    exported = {re.sub(r"_(bucket|count|sum)$", "", name) for name in lint.exported()}

    ours = {name for name in exported if name.startswith("coupon_") and not name.endswith("_created")}
    assert documented == ours


def _metrics_of(page: str) -> str:
    return (PROJECT / page).read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]


def test_the_containers_are_given_files_that_are_there() -> None:
    text = (PROJECT / "docker-compose.yml").read_text()
    mounted = re.findall(r"- \./(deploy/monitoring/\S+?):", text)

    assert len(mounted) == 4
    assert all((PROJECT / path).exists() for path in mounted)


def test_the_dashboards_ask_the_source_that_is_provisioned() -> None:
    folder = files.MONITORING / "grafana/provisioning/datasources"
    [source] = yaml.safe_load((folder / "prometheus.yml").read_text())["datasources"]
    boards = [json.loads(path.read_text()) for path in files.dashboards(files.MONITORING)]
    asked = {panel["datasource"]["uid"] for board in boards for panel in board["panels"]}

    assert asked == {source["uid"]}
    assert len({board["uid"] for board in boards}) == len(boards) == 2
