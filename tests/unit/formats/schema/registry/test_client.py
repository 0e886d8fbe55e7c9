"""The client of a schema registry: asked once, kept for good, never a rejected record for an outage."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from structlog.testing import capture_logs

from connector.formats.format import PayloadError, SchemaUnavailableError
from connector.formats.schema.registry.client import Access, SchemaRegistry
from connector.formats.schema.schemas import GlobalId, Guid, NamedSchema, SchemaId
from connector.records import Reason
from tests.scripted import Clock
from tests.secrets_used import REGISTRY_TOKEN, WRONG

URL = "https://registry.example.com/base"


class Server:
    """A registry in this process: what it says is in `answers` (path → status and body), or `fails` says how it
    fails."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.fails: Exception | None = None
        self.headers: list[tuple[str, bytes]] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.fails is not None:
            raise self.fails
        path = request.url.raw_path.decode().removeprefix("/base")
        status, body = self.answers.get(path, (404, {"error_code": 40403, "message": "Schema not found"}))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(status, headers=[(name.encode(), raw) for name, raw in self.headers], content=content)


@pytest.fixture
def server() -> Server:
    found = Server()
    found.answers["/schemas/ids/7"] = (200, {"schema": '"int"'})
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def make(server: Server, clock: Clock, tmp_path: Path) -> Iterator[Callable[..., SchemaRegistry]]:
    made = []

    def one(**settings: Any) -> SchemaRegistry:
        urls = settings.pop("urls", [URL])
        transport = settings.pop("transport", httpx.MockTransport(server))
        made.append(SchemaRegistry("main", urls, tmp_path / "schemas", transport=transport, clock=clock, **settings))
        return made[-1]

    yield one
    for registry in made:
        registry.close()


def unavailable(registry: SchemaRegistry, schema_id: SchemaId) -> str:
    with pytest.raises(SchemaUnavailableError) as error:
        registry.schema(schema_id)
    return str(error.value)


def refused(registry: SchemaRegistry, schema_id: SchemaId) -> PayloadError:
    with pytest.raises(PayloadError) as error:
        registry.schema(schema_id)
    return error.value


def test_a_schema_is_asked_for_once(make: Callable[..., SchemaRegistry], server: Server) -> None:
    registry = make()
    for _ in range(3):
        found = registry.schema(7)
    assert (found.id, found.kind, found.text, found.references) == (7, "AVRO", '"int"', ())
    assert [str(request.url) for request in server.requests] == [f"{URL}/schemas/ids/7"]


def test_what_was_seen_survives_an_outage_and_a_restart(make: Callable[..., SchemaRegistry], server: Server) -> None:
    make().schema(7)
    server.fails = httpx.ConnectError("refused")
    again = make()
    assert again.schema(7).text == '"int"'
    assert "does not answer (ConnectError: refused)" in unavailable(again, 8)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, {"error_code": 50001, "message": "Error in the backend data store"}, "HTTP 500: Error in the backend"),
        (503, b"<html>away", "HTTP 503"),
        (429, b"", "HTTP 429"),
        (401, {"error_code": 401, "message": "Unauthorized"}, "refuses us (HTTP 401)"),
        (403, {"error_code": 40301}, "refuses us (HTTP 403)"),
        (404, b"<html>no such page", "check url, and its path"),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}, "check url, and its path"),
        (301, b"", "use the address that it redirects to"),
        (200, b"<html>a log-in page", "not with a schema"),
        (200, {"schema": 5}, "not with a schema"),
        (200, b"[" * 100_000, "not with a schema"),
        (200, {"schema": '"int"', "references": [{"name": "x"}]}, "not with a schema"),
        (200, {"schema": '"int"', "references": 5}, "not with a schema"),
        (200, b'{"schema": "", "references": [{"name": "x", "subject": "y", "version": 1e999}]}', "not with a schema"),
        (
            200,
            b'{"schema": "", "references": [{"name": "x", "subject": "\\ud800", "version": 1}]}',
            "not with a schema",
        ),
        (200, b'{"schema": "\\ud800"}', "not with a schema"),
    ],
)
def test_trouble_with_the_registry_rejects_nothing(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock, status: int, body: object, said: str
) -> None:
    registry = make()
    server.answers["/schemas/ids/8"] = (status, body)
    assert said in unavailable(registry, 8)
    server.answers["/schemas/ids/8"] = (200, {"schema": '"long"'})
    clock.now += 10
    assert registry.schema(8).text == '"long"'


