"""The credentials of an integration: a JSON file of Clarify, the text of the file, or a dict of its fields.

Both types of credentials work: "client-credentials" (OAuth 2.0, the file to download) and "basic-auth" (user name and
password). The secret is a SecretStr from the first moment. Errors name the source, the field and the remedy, and never
a value.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import quote_plus

import httpx
import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from connector.clarify.errors import CredentialsError
from connector.clarify.limits import RESOURCE_ID
from connector.clarify.validation import broken_rules

_REMEDY: Final = "Use a credentials file as downloaded from the integration's page in Clarify's admin panel."
_FILE_BYTES: Final = 64 * 1024  # a credentials file has less than one KiB
_CONFIG: Final = ConfigDict(
    frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True
)

CredentialsSource = str | os.PathLike[str] | Mapping[str, object]
"""A path, JSON text, or the decoded JSON object."""


class Login(BaseModel):
    """The login of an integration. For "basic-auth", client_id is the user name, and client_secret the password."""

    model_config = _CONFIG

    type: Literal["client-credentials", "basic-auth"]
    client_id: str
    client_secret: SecretStr

    @field_validator("client_id")
    @classmethod
    def _id_is_there(cls, client_id: str) -> str:
        if not client_id.strip():
            raise ValueError("must not be empty")
        return client_id

    @field_validator("client_secret")
    @classmethod
    def _secret_is_there(cls, client_secret: SecretStr) -> SecretStr:
        if not client_secret.get_secret_value().strip():
            raise ValueError("must not be empty")
        return client_secret

    @model_validator(mode="after")
    def _user_name_can_be_sent(self) -> Self:
        if self.type == "basic-auth" and ":" in self.client_id:
            raise ValueError("clientId must not hold a colon: basic authentication cannot carry a colon")
        return self


class Credentials(BaseModel):
    """The address of Clarify, the integration, and the login. `api_url` always ends with a slash."""

    model_config = _CONFIG

    api_url: str
    integration: str
    login: Login = Field(validation_alias="credentials")
    name: str | None = None

    @classmethod
    def load(cls, source: CredentialsSource, *, allow_insecure: bool = False) -> Credentials:
        """The credentials from a path, JSON text or a dict. Raises CredentialsError for wrong credentials.

        `allow_insecure` permits http:// to another machine. The secret then travels in clear text.
        """
        where, fields = _read(source)
        try:
            return cls.model_validate(fields, context={"allow_insecure": allow_insecure})
        except ValidationError as error:
            wrong = broken_rules(error)
        # Raised outside the except block, so that the ValidationError, which holds the input, is not chained.
        raise CredentialsError(f"{where}: {wrong}. {_REMEDY}")

    @property
    def rpc_url(self) -> str:
        """The address for RPC requests."""
        return self.api_url + "rpc"

    @property
    def token_url(self) -> str:
        """The address for token requests."""
        return self.api_url + "oauth/token"

    def basic_value(self) -> str:
        """The user name and the password, encoded for an Authorization header of type Basic. The value is a secret."""
        secret = self.login.client_secret.get_secret_value()
        return base64.b64encode(f"{self.login.client_id}:{secret}".encode()).decode()

    def hide(self, text: str, *more: str) -> str:
        """The text without the secret, in any form in which the secret is sent, and without the secrets `more`.

        The text comes from a server. Some servers repeat the request in the answer.
        """
        secret = self.login.client_secret.get_secret_value()
        for hidden in (*more, secret, quote_plus(secret), self.basic_value()):
            text = text.replace(hidden, "[secret]")
        return text

    @field_validator("api_url")
    @classmethod
    def _address(cls, api_url: str, info: ValidationInfo) -> str:
        api_url = api_url.strip()
        try:
            url = httpx.URL(api_url)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("must be an address such as https://api.clarify.io/v1/")
        if url.userinfo or any(character in "?#" or character.isspace() for character in api_url):
            raise ValueError("must be a plain address, without user name, password, space, '?' or '#'")
        insecure_allowed = isinstance(info.context, Mapping) and info.context.get("allow_insecure") is True
        if url.scheme == "http" and not insecure_allowed and not _is_loopback(url.host):
            raise ValueError(
                f"http:// to {url.host} would send the secret in clear text: use https://, or set allow_insecure"
            )
        return api_url if api_url.endswith("/") else api_url + "/"

    @field_validator("integration")
    @classmethod
    def _resource_id(cls, integration: str) -> str:
        if not RESOURCE_ID.match(integration):
            raise ValueError("must be an ID of 20 characters out of a-v and 0-9")
        return integration


class CurrentCredentials:
    """The credentials in use, and the file that they come from. Not safe for threads."""

    def __init__(
        self,
        credentials: Credentials,
        file: Path | None = None,
        *,
        allow_insecure: bool = False,
        told: Callable[[str | None], object] = lambda _problem: None,
    ) -> None:
        """Without a `file`, the credentials stay as they are; `allow_insecure` is as for `Credentials.load`.

        `told` is called after each change of the file: with None if the file is used now, else with the reason.
        """
        self.value = credentials
        self._former = credentials
        self._file = file
        self._allow_insecure = allow_insecure
        self._told = told
        self._stamp: tuple[int, ...] | None = None

    @classmethod
    def of(cls, source: Credentials | CredentialsSource) -> CurrentCredentials:
        """The credentials from a source; only a path is read again. Raises CredentialsError."""
        if isinstance(source, Credentials):
            return cls(source)
        is_path = isinstance(source, os.PathLike) or (isinstance(source, str) and not _is_json_text(source))
        file = Path(os.path.expanduser(source)) if is_path else None  # type: ignore[arg-type]  # noqa: PTH111 - as above
        return cls(Credentials.load(source), file)

    def renewed(self) -> bool:
        """Read the file again if it has changed. Returns whether other credentials are in use since then."""
        stamp = stamp_of(self._file)
        if self._file is None or stamp is None or stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            found = Credentials.load(self._file, allow_insecure=self._allow_insecure)
        except CredentialsError as error:
            self._told(str(error))
            return False
        if (found.api_url, found.integration) != (self.value.api_url, self.value.integration):
            self._told(
                f"credentials file {self._file} is for integration {found.integration} at {found.api_url}, and "
                f"integration {self.value.integration} at {self.value.api_url} is in use. Restart to use another one."
            )
            return False
        if found == self.value:
            return False
        self._former, self.value = self.value, found
        self._told(None)
        return True

    def hide(self, text: str, *more: str) -> str:
        """As `Credentials.hide`, also for the credentials that were used before."""
        return self._former.hide(self.value.hide(text, *more))


def stamp_of(file: Path | None) -> tuple[int, ...] | None:
    """Returns what changes with the content of a file; None without a file, or if the file is not there now."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return found and (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # the host is a name, and a name can mean any machine
        return False


