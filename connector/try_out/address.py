"""An address on the command line → the section of a source. Passwords in addresses are never written to a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

from pydantic import ValidationError

from connector import ConnectorError
from connector.sources.catalogue import SOURCES
from connector.sources.section import Address, SourceSection

_SCHEMES: Final = {scheme: kind for kind in SOURCES.kinds.values() for scheme in kind.schemes}
PASSWORDS: Final = frozenset("${" + kind.password_variable + "}" for kind in _SCHEMES.values())
"""References to environment variables. A file has such a reference instead of a password."""


class AddressError(ConnectorError, ValueError):
    """The address cannot be used; the text has the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Addressed:
    """The source at an address."""

    section: SourceSection
    """The section for use now, with the password."""
    settings: dict[str, object]
    """The same settings for a file: with the name of an environment variable instead of the password."""


def parse_address(
    url: str,
    topics: Sequence[str],
    *,
    username: str | None = None,
    ca_file: str | None = None,
    protocol: str | None = None,
    mechanism: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Addressed:
    """Returns the source at the address `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH]`.

    The scheme selects the kind of source. The password may also stand in the environment variable of that kind. Raises
    `AddressError`.
    """
    scheme, separator, rest = url.partition("://")
    kind = _SCHEMES.get(scheme.lower()) if separator else None
    if kind is None:
        examples = [example for kind in SOURCES.kinds.values() for example in kind.schemes.values()]
        raise AddressError(
            f"{scheme if separator else 'no scheme'!r} is not understood; write for example {' or '.join(examples)}"
        )
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(netloc) :]:
        raise AddressError(
            "the address cannot be read: in a user or password write %2F for /, %3F for ?, %23 for # and %40 for @; or "
            f"put the password into the environment variable {kind.password_variable}"
        )
    login, _, host = netloc.rpartition("@")
    user, _, secret = login.partition(":")
    username = username or unquote(user) or None
    password = (unquote(secret) or environment.get(kind.password_variable) or None) if username else None
    address = Address(
        scheme.lower(), host, rest[len(netloc) :], topics, username, password, ca_file, protocol, mechanism
    )
    written = replace(address, password=None if password is None else "${" + kind.password_variable + "}")
    try:
        return Addressed(kind.model_validate(kind.settings_at(address)), kind.settings_at(written))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AddressError(f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from None
    except ValueError as error:
        raise AddressError(str(error)) from None
