"""What commands print exists in Korean: each text has an entry, each entry a text, with the same places."""

from __future__ import annotations

import argparse
import ast
import re
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import polib
import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from coupons.eventlog import log_reader
from coupons.eventlog.log_reader import LogUnavailable
from coupons.operations.preflight.catalogue import SUBJECTS
from dev import catalogs
from dev.processes import PROJECT
from runtime import columns
from runtime.config.language import Language
from runtime.operator_command import OperatorCommand
from runtime.operator_language import DOMAIN, say, spoken
from tests.unit.english import untranslated

#: Read by programs, by servers, or in a log beside its other lines.
_ENGLISH: Final = {
    "consuming; health on http://{}:{}/actuator/health",
    "manage.py rehearsal",
    "preflight: this log can be written",
}
_HEALTH: Final = {"no partition takes events", "the broker or the topic does not answer"}
_LITERAL: Final = {  # commands to type, and words of servers that are looked for
    "kafka-configs.sh --alter --entity-type topics --entity-name {}",
    "python manage.py create_topics",
    "ulimit -Hn 65536 (LimitNOFILE= of systemd, ulimits: of Compose)",
    " for table ",
    "localhost",
    "no permissions",
    "unknown command",
}
#: Entries that are names, numbers or signs alone.
_WITHOUT_HANGUL: Final = {
    " and ",
    "{some} of {all}",
    "a Sentinel",
    "90d, 12w, 6m (of 30 days) or 1y",
    "coupon_deferred_event: written_ms, event_key, event_headers, deferred_at",
    "argument %(argument_name)s: %(message)s",
    "{number} {level}",
    "{number} {what}",
    "{name}: {error}",
    "{weakness}: {mend}",
}
_OF_ARGPARSE: Final = Path(argparse.__file__).read_text()


@cache
def commands() -> dict[str, BaseCommand]:
    ours = [name for name, app in get_commands().items() if app in ("coupons", "consumer")]
    return {name: load_command_class(get_commands()[name], name) for name in ours}


def helps(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield parser.description or ""
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            yield action.help or ""
        if isinstance(action, argparse._SubParsersAction):
            yield from (choice.help or "" for choice in action._choices_actions)
            for each in action.choices.values():
                yield from helps(each)


@cache
def shown_helps() -> set[str]:
    found = [
        text for name, each in commands().items() for text in helps(each.create_parser("manage.py", name))
    ]
    return set(filter(None, found))


def rights() -> set[str]:
    return {check.right for subject in SUBJECTS for check in subject.checks}


@cache
def entries() -> list[polib.POEntry]:
    [text] = [text for text in catalogs.texts() if text.stem == DOMAIN]
    return list(polib.pofile(str(text)))


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None} | set(
        re.findall(r"%\(\w+\)s|%[sr]", text)
    )


def shapes(text: str) -> set[tuple[str, str, str]]:
    """Each place with how it is shown: 1,000 must not be 1000 in the other language."""
    found = string.Formatter().parse(text)
    return {(name, spec or "", conversion or "") for _, name, spec, conversion in found if name is not None}


def test_every_command_speaks_the_operators_language() -> None:
    assert len(commands()) > 15
    assert [name for name, each in commands().items() if not isinstance(each, OperatorCommand)] == []


def test_every_text_that_is_said_has_korean() -> None:
    assert len(catalogs.said()) > 500
    assert catalogs.without_korean() == {}


def test_every_help_and_every_check_has_korean() -> None:
    known = catalogs.of_commands()

    assert len(shown_helps()) > 80
    assert [text for text in sorted(shown_helps() | rights()) if not known.get(text)] == []


def test_every_entry_is_still_said() -> None:
    said = catalogs.said().keys() | shown_helps() | rights()

    def is_there(entry: polib.POEntry) -> bool:
        return entry.msgid in said or repr(entry.msgid) in _OF_ARGPARSE or entry.msgid_plural != ""

    assert [entry.msgid for entry in entries() if not is_there(entry)] == []


def test_every_entry_is_korean_with_the_same_places() -> None:
    for entry in entries():
        korean = entry.msgstr or entry.msgstr_plural[0]
        assert re.search("[가-힣]", korean) or entry.msgid in _WITHOUT_HANGUL, entry.msgid
        assert places(korean) | {"plural"} == places(entry.msgid) | {"plural"}, entry.msgid
        assert {each for each in shapes(korean) ^ shapes(entry.msgid) if each[0] != "plural"} == set(), (
            entry.msgid
        )