def _read(source: CredentialsSource) -> tuple[str, Mapping[str, object]]:
    """The name of the source for messages, and the unchecked fields. Raises CredentialsError without fields."""
    if isinstance(source, Mapping):
        return "credentials", source
    if not isinstance(source, str | os.PathLike):
        raise CredentialsError(
            f"credentials must be a path, JSON text or a dict, not {type(source).__name__}. {_REMEDY}"
        )
    if isinstance(source, str) and _is_json_text(source):
        where, content = "credentials (JSON text)", source.encode(errors="replace")
    else:
        path = os.path.expanduser(source)  # noqa: PTH111 - leaves an unknown ~name as it is
        where, content = f"credentials file {path}", _read_file(Path(path))
    try:
        fields: object = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        wrong = f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
    else:
        if isinstance(fields, dict):
            return where, fields
        wrong = "is JSON, but not an object {...}"
    # Raised outside the except block, so that the JSONDecodeError, which holds the whole text, is not chained.
    raise CredentialsError(f"{where} {wrong}. {_REMEDY}")


def _is_json_text(source: str) -> bool:
    """Whether `source` is JSON, well formed or not, and no path. True in case of doubt, because errors show a path."""
    return source.lstrip("\ufeff \t\r\n").startswith(("{", "[")) or '"' in source or "\n" in source


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise CredentialsError(
            f"credentials file {path} cannot be read: {reason}. Check the path and its permissions."
        ) from error
    if len(content) > _FILE_BYTES:
        raise CredentialsError(f"credentials file {path} is over {_FILE_BYTES} bytes long. {_REMEDY}")
    return content
