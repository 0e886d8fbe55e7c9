"""Who may call: tokens, Basic authentication, and the token request."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus, urlencode

import pytest

from connector.sandbox import auth, tokens
from connector.sandbox.auth import FORM, TokenRefusedError
from connector.sandbox.credentials import CredentialsKind, write_credentials
from connector.sandbox.store import Integration, Store

NOW = 1_777_636_800.75
API_URL = "http://127.0.0.1:8090/v1/"


@pytest.fixture
def integration() -> Iterator[Integration]:
    with Store.open(None) as store:
        yield store.integration()


def issue(integration: Integration, *, seconds: int = 3600) -> str:
    return tokens.issue(integration, api_url=API_URL, now=NOW, seconds=seconds)


def decode(part: str) -> dict[str, object]:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_token_is_a_jwt_with_the_claims_of_the_real_issuer(integration: Integration) -> None:
    header, claims, signature = issue(integration).split(".")
    assert decode(header) == {"alg": "HS256", "typ": "JWT"}
    assert decode(claims) == {
        "iss": API_URL,
        "sub": f"{integration.client_id}@clients",
        "aud": API_URL,
        "iat": 1_777_636_800,
        "exp": 1_777_640_401,
        "azp": integration.client_id,
        "gty": "client-credentials",
        "https://clfy.io/roles": [f"iM:{integration.id}"],
    }
    assert signature
    assert "=" not in header + claims + signature


def test_a_token_lives_for_its_whole_time_and_not_much_longer(integration: Integration) -> None:
    token = issue(integration, seconds=5)
    assert tokens.is_valid(token, integration, now=NOW)
    assert tokens.is_valid(token, integration, now=NOW + 5)
    assert not tokens.is_valid(token, integration, now=NOW + 6.5)


def test_a_token_of_another_integration_is_refused(integration: Integration) -> None:
    with Store.open(None) as store:
        other = store.integration()
    assert not tokens.is_valid(issue(other), integration, now=NOW)


def test_a_changed_token_is_refused(integration: Integration) -> None:
    header, claims, signature = issue(integration).split(".")
    longer = json.dumps(decode(claims) | {"exp": 9_999_999_999}).encode()
    forged = base64.urlsafe_b64encode(longer).decode().rstrip("=")
    assert not tokens.is_valid(f"{header}.{forged}.{signature}", integration, now=NOW)


@pytest.mark.parametrize("token", ["", ".", "..", "abc", "a.b.c", "ä.ö.ü", "a.b.c.d", "e30.e30."])
def test_what_is_no_token_is_refused(integration: Integration, token: str) -> None:
    assert not tokens.is_valid(token, integration, now=NOW)


def test_a_renewed_signing_key_revokes_all_tokens() -> None:
    with Store.open(None) as store:
        integration = store.integration()
        token = issue(integration)
        store.renew_signing_key(integration.id)
        renewed = store.integration()
    assert not tokens.is_valid(token, renewed, now=NOW)
    assert tokens.is_valid(issue(renewed), renewed, now=NOW)


def test_bearer_and_basic_both_may_call(integration: Integration) -> None:
    token = issue(integration)
    for header in (
        f"Bearer {token}",
        f"bearer  {token}",
        basic(integration.id, integration.password),
        basic(integration.id, integration.password).replace("Basic", "basic"),
    ):
        assert auth.may_call(integration, header, now=NOW), header


def test_everybody_else_may_not(integration: Integration) -> None:
    for header in (
        None,
        "",
        "Bearer",
        "Bearer x",
        "Digest x",
        "Basic",
        "Basic !!!",
        "Basic /w==",
        "Basic " + base64.b64encode(b"no colon").decode(),
        basic(integration.id, "wrong"),
        basic("wrong", integration.password),
        basic(integration.id, integration.password + "ä"),
        basic(integration.client_id, integration.client_secret),  # good for the token endpoint only
    ):
        assert not auth.may_call(integration, header, now=NOW), header


def request_token(
    integration: Integration, form: dict[str, str], header: str | None = None, content_type: str = FORM
) -> None:
    auth.check_token_request(
        integration, authorization=header, content_type=content_type, body=urlencode(form).encode()
    )


def test_the_client_may_be_in_the_form_or_in_a_basic_header(integration: Integration) -> None:
    grant = {"grant_type": "client_credentials", "audience": API_URL}
    client = {"client_id": integration.client_id, "client_secret": integration.client_secret}
    request_token(integration, grant | client)
    request_token(integration, grant, basic(integration.client_id, quote_plus(integration.client_secret)))


@pytest.mark.parametrize("field", ["client_id", "client_secret"])
def test_a_wrong_client_is_unauthorized(integration: Integration, field: str) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": integration.client_id,
        "client_secret": integration.client_secret,
    }
    for wrong in (form | {field: "wrong"}, {name: text for name, text in form.items() if name != field}):
        with pytest.raises(TokenRefusedError) as refused:
            request_token(integration, wrong)
        assert (refused.value.status, refused.value.error) == (401, "access_denied")
        assert integration.client_secret not in str(refused.value)


def test_the_api_key_gets_no_token(integration: Integration) -> None:
    with pytest.raises(TokenRefusedError):
        request_token(
            integration,
            {
                "grant_type": "client_credentials",
                "client_id": integration.id,
                "client_secret": integration.password,
            },
        )


def test_a_request_that_is_no_token_request(integration: Integration) -> None:
    client = {"client_id": integration.client_id, "client_secret": integration.client_secret}
    with pytest.raises(TokenRefusedError, match="grant_type is missing"):
        request_token(integration, client)
    with pytest.raises(TokenRefusedError, match="unsupported_grant_type"):
        request_token(integration, client | {"grant_type": "password"})
    with pytest.raises(TokenRefusedError, match="the body must be"):
        request_token(integration, client | {"grant_type": "client_credentials"}, content_type="application/json")
    with pytest.raises(TokenRefusedError, match="given twice: client_id"):
        auth.check_token_request(integration, authorization=None, content_type=FORM, body=b"client_id=a&client_id=b")
    with pytest.raises(TokenRefusedError, match="not a form"):
        auth.check_token_request(integration, authorization=None, content_type=FORM, body=b"\xff")


@pytest.mark.parametrize("kind", ["client-credentials", "basic-auth"])
def test_the_credentials_file(integration: Integration, tmp_path: Path, kind: CredentialsKind) -> None:
    path = tmp_path / "credentials.json"
    path.write_text("older")
    path.chmod(0o644)
    write_credentials(path, integration, api_url=API_URL, kind=kind)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    document = json.loads(path.read_text())
    credentials = document.pop("credentials")
    assert document == {"apiUrl": API_URL, "integration": integration.id}  # Clarify's Node-RED node takes no more
    right = (
        (integration.client_id, integration.client_secret)
        if kind == "client-credentials"
        else (integration.id, integration.password)
    )
    assert credentials == {"type": kind, "clientId": right[0], "clientSecret": right[1]}


def test_a_credentials_file_that_cannot_be_written(integration: Integration, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "credentials.json"
    with pytest.raises(OSError, match=r"cannot write the credentials file .*missing/credentials\.json"):
        write_credentials(path, integration, api_url=API_URL, kind="basic-auth")