def test_each_text_gets_values_for_its_places() -> None:
    for folder in catalogs.PRODUCT:
        for path in (PROJECT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Name(id=called), args=[ast.Constant(str(text))], keywords=given
                    ) if called == "say" or called in catalogs.WORDINGS:
                        names = {each.arg for each in given}
                        assert names in ({None}, places(text)), f"{path}:{node.lineno} {text}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("raise ConfigError('NAME is wrong')", ["NAME is wrong"]),
        ("raise ConfigError('{name} is wrong: ' 'set it', name=name)", ["{name} is wrong: set it"]),
        ("yield Wording('{name} is wrong', name=name)", ["{name} is wrong"]),
        ("raise ConfigError(f'{name} is wrong')", ["f'{name} is wrong'"]),
        ("raise ConfigError('NAME is wrong: ' + why)", ["'NAME is wrong: ' + why"]),
        ("raise ConfigError(TEXT, name=name)", []),
        ("raise ValueError('NAME is wrong')", []),
    ],
)
def test_the_text_of_a_wording_is_found_and_one_that_is_no_literal_has_no_korean(
    code: str, found: list[str]
) -> None:
    assert [text for _, text in catalogs.said_in(ast.parse(code))] == found


def test_all_errors_that_are_wordings_are_known() -> None:
    made = {
        node.name
        for folder in catalogs.PRODUCT
        for path in (PROJECT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and {"Wording", *catalogs.WORDINGS} & {ast.unparse(base) for base in node.bases}
    }

    assert made | {"Wording"} == catalogs.WORDINGS


def test_an_error_that_is_logged_too_is_english_until_a_command_says_it() -> None:
    """Its text is ``marked`` where it is raised: workers, consumers and commands write it into their logs."""
    translated = [
        f"{path}:{node.lineno}"
        for folder in catalogs.PRODUCT
        for path in (PROJECT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("Unavailable")
        and any(ast.unparse(each).startswith("say(") for each in node.args)
    ]

    assert translated == []
    with spoken(Language.KOREAN):
        with pytest.raises(LogUnavailable) as late:
            log_reader.deadline(0)()
        assert str(late.value).isascii()
        assert not say(str(late.value)).isascii()


def test_the_help_of_a_commands_command_is_laid_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    with spoken(Language.KOREAN):
        parser = commands()["log_position"].create_parser("manage.py", "log_position")
        [choices] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
        lines = choices.choices["accept-loss"].format_help().splitlines()

    assert [line for line in lines if columns.width(line) > 70] == []
    assert max(columns.width(line) for line in lines) > 50


@pytest.mark.parametrize("folder", ["coupons/management", "consumer/management", "coupons/operations"])
def test_nothing_is_printed_in_english_alone(folder: str) -> None:
    found = {
        f"{path.relative_to(PROJECT)}:{line}: {text}"
        for path in sorted((PROJECT / folder).rglob("*.py"))
        for line, text in untranslated(ast.parse(path.read_text()))
        if text not in _ENGLISH | _HEALTH | _LITERAL
    }

    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "self.stdout.write('nothing was done')",
        "self.stdout.write(f'{count} rows were made')",
        "self.stderr.write('warning: ' + 'not all of it')",
        "raise CommandError(f'there is no coupon {number}')",
        "yield red('it is full', say('room on its disk'))",
        "return say('is {what}', what='not at all there')",
        "tqdm(desc='waiting for it')",
        "self.stdout.write(', '.join(names) or 'none')",
    ],
)
def test_english_is_found_however_it_is_printed(code: str) -> None:
    in_function = ast.parse(f"def shown():\n    '''Says what it is.'''\n    {code}")

    assert len(list(untranslated(in_function))) == ("say(" not in code or "red" in code)


def test_a_text_without_korean_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        catalogs, "said", lambda: {"a new text": "coupons/new.py:7", "note: {problem}": "x:1"}
    )

    assert catalogs.main(is_check=True) != 0
    assert capsys.readouterr().err == "coupons/new.py:7: no Korean in commands.po for: a new text\n"