@pytest.mark.parametrize("header", [("Set-Cookie", b"\x80"), ("Location", b"A:0"), ("Location", b"http://[::1")])
@pytest.mark.parametrize("status", [200, 301])
def test_headers_that_cannot_be_read_reject_nothing(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock, header: tuple[str, bytes], status: int
) -> None:
    registry = make()
    server.headers = [header]
    server.answers["/schemas/ids/8"] = (status, {"schema": '"long"'})
    if status == 200:
        assert registry.schema(8).text == '"long"'
    else:
        assert "use the address that it redirects to" in unavailable(registry, 8)
    clock.now += 10
    assert registry.schema(7).text == '"int"', "what the first answer left behind does no harm"


@pytest.mark.parametrize("bug", [OverflowError("int too large"), ValueError("bad header")], ids=repr)
def test_what_nobody_foresaw_in_an_exchange_rejects_nothing(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock, bug: Exception
) -> None:
    registry = make()
    server.fails = bug
    with capture_logs() as logs:
        assert f"a bug ({type(bug).__name__})" in unavailable(registry, 7)
    assert [line["exc_info"] for line in logs if line["event"] == "registry_exchange_bug"] == [True]
    server.fails = None
    clock.now += 10
    assert registry.schema(7).text == '"int"'


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("slow"), httpx.ConnectTimeout("slow"), httpx.RemoteProtocolError("?")]
)
def test_a_failure_is_not_repeated_at_once(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock, error: Exception
) -> None:
    registry = make()
    server.fails = error
    said = unavailable(registry, 7)
    assert (type(error).__name__ in said, "main" in said) == (True, True)
    server.fails = None
    assert unavailable(registry, 7) == said
    assert len(server.requests) == 1
    clock.now += 1
    assert registry.schema(7).text == '"int"'


def test_a_registry_that_hangs_is_left_alone_for_a_while(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock
) -> None:
    """Otherwise those who wait would take turns in asking, and all data would stand still for one request each."""

    def hangs(_request: httpx.Request) -> httpx.Response:
        server.requests.append(_request)
        clock.now += 5
        raise httpx.ReadTimeout("slow")

    registry = make(transport=httpx.MockTransport(hangs))
    for number in range(40):
        unavailable(registry, number + 1)
        clock.now += 1
    assert len(server.requests) == 1
    clock.now += 5
    unavailable(registry, 1)
    assert len(server.requests) == 2


def test_a_schema_that_the_registry_does_not_have_is_a_reject_and_asked_for_again_later(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock
) -> None:
    registry = make(patience=0)
    for _ in range(3):
        error = refused(registry, 9)
    assert error.reason is Reason.SCHEMA_NOT_FOUND
    assert "the schema registry main has no schema 9" in str(error)
    assert len(server.requests) == 1
    server.answers["/schemas/ids/9"] = (200, {"schema": '"long"'})
    clock.now += 61
    assert registry.schema(9).text == '"long"'


def test_a_schema_that_comes_late_is_waited_for(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock
) -> None:
    registry = make()
    assert "has no schema 9; asking again for 10 s" in unavailable(registry, 9)
    assert "has no schema 9" in unavailable(registry, 9)
    assert len(server.requests) == 1, "not at once"
    clock.now += 9
    unavailable(registry, 9)
    server.answers["/schemas/ids/9"] = (200, {"schema": '"long"'})
    clock.now += 9
    assert registry.schema(9).text == '"long"'


def test_the_patience_is_not_spent_on_each_schema_that_never_comes(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock
) -> None:
    registry = make()
    for number in (9, 10):  # both are waited for at the same time
        unavailable(registry, number)
    clock.now += 10
    for number in (9, 10, 11, 12):
        assert refused(registry, number).reason is Reason.SCHEMA_NOT_FOUND
    clock.now += 61
    unavailable(registry, 13)


def test_records_wait_as_long_as_they_are_told_to(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock
) -> None:
    registry = make(give_up_after=60)
    server.fails = httpx.ConnectError("refused")
    for _ in range(2):
        unavailable(registry, 7)
        clock.now += 30
    error = refused(registry, 7)
    assert (error.reason, "given up after 60 s" in str(error)) == (Reason.SCHEMA_UNAVAILABLE, True)
    unavailable(registry, 8)
    server.fails = None
    clock.now += 1
    assert registry.schema(7).text == '"int"'


