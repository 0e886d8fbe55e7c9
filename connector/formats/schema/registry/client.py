"""A schema registry with Confluent's interface (Confluent, Karapace, Apicurio, Redpanda): ID → schema.

The schema of an ID never changes, so the registry is asked once for each ID. The answer is kept in memory and on disk.
So an outage of the registry stops only data with a new schema. A registry that is away, is slow, refuses access or
gives a useless answer says nothing about the data: the error is `SchemaUnavailableError`. A record is rejected only if
the registry itself says that there is no such schema, and says so again some seconds later: a server of a registry may
learn of a new schema after its writers. A payload can name any schema, so this time is not spent on each missing one.

Apicurio has global IDs beside the IDs of Confluent's interface, and answers them by its own interface.
https://docs.confluent.io/platform/current/schema-registry/develop/api.html
https://www.apicur.io/registry/docs/apicurio-registry/2.6.x/assets-attachments/registry-rest-api.htm
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import structlog

from connector.exchange.http import BadAnswer, Exchanges, NoAnswer, Received, SetUpError, environment_trust
from connector.exchange.network import deadline
from connector.formats.format import PayloadError, SchemaUnavailableError
from connector.formats.schema.registry.cache import SchemaFiles
from connector.formats.schema.registry.section import PATIENCE_SECONDS
from connector.formats.schema.schemas import GlobalId, Guid, NamedSchema, RegisteredSchema, SchemaId
from connector.records import Reason
from connector.settings import READ_AGAIN, SettingsError

_log = structlog.get_logger(__name__)

_NOT_FOUND: Final = range(40400, 40500)
"""Error codes for a missing schema, subject or version. HTTP 404 without such a code means that the URL is wrong."""
_ASK_AGAIN_SECONDS: Final = 60.0
"""How long the answer that there is no such schema is remembered; and how long after waiting in vain for a schema no
other one is waited for."""
_OWN_INTERFACE: Final = (re.compile(r"/apis/ccompat/v\d+$"), "/apis/registry/v2")
"""Apicurio: the path of Confluent's interface → the path of its own interface (versions 2 and 3 have it)."""
_OWN_PATHS: Final = ("/ids/", "/groups/")
_OWN_PATH: Final = re.compile(r"/groups(/[A-Za-z0-9_.~%-]+){5}")
_NO_PATH: Final = "NotFoundException"
_MAX_ANSWER: Final = 16 * 1024 * 1024
_MAX_CONTAINERS: Final = 1_000_000
"""Lists and objects in an answer: 3 bytes on the wire can take 64 bytes of memory, and much time."""
_MAX_REFERENCES: Final = 1_000
_MAX_DEPTH: Final = 100
"""References that lead to each other in a row."""
_MAX_SAID: Final = 200
"""Characters of the registry's own words in an error."""
_MAX_REMEMBERED: Final = 10_000
_PAUSE_SECONDS: Final = 0.5
_PAUSE_FACTOR: Final = 9
"""How long a failure is remembered: half a second, or nine times the time that it took. Until then, every call gets the
same error at once. So a registry that hangs keeps the data with known schemas for a tenth of the time at most."""


class _SilentError(SchemaUnavailableError):
    """A server gave no answer, whatever it was asked for."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the registry asks for: a user name and a password, or a token; and the password of our certificate's key."""

    auth: tuple[str, str] | None = None
    token: str | None = field(default=None, repr=False)
    key_password: str | None = field(default=None, repr=False)


