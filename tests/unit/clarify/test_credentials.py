"""Credentials: both kinds, from everywhere, with clear errors that never show the secret."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import orjson
import pytest

from connector.clarify import Client, Credentials, CredentialsError
from tests.secrets_used import CLARIFY_SECRET as SECRET
from tests.unit.clarify.said import everything_said


def fields(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {
        "name": "press-shop gateway",
        "createdAt": "2026-03-02T09:15:00Z",
        "apiUrl": "https://api.clarify.io/v1/",
        "integration": "cp1a5c9e3g7i2k6m0o4q",
        "credentials": login(),
    }
    return whole | changes


def login(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {"type": "client-credentials", "clientId": "EXAMPLE", "clientSecret": SECRET}
    return whole | changes


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in fields().items() if name != key}


def test_path_text_and_dict_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_bytes(orjson.dumps(fields()))
    text = orjson.dumps(fields(), option=orjson.OPT_INDENT_2).decode()
    bom = tmp_path / "from-an-editor-credentials.json"
    bom.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    expected = Credentials.load(fields())
    for source in (path, str(path), text, "\n " + text, "\ufeff" + text, bom):
        assert Credentials.load(source) == expected
    assert expected.api_url == "https://api.clarify.io/v1/"
    assert expected.integration == "cp1a5c9e3g7i2k6m0o4q"
    assert expected.login.type == "client-credentials"
    assert expected.login.client_id == "EXAMPLE"
    assert expected.login.client_secret.get_secret_value() == SECRET
    assert expected.name == "press-shop gateway"


def test_basic_auth() -> None:
    credentials = Credentials.load(fields(credentials=login(type="basic-auth", clientId="user")))
    assert credentials.login.type == "basic-auth"
    assert base64.b64decode(credentials.basic_value()).decode() == f"user:{SECRET}"


def test_the_slash_at_the_end_is_repaired() -> None:
    credentials = Credentials.load(fields(apiUrl=" https://api.clarify.io/v1 "))
    assert credentials.rpc_url == "https://api.clarify.io/v1/rpc"
    assert credentials.token_url == "https://api.clarify.io/v1/oauth/token"


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "a.localhost"])
def test_http_to_this_machine_is_allowed(host: str) -> None:
    assert Credentials.load(fields(apiUrl=f"http://{host}/v1/")).api_url == f"http://{host}/v1/"


@pytest.mark.parametrize("host", ["api.clarify.io", "10.0.0.1", "sandbox:8080", "127.0.0.1.example.com"])
def test_http_to_another_machine_must_be_allowed(host: str) -> None:
    insecure = fields(apiUrl=f"http://{host}/v1/")
    with pytest.raises(CredentialsError, match=r"apiUrl: http:// to .* clear text.*allow_insecure"):
        Credentials.load(insecure)
    assert Credentials.load(insecure, allow_insecure=True).api_url == f"http://{host}/v1/"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (without("apiUrl"), "apiUrl: Field required"),
        (without("integration"), "integration: Field required"),
        (without("credentials"), "credentials: Field required"),
        (fields(apiUrl="ftp://api.clarify.io/"), "apiUrl: must be an address such as"),
        (fields(apiUrl="api.clarify.io/v1/"), "apiUrl: must be an address such as"),
        (fields(apiUrl="https://"), "apiUrl: must be an address such as"),
        (fields(apiUrl="https://a:port/"), "apiUrl: must be an address such as"),
        (fields(apiUrl=""), "apiUrl: must be an address such as"),
        (fields(apiUrl=7), "apiUrl: Input should be a valid string"),
        (fields(apiUrl="https://me:s3cret@host/"), "apiUrl: must be a plain address"),
        (fields(apiUrl="https://host/v1/?"), "apiUrl: must be a plain address"),
        (fields(apiUrl="https://host/v1 /"), "apiUrl: must be a plain address"),
        (fields(integration="CP1A5C9E3G7I2K6M0O4Q"), "integration: must be an ID of 20 characters"),
        (fields(integration="cp1a5c9e3g7i2k6m0o4"), "integration: must be an ID of 20 characters"),
        (fields(integration="cp1a5c9e3g7i2k6m0o4q\n"), "integration: must be an ID of 20 characters"),
        (fields(credentials=login(type="password")), "credentials.type: Input should be 'client-credentials'"),
        (fields(credentials=login(clientId=" ")), "credentials.clientId: must not be empty"),
        (fields(credentials=login(clientSecret="")), "credentials.clientSecret: must not be empty"),
        (fields(credentials=login(clientSecret=[SECRET])), "credentials.clientSecret: Input should be"),
        (fields(credentials=login(type="basic-auth", clientId="a:b")), "clientId must not hold a colon"),
        (fields(credentials=SECRET), "credentials: Input should be"),
    ],
)
def test_a_bad_field_is_named_with_file_and_remedy(tmp_path: Path, wrong: object, said: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_bytes(orjson.dumps(wrong))
    with pytest.raises(CredentialsError) as caught:
        Credentials.load(path)
    message = str(caught.value)
    assert message.startswith(f"credentials file {path}: ")
    assert said in message
    assert "admin panel" in message
    assert "s3cret" not in everything_said(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"credentials": {{"clientSecret": "{SECRET}"',
        f'["{SECRET}"]',
        f'  "{SECRET}"',
        f"secret:\n  {SECRET}",
        '{"name": "\ud800"}',
    ],
)
def test_text_that_is_no_credentials_is_not_shown(text: str) -> None:
    with pytest.raises(CredentialsError, match=r"^credentials \(JSON text\)") as caught:
        Credentials.load(text)
    assert SECRET not in everything_said(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{", "is not JSON"),
        (b"{\n  oops", "in line 2"),
        (b"null", "not an object"),
        (b" " * 70_000, "over 65536 bytes"),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_bytes(content)
    with pytest.raises(CredentialsError, match=said) as caught:
        Credentials.load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(CredentialsError, match=said) as caught:
            Credentials.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(CredentialsError, match="cannot be read"):
        Credentials.load("a\0b")


@pytest.mark.parametrize("source", [None, 5, ["credentials.json"]])
def test_what_cannot_be_credentials(source: Any) -> None:
    with pytest.raises(CredentialsError, match="credentials must be a path, JSON text or a dict, not"):
        Credentials.load(source)


@pytest.mark.parametrize("kind", ["client-credentials", "basic-auth"])
def test_no_repr_shows_the_secret(kind: str) -> None:
    credentials = Credentials.load(fields(credentials=login(type=kind)))
    shown = f"{credentials!r} {credentials} {credentials.login!r} {credentials.model_dump()}"
    shown += credentials.model_dump_json()
    with Client(credentials) as client:
        shown += f"{client!r} {client} {vars(client)!r}"
    assert SECRET not in shown.replace(credentials.basic_value(), SECRET)
    assert "https://api.clarify.io/v1/" in shown


def test_hide_takes_out_every_form_of_the_secret() -> None:
    credentials = Credentials.load(fields())
    text = f"a {SECRET} b {quote_plus(SECRET)} c {credentials.basic_value()} d token e"
    assert credentials.hide(text, "token") == "a [secret] b [secret] c [secret] d [secret] e"