def test_another_server_may_have_the_schema_already(
    make: Callable[..., SchemaRegistry], server: Server, clock: Clock
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "follower.example.com":
            return httpx.Response(404, json={"error_code": 40403})
        return server(request)

    registry = make(urls=["https://follower.example.com/base", URL], transport=httpx.MockTransport(answer))
    unavailable(registry, 7)
    clock.now += 1
    assert registry.schema(7).text == '"int"'


def test_trouble_with_one_schema_does_not_keep_another_one(make: Callable[..., SchemaRegistry], server: Server) -> None:
    registry = make()
    server.answers["/schemas/ids/8"] = (500, {"message": "broken"})
    assert "broken" in unavailable(registry, 8)
    assert registry.schema(7).text == '"int"'


NATIVE = "https://registry.example.com/apis/registry/v2"


def test_global_ids_are_asked_for_by_apicurios_own_interface(make: Callable[..., SchemaRegistry], clock: Clock) -> None:
    answers: dict[str, tuple[int, Any]] = {
        "/ids/globalIds/5": (200, b'"plant.R"'),
        "/ids/globalIds/5/references": (200, [{"name": "plant.R", "artifactId": "r/1", "version": "1.0"}]),
        "/groups/default/artifacts/r%2F1/versions/1.0": (200, b'{"type": "record"}'),
        "/groups/default/artifacts/r%2F1/versions/1.0/references": (200, []),
        "/ids/globalIds/6": (200, b"\xff"),
        "/ids/globalIds/6/references": (200, []),
        "/ids/globalIds/7": (404, {"error_code": 404, "name": "NotFoundException"}),
        "/ids/globalIds/8": (200, b"x"),
        "/ids/globalIds/8/references": (200, [{"name": "x"}]),
    }

    def answer(request: httpx.Request) -> httpx.Response:
        path = str(request.url).removeprefix(NATIVE)
        status, body = answers.get(path, (404, {"error_code": 404, "name": "ArtifactNotFoundException"}))
        return httpx.Response(status, content=body if isinstance(body, bytes) else json.dumps(body).encode())

    urls = ["https://registry.example.com/apis/ccompat/v7"]
    registry = make(urls=urls, transport=httpx.MockTransport(answer), patience=0)
    found = registry.schema(GlobalId(5))
    assert (found.kind, found.text) == ("", '"plant.R"')
    assert found.references == (NamedSchema("plant.R", '{"type": "record"}'),)
    assert refused(registry, GlobalId(9)).reason is Reason.SCHEMA_NOT_FOUND
    for number in (6, 7, 8):
        assert "global ID" in unavailable(registry, GlobalId(number))
        clock.now += 1
    answers.clear()
    assert make(urls=urls, transport=httpx.MockTransport(answer)).schema(GlobalId(5)) == found, "from disk"


def test_only_apicurio_has_global_ids_and_only_confluents_registry_has_guids(
    make: Callable[..., SchemaRegistry], server: Server
) -> None:
    registry = make()
    error = refused(registry, GlobalId(5))
    assert (error.reason, "/apis/ccompat/v7" in str(error)) == (Reason.NO_SCHEMA_ID, True)
    guid = Guid("89791762-2336-41c0-b9a4-8c8b6c3ca2b4")
    server.answers[f"/schemas/guids/{guid.text}"] = (404, {"error_code": 0})
    assert "from 8.0 on" in unavailable(registry, guid)
    server.answers[f"/schemas/guids/{guid.text}"] = (200, {"schema": '"int"', "guid": guid.text})
    assert make().schema(guid).text == '"int"'


def test_references_are_resolved_each_behind_what_it_refers_to(
    make: Callable[..., SchemaRegistry], server: Server
) -> None:
    to = [{"name": "b.proto", "subject": "b/x y", "version": 2}, {"name": "c.proto", "subject": "c", "version": 1}]
    server.answers["/schemas/ids/1"] = (200, {"schema": "a", "schemaType": "PROTOBUF", "references": to})
    server.answers["/subjects/b%2Fx%20y/versions/2"] = (200, {"schema": "b", "references": [to[1]]})
    server.answers["/subjects/c/versions/1"] = (200, {"schema": "c", "references": None})
    found = make().schema(1)
    assert found.kind == "PROTOBUF"
    assert found.references == (NamedSchema("c.proto", "c"), NamedSchema("b.proto", "b"))
    assert len(server.requests) == 3
    server.fails = httpx.ConnectError("refused")
    assert make().schema(1) == found


def test_a_reference_that_leads_to_itself_is_refused(make: Callable[..., SchemaRegistry], server: Server) -> None:
    to = {"name": "a", "subject": "a", "version": 1}
    server.answers["/schemas/ids/1"] = (200, {"schema": "a", "references": [to]})
    server.answers["/subjects/a/versions/1"] = (200, {"schema": "a", "references": [to]})
    assert refused(make(), 1).reason is Reason.SCHEMA_UNUSABLE


def test_a_reference_that_the_registry_does_not_have_is_named(
    make: Callable[..., SchemaRegistry], server: Server
) -> None:
    to = {"name": "a", "subject": "gone", "version": 3}
    server.answers["/schemas/ids/1"] = (200, {"schema": "a", "references": [to]})
    error = refused(make(patience=0), 1)
    assert (error.reason, "version 3 of gone" in str(error)) == (Reason.SCHEMA_NOT_FOUND, True)


def test_several_servers_are_asked_in_turn(make: Callable[..., SchemaRegistry], server: Server) -> None:

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "one.example.com":
            raise httpx.ConnectError("refused")
        return server(request)

    registry = make(urls=["https://one.example.com/base", URL], transport=httpx.MockTransport(answer))
    assert registry.schema(7).text == '"int"'
    assert registry._urls[0] == URL


def test_how_it_says_who_it_is(make: Callable[..., SchemaRegistry], server: Server) -> None:
    make(auth=("key", REGISTRY_TOKEN)).schema(7)
    assert (
        server.requests[-1].headers["Authorization"]
        == "Basic " + base64.b64encode(f"key:{REGISTRY_TOKEN}".encode()).decode()
    )
    server.answers["/schemas/ids/8"] = (401, {"error_code": 401})
    registry = make(token=REGISTRY_TOKEN)
    assert REGISTRY_TOKEN not in unavailable(registry, 8)
    assert server.requests[-1].headers["Authorization"] == f"Bearer {REGISTRY_TOKEN}"


def test_secrets_are_in_no_error(make: Callable[..., SchemaRegistry], server: Server) -> None:
    server.fails = httpx.LocalProtocolError("Illegal header value b'Bearer t0ken'")
    with pytest.raises(SchemaUnavailableError) as error:
        make(token=REGISTRY_TOKEN).schema(8)
    assert REGISTRY_TOKEN not in str(error.value)
    assert error.value.__context__ is None or REGISTRY_TOKEN not in str(error.value.__context__)


def test_another_address_is_another_registry(make: Callable[..., SchemaRegistry], server: Server) -> None:
    make().schema(7)
    server.answers["/schemas/ids/7"] = (200, {"schema": '"long"'})
    other = make(urls=["https://other.example.com/base"])
    assert other.schema(7).text == '"long"'


def test_a_damaged_file_is_fetched_anew(make: Callable[..., SchemaRegistry], server: Server, tmp_path: Path) -> None:
    make().schema(7)
    (file,) = (tmp_path / "schemas").rglob("*.json")
    for content in (
        b"",
        b"{",
        b"[]",
        b'{"key": "/schemas/ids/8", "answer": {"schema": "x"}}',
        b'{"key": "/schemas/ids/7"}',
    ):
        file.write_bytes(content)
        assert make().schema(7).text == '"int"'
    assert len(server.requests) == 6


def test_a_disk_that_is_full_stops_nothing(
    make: Callable[..., SchemaRegistry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = make()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry._files, "write", full)
    with capture_logs() as logs:
        assert registry.schema(7).text == '"int"'
    assert [line["event"] for line in logs] == ["schema_not_kept"]


def test_threads_ask_once(make: Callable[..., SchemaRegistry], server: Server) -> None:
    registry = make()
    threads = [threading.Thread(target=registry.schema, args=(7,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1


def test_certificates_that_cannot_be_used_are_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    for settings in ({"ca_file": tmp_path / "bad.pem"}, {"cert_file": tmp_path / "none.pem"}):
        with pytest.raises(ValueError, match="cannot be used"):
            SchemaRegistry("main", [URL], tmp_path, **settings)


def test_a_changed_log_in_is_used_for_the_next_request(make: Callable[..., SchemaRegistry], server: Server) -> None:
    server.answers["/schemas/ids/8"] = (403, {"message": f"not with {REGISTRY_TOKEN}"})
    changed: list[Access] = []
    registry = make(token=WRONG, renewed=lambda: changed.pop() if changed else None)
    assert "read again before the next try" in unavailable(registry, 8)
    changed.append(Access(token=REGISTRY_TOKEN))
    registry.schema(7)
    assert [request.headers["Authorization"] for request in server.requests] == [
        f"Bearer {WRONG}",
        f"Bearer {REGISTRY_TOKEN}",
    ]


def test_a_log_in_that_cannot_be_used_leaves_the_former_one(
    make: Callable[..., SchemaRegistry], server: Server, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    changed: list[Access] = []
    registry = make(
        token=REGISTRY_TOKEN, ca_file=tmp_path / "ca.pem", renewed=lambda: changed.pop() if changed else None
    )
    (tmp_path / "ca.pem").write_text("in the middle of a change")
    changed.append(Access(token=WRONG))
    with capture_logs() as log:
        registry.schema(7)
    assert [line["event"] for line in log if line["log_level"] == "error"] == ["credentials_not_reloaded"]
    assert [request.headers["Authorization"] for request in server.requests] == [f"Bearer {REGISTRY_TOKEN}"]