class SchemaRegistry:
    """The client of a schema registry. Safe for threads; only one thread asks the registry at a time.

    The class is long because each question (schema, subject, reference) has its own way to be asked, kept and refused.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        folder: Path,
        *,
        auth: tuple[str, str] | None = None,
        token: str | None = None,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        key_password: str | None = None,
        verify: bool = True,
        renewed: Callable[[], Access | None] = lambda: None,
        timeout: float = 5.0,
        patience: float = PATIENCE_SECONDS,
        give_up_after: float | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The client asks `urls` in turn and keeps schemas in `folder`.

        `timeout` bounds one request, from the name's look-up to the last byte of the answer, in seconds. A schema that
        the registry does not have is waited for during `patience` (seconds), and one that the registry cannot give
        during `give_up_after` (seconds; None: for as long as it takes). Raises SettingsError for a certificate
        that cannot be used, and `OSError` if the folder cannot be made. Before each request, `renewed` returns the
        access anew if a secret or a certificate file has changed, else None.
        """
        self.name = name
        self._urls = list(urls)
        self._files = SchemaFiles(folder, name, urls)
        self._timeout = timeout
        self._patience = patience
        self._give_up_after = give_up_after
        self._clock = clock
        self._renewed = renewed
        self._make = partial(Exchanges, timeout=httpx.Timeout(timeout), transport=transport)
        self._trust = partial(_trust, ca_file, cert_file, key_file, verify=verify)
        self._secrets: list[str] = []
        self._exchanges = self._exchanges_with(Access(auth, token, key_password))
        self._lock = threading.Lock()
        self._known: dict[SchemaId, RegisteredSchema] = {}
        self._missing: dict[SchemaId, tuple[float, Reason, str]] = {}
        self._awaited: dict[SchemaId, tuple[float, float, str]] = {}
        """Schema that is waited for → the times of the first and the last request, and the error of the last one."""
        self._in_vain_at: float | None = None
        self._unavailable_since: dict[SchemaId, float] = {}
        self._failed: tuple[float, str | None, str] | None = None
        """How long the last failure is remembered, the path to which it belongs (None if no server answered), its
        text."""

    def schema(self, schema_id: SchemaId) -> RegisteredSchema:
        """The schema with this ID and all its references. Raises `SchemaUnavailableError` and `PayloadError`."""
        known = self._known.get(schema_id)
        if known is not None:
            return known
        with self._lock:
            if schema_id in self._known:
                return self._known[schema_id]
            try:
                found = self._looked_up(schema_id)
            except SchemaUnavailableError as error:
                self._check_patience(schema_id, str(error))
                raise
            self._unavailable_since.pop(schema_id, None)
            self._remember(self._known, schema_id, found)
            return found

    def _looked_up(self, schema_id: SchemaId) -> RegisteredSchema:
        missing = self._missing.get(schema_id)
        if missing is not None and self._clock() - missing[0] < _ASK_AGAIN_SECONDS:
            raise PayloadError(*missing[1:])
        awaited = self._awaited.get(schema_id)
        if awaited is not None and self._clock() - awaited[1] < _PAUSE_SECONDS:
            raise SchemaUnavailableError(awaited[2])
        try:
            # A schema with many references needs many requests. Answers are kept on disk, so that the next try goes
            # on where the deadline ended this one.
            with deadline(self._timeout * (len(self._urls) + 1)):
                found = self._assembled(schema_id)
        except PayloadError as error:
            if error.reason is Reason.SCHEMA_NOT_FOUND:
                self._await(schema_id, str(error))
            self._remember(self._missing, schema_id, (self._clock(), error.reason, str(error)))
            raise
        self._awaited.pop(schema_id, None)
        return found

    def _check_patience(self, schema_id: SchemaId, error: str) -> None:
        """Raise `PayloadError` if a schema has been unavailable for `give_up_after`."""
        if self._give_up_after is None:
            return
        now = self._clock()
        since = self._unavailable_since.get(schema_id)
        if since is None:
            self._remember(self._unavailable_since, schema_id, now)
        elif now - since >= self._give_up_after:
            raise PayloadError(
                Reason.SCHEMA_UNAVAILABLE, f"{error}; given up after {self._give_up_after:g} s (give_up_after)"
            )

    def _await(self, schema_id: SchemaId, error: str) -> None:
        """Raise `SchemaUnavailableError` while a schema that the registry does not have is waited for."""
        now = self._clock()
        first = self._awaited.pop(schema_id, (None,))[0]
        if first is None:
            in_vain = self._in_vain_at is not None and now - self._in_vain_at < _ASK_AGAIN_SECONDS
            if in_vain or not self._patience:
                return
            first = now
        elif now - first >= self._patience:
            self._in_vain_at = now
            return
        said = f"{error}; asking again for {self._patience:g} s: it may come late"
        self._remember(self._awaited, schema_id, (first, now, said))
        raise SchemaUnavailableError(said)

    def why_refused(self) -> str | None:
        """Why the first server of the registry does not answer us as a registry does; None if it does.

        The server is asked for the types of schemas that it knows. Nothing is remembered.
        """
        try:
            answer = self._received(self._urls[0] + "/schemas/types")
        except SchemaUnavailableError as error:
            return str(error)
        said = _json(answer.body)
        return None if answer.status == 200 and isinstance(said, list) else self._advice(answer.status, said)

    def close(self) -> None:
        """Close the connections."""
        self._exchanges.close()

    def _assembled(self, schema_id: SchemaId) -> RegisteredSchema:
        path = f"/schemas/ids/{schema_id}"
        if isinstance(schema_id, Guid):
            path = f"/schemas/guids/{quote(schema_id.text, safe='')}"
        elif isinstance(schema_id, GlobalId):
            path = f"/ids/globalIds/{schema_id.number}"
        answer = self._answer(path, f"schema {schema_id}")
        references: dict[str, NamedSchema] = {}
        self._resolve(answer, references, ())
        kind = answer.get("schemaType")
        return RegisteredSchema(
            schema_id, kind if isinstance(kind, str) else "AVRO", answer["schema"], tuple(references.values())
        )

    def _resolve(self, answer: dict[str, Any], into: dict[str, NamedSchema], above: tuple[str, ...]) -> None:
        """Add the references of an answer to `into`; each schema stands after the schemas that it refers to itself.

        `above` has the names of the references that led to the answer. Raises `SchemaUnavailableError` and
        `PayloadError`.
        """
        for name, path, what in _references(answer):
            if name in into:
                continue
            if name in above or len(above) > _MAX_DEPTH or len(into) + len(above) > _MAX_REFERENCES:
                raise PayloadError(Reason.SCHEMA_UNUSABLE, f"the schema {name!r} refers to itself")
            found = self._answer(path, f"{what}, which the schema refers to as {name}")
            self._resolve(found, into, (*above, name))
            into[name] = NamedSchema(name, found["schema"])

    def _answer(self, path: str, what: str) -> dict[str, Any]:
        """The registry's answer, from disk or from the registry: a schema, perhaps with references, of the right shape.

        `what` names the schema in errors. Raises `SchemaUnavailableError` and `PayloadError`.
        """
        kept = self._files.read(path)
        if kept is not None and _is_schema(kept):
            return kept
        found = self._asked(path, what)
        answer = {key: value for key, value in found.items() if key in ("schema", "schemaType", "references")}
        try:
            self._files.write(path, answer)
        except OSError as error:
            _log.warning(
                "schema_not_kept", registry=self.name, reason=str(error), effect="it is asked for again after a restart"
            )
        return answer

    def _asked(self, path: str, what: str) -> dict[str, Any]:
        failed = self._failed
        began = self._clock()
        if failed is not None and failed[1] in (None, path) and began < failed[0]:
            raise SchemaUnavailableError(failed[2])
        wrong = []
        silent = True
        for url in list(self._urls):
            try:
                found = self._request(url, path, what)
            except PayloadError:
                self._urls.append(self._urls.pop(0))  # another server may know of the schema already
                raise
            except SchemaUnavailableError as error:
                silent = silent and isinstance(error, _SilentError)
                wrong.append(f"{_shown(url)} {error}")
            except Exception as error:  # noqa: BLE001 - an unforeseen error says nothing about the record
                _log.exception("registry_exchange_bug", registry=self.name, remedy="please report it")
                wrong.append(f"{_shown(url)} is not understood, a bug ({type(error).__name__}): see the traceback")
            else:
                self._failed = None
                return found
            self._urls.append(self._urls.pop(0))  # from now on, the next URL is asked first
        said = self._said(f"cannot be asked for {what}: {'; '.join(wrong)}")
        now = self._clock()
        self._failed = (now + max(_PAUSE_SECONDS, _PAUSE_FACTOR * (now - began)), None if silent else path, said)
        raise SchemaUnavailableError(said)

    def _request(self, url: str, path: str, what: str) -> dict[str, Any]:
        """The answer of one server.

        Raises `PayloadError` if the server says that there is no such schema, subject or version. For any other failure
        it raises `SchemaUnavailableError`.
        """
        if path.startswith(_OWN_PATHS):
            return self._request_of_apicurio(url, path, what)
        answer = self._received(url + path)
        said = _json(answer.body)
        code = said.get("error_code") if isinstance(said, dict) else None
        if answer.status == 404 and code in _NOT_FOUND:
            raise PayloadError(Reason.SCHEMA_NOT_FOUND, self._said(f"has no {what}"))
        if answer.status == 200 and isinstance(said, dict) and _is_schema(said):
            return said
        if answer.status == 404 and "/guids/" in path:
            raise SchemaUnavailableError("has no such path (HTTP 404): GUIDs need Confluent's registry from 8.0 on")
        raise SchemaUnavailableError(self._advice(answer.status, said))

    def _request_of_apicurio(self, url: str, path: str, what: str) -> dict[str, Any]:
        """As `_request`, by Apicurio's own interface: it gives the text of a schema, and its references apart."""
        ours, theirs = _OWN_INTERFACE
        base, found = ours.subn(theirs, url)
        if not found:
            raise PayloadError(
                Reason.NO_SCHEMA_ID,
                self._said(
                    f"cannot be asked for {what}: only Apicurio has global IDs, and its url ends with /apis/ccompat/v7"
                ),
            )
        text, listed = (self._received(base + path + end) for end in ("", "/references"))
        said = _json(listed.body)
        error = _json(text.body)
        name = error.get("name") if isinstance(error, dict) else None
        if text.status == 404 and isinstance(name, str) and name.endswith("NotFoundException") and name != _NO_PATH:
            raise PayloadError(Reason.SCHEMA_NOT_FOUND, self._said(f"has no {what}"))
        for answer in (text, listed):
            if answer.status != 200:
                raise SchemaUnavailableError(self._advice(answer.status, _json(answer.body)))
        try:
            composed = {
                "schema": text.body.decode(),
                "schemaType": "",
                "references": [{"name": each["name"], "path": _path_of(each)} for each in said],  # type: ignore[attr-defined]
            }
        except (TypeError, KeyError, ValueError):
            composed = {}
        if not _is_schema(composed):
            raise SchemaUnavailableError(self._advice(200, said))
        return composed

    def _exchanges_with(self, access: Access) -> Exchanges:
        """The client with this access. Raises SettingsError."""
        headers = {
            "Accept": "application/vnd.schemaregistry.v1+json, application/json",
            "Accept-Encoding": "identity",  # each schema is asked for once
        }
        secrets: list[str] = []
        if access.token is not None:
            headers["Authorization"] = f"Bearer {access.token}"
            secrets = [access.token]
        elif access.auth is not None:
            basic = base64.b64encode(":".join(access.auth).encode()).decode()
            headers["Authorization"] = f"Basic {basic}"
            secrets = [basic, access.auth[1]]
        try:
            made = self._make(headers=headers, verify=self._trust(access.key_password))
        except SetUpError as error:
            raise SettingsError(f"the schema registry cannot be asked: {error}") from None
        self._secrets = [secret for secret in secrets if secret]
        return made

    def _renew(self) -> None:
        """Use the access that has changed; if it cannot be used, the earlier one stays."""
        access = self._renewed()
        if access is None:
            return
        try:
            made = self._exchanges_with(access)
        except SettingsError as error:
            _log.error(
                "credentials_not_reloaded",
                registry=self.name,
                reason=str(error),
                effect="what was read before is used",
                remedy="mend the files; they are read again before the next request",
            )
            return
        self._exchanges.close()
        self._exchanges = made

    def _received(self, url: str) -> Received:
        self._renew()
        try:
            return self._exchanges.send("GET", url, seconds=self._timeout, limit=_MAX_ANSWER)
        except NoAnswer as error:
            silence = _SilentError(f"does not answer ({error})")
        except BadAnswer as error:
            silence = _SilentError(f"does not answer with a schema: {error}")
        raise silence

    def _advice(self, status: int, said: object) -> str:
        if status in (401, 403):
            return f"refuses us (HTTP {status}): check username and password, or token; {READ_AGAIN}"
        if status == 404:
            return "has no such path (HTTP 404): check url, and its path (Apicurio: /apis/ccompat/v7)"
        if 300 <= status < 400:
            return f"redirects (HTTP {status}): use the address that it redirects to as url"
        message = said.get("message") if isinstance(said, dict) else None
        if not isinstance(message, str):
            return f"answers HTTP {status}, and not with a schema"
        for secret in self._secrets:
            message = message.replace(secret, "[secret]")
        return f"answers HTTP {status}: {message[:_MAX_SAID]}"

    def _said(self, what: str) -> str:
        return f"the schema registry {self.name} {what}"

    @staticmethod
    def _remember(where: dict[SchemaId, Any], key: SchemaId, value: object) -> None:
        if len(where) >= _MAX_REMEMBERED:
            where.clear()
        where[key] = value


