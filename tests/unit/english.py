"""Finds text for people in code: two words of small letters, outside what is translated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

_WORDS: Final = re.compile(r"[a-z]{2,} [a-z]{2,}")
_WORD: Final = re.compile(r"[a-z]{2,}")
#: Calls whose texts have Korean, or which no operator reads on a terminal.
_KNOWN: Final = re.compile(r"say|marked|text|log\.\w+|re\.\w+|\w+\.execute|ask|rows\.ask|cursor\.\w+")
_SQL: Final = re.compile(r"\b(SELECT|UPDATE|INSERT|DELETE|ALTER|SET|FROM|NOT EXISTS)\b")


def untranslated(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each that the functions of a module hold; a parser's helps are translated whole."""
    for node in tree.body:
        yield from _of(node, inside=False)


def _of(node: ast.AST, *, inside: bool) -> Iterator[tuple[int, str]]:
    match node:
        case ast.FunctionDef(args=ast.arguments(args=given)) if "parser" in {each.arg for each in given}:
            return
        case ast.FunctionDef(body=body):
            statements = body[1:] if ast.get_docstring(node) is not None else body
            for statement in statements:
                yield from _of(statement, inside=True)
            return
        case ast.Call(func=func) if _KNOWN.fullmatch(ast.unparse(func)):
            return
        case ast.BoolOp(op=ast.Or(), values=[*_, ast.Constant(value=str(plain))]) if inside:
            if _WORD.fullmatch(plain):  # one word alone, in place of what is not there
                yield node.lineno, plain
        case ast.Compare():  # words of a server, looked for
            return
        case ast.JoinedStr(values=values):
            plain = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in values)
            if inside and _is_prose(plain):
                yield node.lineno, plain
            for each in values:
                if isinstance(each, ast.FormattedValue):
                    yield from _of(each.value, inside=inside)
            return
        case ast.Constant(value=str(plain)) if inside and _is_prose(plain):
            yield node.lineno, plain
    for child in ast.iter_child_nodes(node):
        yield from _of(child, inside=inside)


def _is_prose(text: str) -> bool:
    return _WORDS.search(text) is not None and _SQL.search(text) is None
