"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from textwrap import dedent
from typing import Final

import pytest

from dev.processes import PROJECT

PRODUCT: Final = ("coupons", "consumer", "runtime", "couponsite")


def test_tests_and_tools_use_what_the_product_shows() -> None:
    """An underscored name may go with the next change of its module; whoever needs it has it made public."""
    hidden = set(chain.from_iterable(_defined(tree) for _, tree in _modules(*PRODUCT)))

    reached = {
        f"{path} {name}" for path, tree in _modules("tests", "dev") for name in _reached(tree) & hidden
    }

    assert not reached


@pytest.mark.parametrize(
    "code",
    [
        "from coupons.gate.keys import _hidden",
        "keys._hidden",
        "run.loop._hidden.get(7)",
        "gate._hidden = 1",
        "monkeypatch.setattr(keys, '_hidden', 1)",
        "monkeypatch.setattr('coupons.gate.keys._hidden', 1)",
        "monkeypatch.delattr(keys, '_hidden')",
        "names = [(keys, '_hidden')]",
        "def _hidden(): keys._hidden()",
        "def _hidden(): monkeypatch.setattr(keys, '_hidden', 1)",
        "run('-c', '''\nkeys._hidden = 1\n''')",
    ],
)
def test_a_reach_is_seen_however_it_is_written(code: str) -> None:
    assert _reached(ast.parse(code)) == {"_hidden"}


@pytest.mark.parametrize(
    "code",
    [
        "self._own",
        "cls._own",
        "_own = 1",
        "def _own(): 'calls _own'",
        "f'{name}_own'",
        "x.__name__",
        "_()",
        "def _own(): ...\nusefixtures('_own')",
    ],
)
def test_a_modules_own_names_are_no_reach(code: str) -> None:
    assert _reached(ast.parse(code)) == set()


def _modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for path in chain.from_iterable(sorted((PROJECT / folder).rglob("*.py")) for folder in folders):
        yield str(path.relative_to(PROJECT)), ast.parse(path.read_text())


def _defined(tree: ast.Module) -> set[str]:
    """The underscored names of a module, of its classes and of their objects."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
    return set(filter(_is_hidden, found))


def _reached(tree: ast.Module) -> set[str]:
    """The underscored names that a module takes from elsewhere: by import, as an attribute, in a string."""
    taken: set[str] = set()
    told: set[str] = set()  # in strings: of the module's own, perhaps
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=names):
                taken |= {each.name for each in names}
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name):
                taken.add(name)
            case ast.Call(
                func=ast.Attribute(attr="setattr" | "delattr"), args=[_, ast.Constant(str(name)), *_]
            ):
                taken.add(name)
            case ast.Constant(value=str(text)) if id(node) not in parts:
                told.add(text.rpartition(".")[2])
                taken |= _reached_by_a_script(text)
    return set(filter(_is_hidden, taken | (told - _defined(tree))))


def _reached_by_a_script(text: str) -> set[str]:
    """What a process of its own reaches for, whose code is a string of several lines."""
    with suppress(SyntaxError, ValueError):
        return _reached(ast.parse(dedent(text))) if "\n" in text else set()
    return set()


def _is_hidden(name: str) -> bool:
    return name.isidentifier() and name.startswith("_") and not name.startswith("__") and name != "_"