def _is_schema(answer: dict[str, Any]) -> bool:
    try:
        texts = [answer["schema"], *(text for reference in _references(answer) for text in reference)]
        "".join(texts).encode()  # a lone surrogate is no text: JSON has escapes for it, and nothing else can hold it
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return True


def _references(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, path of the question, what it is) for each reference of a schema.

    Raises KeyError, TypeError, ValueError or OverflowError if the answer is malformed.
    """
    found = []
    for reference in answer.get("references") or ():
        name, path = str(reference["name"]), reference.get("path")
        what = str(path)
        if path is None:
            subject, version = str(reference["subject"]), int(reference["version"])
            what = f"version {version} of {subject}"
            path = f"/subjects/{quote(subject, safe='')}/versions/{version}"
        elif not _OWN_PATH.fullmatch(what):
            raise ValueError(what)
        found.append((name, str(path), what))
    return found


def _path_of(reference: dict[str, Any]) -> str:
    """The path of a schema that Apicurio's own interface has listed as a reference. Raises KeyError and TypeError."""
    parts = (reference.get("groupId") or "default", reference["artifactId"], reference["version"])
    group, artifact, version = (quote(str(part), safe="") for part in parts)
    return f"/groups/{group}/artifacts/{artifact}/versions/{version}"


def _json(body: bytes) -> object:
    if body.count(b"[") + body.count(b"{") > _MAX_CONTAINERS:
        return None
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc + parts.path


def _trust(
    ca_file: Path | None, cert_file: Path | None, key_file: Path | None, key_password: str | None, *, verify: bool
) -> ssl.SSLContext:
    try:
        trusted = environment_trust() if ca_file is None else None
        context = trusted or ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file, key_password)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"certificates of the schema registry cannot be used: {error}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
