"""The admin's Korean: compiled as it is written, with the same places to fill, of strings that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import django
import polib
import pytest
import unfold
from django.apps import apps
from django.utils import translation
from django.utils.text import capfirst

from dev import catalogs
from runtime.operator_language import DOMAIN

_PLACES = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\w*\}")


def entries() -> list[polib.POEntry]:
    """The admin's; those of the commands: test_commands_korean.py."""
    texts = [text for text in catalogs.texts() if text.stem != DOMAIN]
    return [entry for text in texts for entry in polib.pofile(str(text))]


@cache
def sources() -> str:
    """All that Django and unfold have to translate."""
    packages = [Path(package.__file__ or "").parent for package in (django, unfold)]
    catalogues = [text.read_text() for text in packages[0].rglob("locale/en/LC_MESSAGES/*.po")]
    files = [file for kind in ("*.html", "*.py") for file in packages[1].rglob(kind)]
    joined = re.sub(r"""["']\n\s*["']""", "", "\n".join([*catalogues, *(file.read_text() for file in files)]))
    return joined.replace('\\"', '"')


@cache
def ours() -> set[str]:
    """The columns' names, as Django's log of changes has them, and the words of states."""
    models = [*apps.get_app_config("coupons").get_models(), *apps.get_app_config("auth").get_models()]
    fields = [field for model in models for field in (*model._meta.fields, *model._meta.many_to_many)]
    with translation.override("en"):  # a test before this one may have asked for a page in Korean
        states = {str(label) for field in fields for _, label in field.flatchoices}
    plain = {field.name.replace("_", " ") for field in fields}
    return {*states, *(capfirst(name) or "" for name in plain), "Email address", "Active", "Staff status"} | {
        "Superuser status"
    }


@pytest.mark.parametrize("text", catalogs.texts(), ids=lambda text: text.name)
def test_what_is_compiled_is_what_is_written(text: Path) -> None:
    assert text.with_suffix(".mo").read_bytes() == catalogs.compiled(text), "make messages"


def test_each_string_fills_the_same_places() -> None:
    for entry in entries():
        translated = entry.msgstr or entry.msgstr_plural[0]
        assert set(_PLACES.findall(translated)) <= set(_PLACES.findall(entry.msgid + entry.msgid_plural))
        assert translated


def test_each_string_is_still_there_to_be_translated() -> None:
    known = sources()

    def is_there(msgid: str) -> bool:
        in_template = re.sub(r"%\((\w+)\)[sd]", r"{{ \1 }}", msgid)
        return msgid in known or in_template in known or msgid in ours()

    assert [entry.msgid for entry in entries() if not is_there(entry.msgid)] == []
