"""The credentials file, in the format of the file that users download from Clarify's admin panel."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Literal

import orjson

from connector.sandbox.store import Integration

CredentialsKind = Literal["client-credentials", "basic-auth"]


def write_credentials(path: Path, integration: Integration, *, api_url: str, kind: CredentialsKind) -> None:
    """Write or replace the credentials file in one atomic step, with mode 0600.

    `api_url` ends with a slash. Raises OSError, whose text names the file.
    """
    if kind == "client-credentials":
        user, secret = integration.client_id, integration.client_secret
    else:
        user, secret = integration.id, integration.password
    document = {  # nothing more: Clarify's Node-RED node refuses a file with other members
        "apiUrl": api_url,
        "integration": integration.id,
        "credentials": {"type": kind, "clientId": user, "clientSecret": secret},
    }
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write the credentials file {path}: {error.strerror}") from error
