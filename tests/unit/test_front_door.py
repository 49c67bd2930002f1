"""What a newcomer meets first agrees with what it tells of: links, both languages, linters, the version."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from coupons.outcomes import Code, DeadLetterReason
from dev.processes import PROJECT
from runtime import __version__, metrics

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])
#: full of figures, which are the same in both languages, row by row
MEASURED = ["docs/reliability", "docs/performance"]
#: in both languages, with the same commands, tables and headings
PAIRS = ["README", "docs/walk", "docs/api", "docs/operations", "docs/kubernetes", "docs/moving"]
PAIRS += ["docs/integrate", *MEASURED]
PAIRS += sorted(
    str(path.relative_to(PROJECT))[: -len(".ko.md")] for path in PROJECT.glob("docs/runbooks/*.ko.md")
)
_COUNT = re.compile(r"^\| [^|]+ \| ([0-9]+,[0-9]{3}) \|$", re.MULTILINE)


def page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def code_of(text: str) -> list[str]:
    """Blocks of code that somebody copies; comments and what stands behind a log line may be translated."""
    blocks = re.findall(r"^```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r" +# .*", "", block) for block in blocks]


def figures_of(text: str) -> list[Counter[str]]:
    """Of each row of a table. Korean may have more of them: a word of the English may be a figure there."""
    rows = re.findall(r"^\|.*", text, re.MULTILINE)
    return [Counter(re.findall(r"\d+(?:[.,]\d+)*", row)) for row in rows]


def anchors_of(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_link_inside_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page(path)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        led_to = (path.parent / file).resolve() if file else path
        assert led_to.exists(), target
        assert not anchor or anchor in anchors_of(page(led_to)), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_file_of_ours_that_is_named_is_there(path: Path) -> None:
    folders = ("coupons", "consumer", "runtime", "couponsite", "dev", "tests")
    ours = {each.name for folder in folders for each in (PROJECT / folder).rglob("*.*")}
    for name in re.findall(r"`([\w/]+\.(?:py|lua))`", page(path)):
        assert (PROJECT / name).exists() or ("/" not in name and name in ours), name


@pytest.mark.parametrize("name", PAIRS)
def test_both_languages_have_the_same_commands_rows_and_headings(name: str) -> None:
    english, korean = page(PROJECT / f"{name}.md"), page(PROJECT / f"{name}.ko.md")

    assert code_of(english) == code_of(korean)
    for pattern in (r"^\| `([^`]+)`", r"^(#+) "):
        assert re.findall(pattern, english, re.MULTILINE) == re.findall(pattern, korean, re.MULTILINE)


@pytest.mark.parametrize("name", MEASURED)
def test_each_row_of_a_table_has_the_same_figures_in_korean(name: str) -> None:
    english, korean = (figures_of(page(PROJECT / f"{name}{end}")) for end in (".md", ".ko.md"))

    assert len(english) == len(korean)
    assert [(en, ko) for en, ko in zip(english, korean, strict=True) if en - ko] == []


@pytest.mark.parametrize("name", ["docs/api.md", "docs/api.ko.md"])
def test_every_code_reason_and_metric_is_listed(name: str) -> None:
    text = page(PROJECT / name)
    named = set(re.findall(r"`(coupon_\w+?)(?:\{\w+(?:,\w+)*\})?`", text))

    assert {code for code in Code if f"`{code}`" not in text} == set()
    assert {reason for reason in DeadLetterReason if reason not in text} == set()
    assert set(re.findall(r'"(coupon_\w+)"', page(Path(metrics.__file__)))) - named == set()


def test_the_hooks_are_the_linters() -> None:
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", page(PROJECT / "Makefile"), re.MULTILINE)
    assert lint is not None
    made = [re.sub(r" > .*", "", line.strip()) for line in lint[1].splitlines()]
    made = [line.replace("$(BIN)", ".venv/bin").replace("$(VENV)", ".venv") for line in made]

    [repository] = yaml.safe_load(page(PROJECT / ".pre-commit-config.yaml"))["repos"]

    assert [hook["entry"].removeprefix("env ") for hook in repository["hooks"]] == made


def test_the_version_is_the_one_released_last() -> None:
    unreleased, released, *_ = re.findall(r"^## (.*)", page(PROJECT / "CHANGELOG.md"), re.MULTILINE)

    assert unreleased == "Unreleased"
    assert re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", released)


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_the_lines_that_it_counts_are_about_what_there_is(name: str) -> None:
    if not (PROJECT / ".git").exists():
        pytest.skip("the commands count what git knows, and this is no checkout")
    text = page(PROJECT / name)
    told = [
        int(count.replace(",", "")) for count in re.findall(r"^\| [^|]+ \| ([0-9]+,[0-9]{3}) \|$", text, re.M)
    ]
    commands = re.findall(r"^(git ls-files .*wc -l)", text, re.M)
    counted = [int(subprocess.check_output(each, shell=True, cwd=PROJECT, text=True)) for each in commands]

    assert len(told) == len(counted) == 3
    assert all(abs(one - other) < other / 20 for one, other in zip(told, counted, strict=True)), counted
