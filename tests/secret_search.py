"""The search for secrets in all that a test run leaves behind: logs, pages, errors, dead letters, state, output.

Each process that runs tests searches its own temporary folder when it ends, what tests printed and logged, and folders
that are removed earlier when they are. Secrets are told by their mark (`secrets_used`), plain, in base64 and in
hexadecimal; besides, access tokens and private keys by their first bytes. Found is said by place and name, never by
value, and the run has failed.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result

from tests.secrets_used import MARK

MAY_HOLD: Final = {
    "connector.yaml": "a configuration that a test wrote, with the secret in it",
    "*.yaml": "the same, or one that a command wrote for its user",
    "*.yml": "the same",
    "*credentials*.json": "Clarify's credentials file",
    "*[._]key": "a private key, for the program that needs it",
    "*.pem": "the same, with its certificate",
    "passwords": "the broker's own users",
    "password": "a secret in a file of its own, as a configuration may name it",
    "store.sqlite*": "the sandbox's own integrations",
    "sandbox*.sqlite*": "the same",
}
"""Names of files that may hold secrets, and why; in nothing else may there be one."""
_PART: Final = 1024 * 1024
_NAME: Final = re.compile(re.escape(MARK).encode() + rb"-([a-z]+(?:-[a-z]+)*)")


def _in_base64(text: bytes) -> Iterator[bytes]:
    """How a text looks within longer ones in base64: it begins at any of three places of a group."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + text).rstrip(b"=")
        whole = (before + len(text)) // 3 * 4
        yield encoded[(0, 2, 3)[before] : whole]


_SIGNS: Final = {
    MARK.encode(): "",
    **dict.fromkeys(_in_base64(MARK.encode()), " in base64"),
    MARK.encode().hex().encode(): " in hexadecimal",
}
_OTHERS: Final = {
    base64.b64encode(b'{"alg":"HS256","typ"')[:24]: "an access token of the sandbox",
    base64.b64encode(b'{"alg": "none"}')[:16]: "an access token for Kafka",
    b"PRIVATE KEY-----": "a private key",
}
_LONGEST: Final = 200

FOUND: list[str] = []
"""What was found so far in this process."""


def secrets_in(content: bytes) -> set[str]:
    """The names of the secrets in it."""
    found = {name for sign, name in _OTHERS.items() if sign in content}
    for sign, how in _SIGNS.items():
        if sign in content:
            named = {match.decode() for match in _NAME.findall(content)} if not how else set()
            found |= named or {f"a secret{how}"}
    return found


def search_text(place: str, text: str) -> None:
    """Look into what a test printed, logged or was answered."""
    FOUND.extend(f"{place}: {name}" for name in sorted(secrets_in(text.encode(errors="replace"))))


def search_folder(folder: Path) -> None:
    """Look into all files of a folder, but for those that may hold secrets."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or any(fnmatch(path.name, name) for name in MAY_HOLD):
            continue
        try:
            names = _secrets_of(path)
        except OSError:
            continue  # removed meanwhile, or not ours to read
        FOUND.extend(f"{path.relative_to(folder.parent)}: {name}" for name in sorted(names))


def _secrets_of(path: Path) -> set[str]:
    found: set[str] = set()
    with path.open("rb") as file:
        before = b""
        while part := file.read(_PART):
            found |= secrets_in(before + part)
            before = part[-_LONGEST:]
    return found


class SearchedCommands(CliRunner):
    """click's runner for tests, that looks into what a command says."""

    def invoke(self, *args: Any, **more: Any) -> Result:
        """As click's."""
        result = super().invoke(*args, **more)
        search_text(f"output of {os.environ.get('PYTEST_CURRENT_TEST', 'a command')}", result.output)
        return result
