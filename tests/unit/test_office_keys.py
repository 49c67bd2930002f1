"""Keys of the back office: made once, kept as hashes, with scopes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from coupons.tickets import office_keys
from coupons.tickets.office_keys import OfficeKey, OfficeKeys, Scope, UnusableOfficeKeysError, parsed

DIGEST = "0" * 64


def made(*words: str) -> tuple[str, str]:
    """The key and the line that the command shows."""
    out = io.StringIO()
    call_command("office_key", *words, stdout=out)
    key, line, _ = out.getvalue().splitlines()
    return key.removeprefix("key:").strip(), line.removeprefix("line:").strip()


def test_a_new_key_is_found_by_its_hash_alone() -> None:
    key, line = made("crm", "--scopes", "users:read,requests:read")

    [kept] = parsed(line)
    assert key not in line
    assert OfficeKeys([kept]).find(key.encode()) == kept
    assert kept.name == "crm"
    assert kept.scopes == {Scope.USERS_READ, Scope.REQUESTS_READ}
    assert OfficeKeys([kept]).find(key.encode() + b" ") is None
    assert OfficeKeys([kept]).find(kept.digest.encode()) is None  # who reads the file has no key


def test_two_keys_are_different_and_long() -> None:
    keys = {office_keys.new("crm", [Scope.USERS_READ])[0] for _ in range(100)}

    assert len(keys) == 100
    assert all(len(key) >= 43 and key.startswith(office_keys.PREFIX) for key in keys)


def test_a_line_is_appended_to_a_file_that_others_cannot_read(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    for name in ("crm", "shop", "crm"):
        made(name, "--scopes", "claims:write", "--append", str(file))
    file.write_text(file.read_text().rstrip("\n"))  # an editor that leaves the last line feed out
    made("till", "--scopes", "claims:write", "--append", str(file))

    assert [key.name for key in parsed(file.read_text())] == ["crm", "shop", "crm", "till"]
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "words",
    [
        ("crm", "--scopes", "everything"),
        ("crm", "--scopes", ""),
        ("c r m", "--scopes", "users:read"),
        ("", "--scopes", "users:read"),
        ("crm", "--scopes", "users:read", "--append", "/nowhere/keys"),
    ],
)
def test_the_command_says_what_is_wrong(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        made(*words)


def test_a_list_may_have_comments() -> None:
    text = f"# of the shop\n\n  crm   sha256:{DIGEST}   users:read,requests:read\n"

    assert parsed(text) == [
        OfficeKey(name="crm", digest=DIGEST, scopes=frozenset({Scope.USERS_READ, Scope.REQUESTS_READ}))
    ]


@pytest.mark.parametrize(
    "line",
    [
        "crm office_geheim users:read",
        f"crm sha256:{DIGEST}",
        f"crm sha256:{DIGEST} everything",
        f"crm sha256:{DIGEST} users:read,",
        f"crm sha256:{DIGEST[1:]} users:read",
        f"crm md5:{DIGEST} users:read",
        f"{'n' * 65} sha256:{DIGEST} users:read",
        f"crm sha256:{DIGEST.replace('0', 'A')} users:read",
    ],
)
def test_a_wrong_line_is_told_by_its_number_and_not_repeated(line: str) -> None:
    with pytest.raises(UnusableOfficeKeysError, match="line 2") as refused:
        parsed(f"# keys\n{line}\n")
    assert "geheim" not in str(refused.value)
