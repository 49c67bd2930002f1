"""How one setting is read: texts that may stand in a file, paths, and the error that names the variable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from environs import Env

from runtime.wording import Wording


class ConfigError(Wording, ValueError):
    """A setting has a wrong value; the text is one line that names the variable."""


def secret(env: Env, name: str, default: str = "") -> str:
    """The variable's value, or the text of the file that ``name``_FILE names, without its last line feed."""
    path = env.str(f"{name}_FILE", "")
    if not path:
        return env.str(name, default)
    if env.str(name, ""):
        raise ConfigError("{name} and {name}_FILE are both set: leave one of them out", name=name)
    return _text(f"{name}_FILE", path).removesuffix("\n").removesuffix("\r")


def secret_file(env: Env, name: str) -> str:
    """The file that a ``secret`` stands in, for those that are read again when it changes; empty: none."""
    return env.str(f"{name}_FILE", "")


def readable_file(env: Env, name: str) -> str:
    """The path of a file that we can read; empty if the variable is not set."""
    path = env.str(name, "")
    if path:
        _text(name, path)
    return path


def together(values: Mapping[str, str]) -> None:
    """Refuse one of these variables without the others."""
    missing = [name for name, value in values.items() if not value]
    if missing and len(missing) < len(values):
        given = ", ".join(name for name, value in values.items() if value)
        raise ConfigError("{given} needs {missing} too", given=given, missing=", ".join(missing))


def _text(name: str, path: str) -> str:
    try:
        return Path(path).read_text()
    except UnicodeDecodeError as error:
        raise ConfigError("{name}: {path} is no text file", name=name, path=path) from error
    except OSError as error:
        raise ConfigError(
            "{name}: {path} cannot be read: {error}", name=name, path=path, error=error.strerror
        ) from error
