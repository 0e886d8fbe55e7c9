"""The server of the pages: visitors of every kind, in one process with it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from connector.config.observe import ObserveSection
from connector.observe import http
from connector.observe.http import ObserveServer, json_page
from connector.observe.logs import configure_logs
from connector.observe.probe import ask
from connector.observe.token import PagesToken
from connector.settings import Referenced, Secret, SettingsError
from tests.secrets_used import fresh
from tests.waiting import wait_until

Say = Callable[[], tuple[int, str, bytes]]
CLIENT = httpx.Client(timeout=60, trust_env=False, verify=False, limits=httpx.Limits(max_connections=None))
PAGE = {"/healthz": lambda: json_page(200, {"alive": True, "failure": None})}


@contextlib.contextmanager
def serving(
    pages: dict[str, Say] = PAGE, keep: dict[str, float] | None = None, **section: object
) -> Iterator[ObserveServer]:
    server = ObserveServer(ObserveSection.model_validate({"listen": "127.0.0.1:0", **section}), pages, keep)
    server.start()
    try:
        yield server
    finally:
        server.close()


def get(server: ObserveServer, path: str = "/healthz", **more: object) -> httpx.Response:
    return CLIENT.get(f"http://127.0.0.1:{server.port}{path}", **more)  # type: ignore[arg-type]


def visitor(server: ObserveServer, sent: bytes = b"") -> socket.socket:
    """A connection on which this much was sent."""
    connection = socket.create_connection(("127.0.0.1", server.port), 60)
    connection.sendall(sent)
    return connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes, also with a reset."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while got := connection.recv(65536):
            found += got
    return found


def said(server: ObserveServer, sent: bytes) -> bytes:
    with visitor(server, sent) as connection:
        return rest_of(connection)


# Time


@pytest.mark.parametrize("first", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_visitor_who_never_ends_a_request_is_cut_off(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    monkeypatch.setattr(http, "SECONDS", 0.5)
    with serving() as server, capture_logs() as log:
        started = time.monotonic()
        assert said(server, first) == b""
        assert time.monotonic() - started < 30
    assert {line["log_level"] for line in log} == {"debug"}, "a slow visitor is no news"


def test_bytes_that_trickle_do_not_gain_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is one for the whole visit, not one for each byte."""
    monkeypatch.setattr(http, "SECONDS", 1.0)
    with serving() as server, visitor(server, b"GET /healthz HTTP/1.1\r\nX: ") as connection:
        connection.settimeout(0.05)

        def cut() -> bool:
            try:
                connection.sendall(b"x")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        started = time.monotonic()
        wait_until(cut, 60, "the visit is cut", every=0.01)
        assert 0.9 < time.monotonic() - started < 30


def test_a_visitor_who_never_reads_is_cut_off_and_costs_a_part_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SECONDS", 2.0)
    body = b"x" * 40_000_000
    before = rss()
    with serving({"/healthz": PAGE["/healthz"], "/big": lambda: (200, "text/plain", body)}) as server:
        with contextlib.ExitStack() as open_:
            for _ in range(30):
                connection = open_.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", server.port))
                connection.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: list(server._visits.values()) == [True] * 30, 60, "all have the page, and do not read")
            assert get(server).status_code == 200
            assert rss() - before < 30 * 1024**2, "30 visitors with a copy each would take 1.2 GB"
            wait_until(lambda: not server._visits, 60, "all are cut off")
        assert len(get(server, "/big").content) == len(body)


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Numbers


def test_silent_visitors_do_not_keep_others_out() -> None:
    with serving() as server, contextlib.ExitStack() as open_:
        silent = [open_.enter_context(visitor(server)) for _ in range(http.VISITS * 3)]
        assert get(server).status_code == 200
        assert len(server._visits) <= http.VISITS
        assert rest_of(silent[0]) == b"", "the oldest made room"


def test_visitors_who_wait_for_a_page_are_not_the_first_to_go() -> None:
    go_on = threading.Event()

    def slow() -> tuple[int, str, bytes]:
        go_on.wait(60)
        return 200, "text/plain", b"slow"

    with serving({"/slow": slow}) as server, ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as open_:
        waiting = pool.submit(get, server, "/slow")
        wait_until(lambda: True in server._visits.values(), 60, "it waits")
        for _ in range(http.VISITS * 2):
            open_.enter_context(visitor(server))
        wait_until(lambda: len(server._visits) == http.VISITS, 60, "full")
        go_on.set()
        assert waiting.result(60).content == b"slow"


def test_slow_readers_do_not_keep_others_out() -> None:
    big = {**PAGE, "/big": lambda: (200, "text/plain", b"x" * 20_000_000)}
    with serving(big) as server, contextlib.ExitStack() as open_:
        for _ in range(http.VISITS * 2):
            open_.enter_context(visitor(server, b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        stop = threading.Event()

        def flood() -> None:
            silent: list[socket.socket] = []
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    silent.append(open_.enter_context(visitor(server)))
                if len(silent) > http.VISITS * 2:
                    silent.pop(0).close()

        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            for _ in range(10):
                assert get(server).status_code == 200
        finally:
            stop.set()
            flooding.join()


def test_a_flood_of_visits_is_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_BURST", 20)
    monkeypatch.setattr(http, "VISITS_A_SECOND", 50)
    with serving() as server:
        started = time.monotonic()
        for _ in range(70):
            assert get(server).status_code == 200
        assert time.monotonic() - started > 0.8, "20 at once and 50 a second"


# Requests


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz\r\n\r\n", 400),  # HTTP/0.9
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: local\x00host\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: a, b\r\n\r\n", 501),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 12_000, 431),
        (b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nabc", 405),
        (b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 405),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /healthz?x=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_each_request_has_one_answer_and_then_the_connection_ends(sent: bytes, status: int) -> None:
    with serving() as server, capture_logs() as log:
        answer = said(server, sent)
        assert get(server).status_code == 200
    if answer or len(sent) < 10_000:  # a reset may take the answer with it while much was not read
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"connection: close" in head
        assert b"server:" not in head
        assert b"python" not in head
    assert {line["log_level"] for line in log} == {"debug"}


def test_only_the_first_of_pipelined_requests_is_answered() -> None:
    with serving() as server:
        answer = said(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
    assert answer.count(b"HTTP/1.1 200 OK") in (0, 1)  # 0: a reset, since the rest was not read
    assert answer.count(b"HTTP/1.1") <= 1


def test_head_has_the_length_and_no_body() -> None:
    with serving() as server:
        answer = said(server, b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(PAGE['/healthz']()[2])}".encode() in head.lower()
    assert body == b""


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "LOCALHOST:9464",
        "a.localhost",
        "127.0.0.1",
        "10.0.0.7:9464",
        "[::1]",
        "[fe80::1]:80",
        "known.example",
    ],
)
def test_a_name_of_ours_is_answered(name: str) -> None:
    with serving(hosts=["known.example"]) as server:
        assert get(server, headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:9464",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:127",
        "",
        ":",
    ],
)
def test_a_name_that_was_pointed_at_us_is_refused(name: str) -> None:
    """DNS rebinding: the browser believes that it talks to the site that it has open."""
    with serving(hosts=["known.example"]) as server:
        answer = said(server, f"GET /healthz HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"alive" not in answer
    assert b"evil" not in answer, "the request is not repeated"


# Pages


def test_many_visitors_cause_one_page_and_a_kept_page_is_good_for_its_time() -> None:
    made: list[str] = []
    go_on = threading.Event()

    def slow() -> tuple[int, str, bytes]:
        made.append("x")
        go_on.wait(60)
        return 200, "text/plain", str(len(made)).encode()

    with serving({"/kept": slow, "/fresh": slow}, {"/kept": 1.0}) as server, ThreadPoolExecutor(40) as pool:
        for path, next_ in (("/fresh", "2"), ("/kept", "1")):
            made.clear()
            go_on.clear()
            answers = [pool.submit(get, server, path) for _ in range(40)]
            wait_until(lambda: list(server._visits.values()) == [True] * 40, 60, "all wait for the page")
            go_on.set()
            assert {answer.result(60).text for answer in answers} == {"1"}
            assert get(server, path).text == next_
        wait_until(lambda: get(server, "/kept").text == "2", 60, "it is made again")


def test_a_page_that_is_costly_is_kept_for_longer() -> None:
    made = 0

    def slow() -> tuple[int, str, bytes]:
        nonlocal made
        made += 1
        time.sleep(0.5)  # what is measured
        return 200, "text/plain", b"x"

    with serving({"/slow": slow}, {"/slow": 0.0}) as server:
        started = time.monotonic()
        while time.monotonic() < started + 2:
            assert get(server, "/slow").status_code == 200
        assert made == 1, "it takes a twentieth of the time at most"


def test_a_page_that_hangs_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAGE_SECONDS", 0.3)
    never = threading.Event()

    def hangs() -> tuple[int, str, bytes]:
        never.wait(60)
        return 200, "text/plain", b""

    with serving({**PAGE, "/ledger": hangs}) as server, ThreadPoolExecutor(40) as pool:
        before = threading.active_count()
        answers = list(pool.map(lambda _: get(server, "/ledger"), range(40)))
        assert {answer.status_code for answer in answers} == {503}
        assert "try again" in answers[0].text
        assert get(server).status_code == 200
        # One thread makes the page that hangs, and 40 are the pool's; the thread of the other page ends by itself.
        wait_until(lambda: threading.active_count() <= before + 41, 10, "no further thread")
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 20
    never.set()


def test_a_page_with_a_query_is_made_for_each_visit_and_only_some_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_AT_ONCE", 2)
    go_on = threading.Event()

    def asked(parameters: Mapping[str, str]) -> tuple[int, str, bytes]:
        if "wait" in parameters:
            go_on.wait(60)
        return json_page(200, dict(parameters))

    section = ObserveSection(listen="127.0.0.1:0")
    server = ObserveServer(section, PAGE, asked={"/tree": asked})
    server.start()
    with contextlib.closing(server), ThreadPoolExecutor(2) as pool:
        assert get(server, "/tree?prefix=plant%2Fa&empty=").json() == {"prefix": "plant/a", "empty": ""}
        assert get(server, "/tree").json() == {}
        assert get(server, "/tree?" + "&".join(f"p{i}=1" for i in range(21))).status_code == 400
        waiting = [pool.submit(get, server, "/tree?wait=1") for _ in range(2)]
        wait_until(lambda: server._being_made == 2, 20, "two are being made")
        assert get(server, "/tree").status_code == 503
        assert get(server).status_code == 200
        go_on.set()
        assert {answer.result(20).status_code for answer in waiting} == {200}
        assert get(server, "/tree").status_code == 200
        assert "/tree" in get(server, "/unknown").text


def test_a_page_has_headers_of_its_own() -> None:
    headers = (("Content-Security-Policy", "default-src 'none'"), ("Referrer-Policy", "no-referrer"))
    section = ObserveSection(listen="127.0.0.1:0")
    pages = {**PAGE, "/": lambda: (200, "text/html", b"<p>", headers)}
    server = ObserveServer(section, pages, asked={"/asked": lambda _: (200, "text/plain", b"", headers)})
    server.start()
    with contextlib.closing(server):
        for path in ("/", "/asked?a=1"):
            answer = get(server, path)
            assert answer.headers["content-security-policy"] == "default-src 'none'"
            assert answer.headers["cache-control"] == "no-store"
        assert "content-security-policy" not in get(server).headers


def test_a_page_that_cannot_be_made_costs_only_itself() -> None:
    def broken() -> tuple[int, str, bytes]:
        secret = fresh("page")
        raise RuntimeError(f"bug, {len(secret)}")

    out = io.StringIO()
    configure_logs("info", "json", out)
    with serving({**PAGE, "/metrics": broken}) as server:
        for _ in range(100):
            assert get(server, "/metrics").status_code == 500
        assert get(server).status_code == 200
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {line["event"] for line in lines} == {"page_failed"}
    assert len(lines) == 60, "the log's bound holds for pages, too"
    assert "locals" not in lines[0]["exception"][0]["frames"][0]


def test_its_end_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fault(_self: object) -> None:
        raise RuntimeError("nobody foresaw it")

    monkeypatch.setattr(ObserveServer, "_serve", fault)
    with capture_logs() as log, serving() as server:
        assert "nobody foresaw it" in str(wait_until(lambda: server.thread.ended, 60, "its thread ended"))
        assert [line["event"] for line in log] == ["thread_ended"]
    with serving() as other:
        monkeypatch.undo()
        assert other is not None


# Who may read


def test_pages_that_others_can_read_are_a_warning_at_the_start() -> None:
    with capture_logs() as log, serving(listen="0.0.0.0:0"), serving():
        pass
    assert [line["event"] for line in log if line["log_level"] == "warning"] == ["pages_open"]


def test_without_the_token_nothing_is_said() -> None:
    token = fresh("pages-token")
    with serving(token=token) as server:
        assert get(server, headers={"Authorization": f"Bearer {token}"}).json() == {"alive": True, "failure": None}
        for wrong in (
            {},
            {"Authorization": token},
            {"Authorization": f"Bearer {token}x"},
            {"Authorization": "Bearer"},
        ):
            for path in ("/healthz", "/nothing"):
                answer = get(server, path, headers=wrong)
                assert answer.status_code == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert token not in answer.text
                assert "alive" not in answer.text


def test_a_renewed_token_counts_at_once_and_the_one_before_it_no_more(tmp_path: Path) -> None:
    file, one, two, now = tmp_path / "token", fresh("pages-token"), fresh("pages-token"), [0.0]
    file.write_text(one)
    token = PagesToken(Secret.of(Referenced.of(one, "observe.token", file.read_text)), lambda: now[0])

    def admitted(text: str) -> bool:
        return token.admits(f"Bearer {text}".encode())

    with capture_logs() as log:
        assert admitted(one)
        file.write_text(two)
        assert admitted(two)
        file.write_text(one)
        assert admitted(two), "for a second"
        now[0] = 1.0
        assert not admitted(two)
        file.write_text("two\nlines")
        assert not admitted("two\nlines")
        assert admitted(one)
    events = [line["event"] for line in log]
    assert events == ["credentials_reloaded", "credentials_reloaded", "credentials_not_reloaded"]
    assert one not in str(log)
    assert two not in str(log)


def test_a_page_without_data_needs_no_token_and_all_others_do() -> None:
    token = fresh("pages-token")
    section = ObserveSection.model_validate({"listen": "127.0.0.1:0", "token": token})
    pages = {**PAGE, "/": lambda: (200, "text/html", b"log in")}
    server = ObserveServer(section, pages, asked={"/data": lambda _: (200, "text/plain", b"")}, without_token={"/"})
    server.start()
    with contextlib.closing(server):
        assert get(server, "/").text == get(server, "/?x=1").text == "log in"
        assert get(server, "/", headers={"Host": "evil.example"}).status_code == 421
        for path in ("/healthz", "/data", "/data?a", "//", "/%2f", "/nothing"):
            assert get(server, path).status_code == 401


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[trustme.CA, dict[str, str]]:
    authority = trustme.CA()
    files = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    issue(authority, files)
    return authority, files


def issue(authority: trustme.CA, files: dict[str, str]) -> bytes:
    issued = authority.issue_cert("127.0.0.1", "pages.example")
    issued.private_key_pem.write_to_path(files["key_file"])
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(files["cert_file"], append=number > 0)
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def shown(server: ObserveServer) -> bytes | None:
    """The certificate that a visitor sees."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with visitor(server) as plain, context.wrap_socket(plain) as tls:
        return tls.getpeercert(binary_form=True)


def test_pages_over_tls(certificate: tuple[trustme.CA, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    authority, files = certificate
    context = ssl.create_default_context()
    authority.configure_trust(context)
    monkeypatch.setattr(http, "SECONDS", 2.0)
    big = {**PAGE, "/big": lambda: (200, "text/plain", b"x" * 3_000_000)}
    with serving(big, tls=files) as server, contextlib.ExitStack() as open_, capture_logs() as log:
        url = f"https://127.0.0.1:{server.port}"
        for _ in range(http.VISITS * 2):  # handshakes that never end are bounded like requests
            open_.enter_context(visitor(server))
        with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
            assert client.get(f"{url}/healthz").json()["alive"]
            assert len(client.get(f"{url}/big").content) == 3_000_000
        assert len(server._visits) <= http.VISITS
        assert said(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")[:4] != b"HTTP"
        wait_until(lambda: not server._visits, 60, "all are cut off")
    assert {line["log_level"] for line in log} == {"debug"}, log


def test_a_renewed_certificate_is_taken(
    certificate: tuple[trustme.CA, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, files = certificate
    with serving(tls=files) as server:
        old = shown(server)
        monkeypatch.setattr(http, "_RENEW_SECONDS", 0.0)
        key = Path(files["key_file"]).read_bytes()
        Path(files["key_file"]).write_bytes(b"half written")
        assert shown(server) == old, "the old one is good until there is a whole new one"
        Path(files["key_file"]).write_bytes(key)
        new = issue(authority, files)
        assert shown(server) == new


def test_a_certificate_that_cannot_be_used_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    for name in ("cert.pem", "nothing.pem"):
        tls = {"cert_file": tmp_path / name, "key_file": tmp_path / name}
        with pytest.raises(SettingsError, match=r"observe\.tls: the certificate cannot be used: "), serving(tls=tls):
            pass


def test_a_key_with_a_password(certificate: tuple[trustme.CA, dict[str, str]]) -> None:
    _, files = certificate
    key = serialization.load_pem_private_key(Path(files["key_file"]).read_bytes(), None)
    password = fresh("key")
    locked = serialization.BestAvailableEncryption(password.encode())
    Path(files["key_file"]).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    with serving(tls={**files, "key_password": password}) as server:
        assert shown(server)
    for wrong in ({}, {"key_password": fresh("wrong")}):
        with pytest.raises(SettingsError, match="key_password is wrong or missing"), serving(tls={**files, **wrong}):
            pass  # and nobody is asked at the terminal


@pytest.mark.parametrize(("access", "mode"), [("owner", 0o600), ("group", 0o660)])
def test_a_unix_socket(tmp_path: Path, access: str, mode: int) -> None:
    path = tmp_path / "pages.sock"
    section = {"listen": f"unix:{path}", "socket_access": access}
    with serving(**section) as server:
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=60) as client:
            assert client.get("http://any.example/healthz").json()["alive"]
        with pytest.raises(OSError, match="in use"), serving(**section):
            pass
        assert path.exists()
        assert server.thread.is_alive()
    assert not path.exists(), "it goes with its server"


def test_a_socket_that_was_left_behind_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "pages.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()
    with serving(listen=f"unix:{path}"):
        pass
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket"), serving(listen=f"unix:{path}"):
        pass
    assert path.read_text() == "precious"
    path.unlink()
    target = tmp_path / "target"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(OSError, match="no socket"), serving(listen=f"unix:{path}"):
        pass
    assert target.read_text() == "precious"


# From outside


def pages(alive: bool = True) -> dict[str, Say]:
    return {
        "/healthz": lambda: json_page(200 if alive else 503, {"alive": alive, "failure": None if alive else "broken"}),
        "/readyz": lambda: json_page(200, {"ready": True, "problems": [], "notices": []}),
    }


def test_health_works_with_token_tls_and_socket(tmp_path: Path, certificate: tuple[trustme.CA, dict[str, str]]) -> None:
    _, files = certificate
    token = fresh("health-token")
    for more in (
        {},
        {"token": token},
        {"tls": files},
        {"tls": files, "token": token},
        {"listen": f"unix:{tmp_path}/s"},
    ):
        for alive in (True, False):
            with serving(pages(alive), **more) as server:
                section = ObserveSection.model_validate({"listen": f"127.0.0.1:{server.port}", **more})
                found = ask(section)
                assert (found.alive, found.ready) == (alive, alive), (more, found)
    assert "no answer" in ask(ObserveSection(listen=f"unix:{tmp_path}/s")).text


def test_health_does_not_wait_for_a_stranger_who_trickles() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def trickle() -> None:
            with contextlib.suppress(OSError):
                connection, _ = stranger.accept()
                while connection.send(b"H"):
                    time.sleep(0.1)  # the attack: never silent for long

        threading.Thread(target=trickle, daemon=True).start()
        started = time.monotonic()
        found = ask(ObserveSection(listen=f"127.0.0.1:{stranger.getsockname()[1]}"))
        assert time.monotonic() - started < 30
    assert not found.alive
    assert "no answer" in found.text


def test_health_gives_the_token_to_nobody_with_another_certificate(
    tmp_path: Path, certificate: tuple[trustme.CA, dict[str, str]]
) -> None:
    _, files = certificate
    other = {"cert_file": str(tmp_path / "other.pem"), "key_file": str(tmp_path / "other-key.pem")}
    issue(trustme.CA(), other)
    asked: list[bytes] = []
    with serving({"/healthz": lambda: (asked.append(b"") or True) and PAGE["/healthz"]()}, tls=other) as server:
        listen = f"127.0.0.1:{server.port}"
        found = ask(ObserveSection.model_validate({"listen": listen, "tls": files, "token": fresh("probe")}))
    assert not found.alive
    assert "no answer" in found.text
    assert asked == []


def test_health_takes_a_certificate_that_has_expired(tmp_path: Path) -> None:
    """Whoever restarts a connector for a failed health check must not do so for its certificate."""
    from datetime import UTC, datetime

    issued = trustme.CA().issue_cert("pages.example", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    files = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    issued.private_key_pem.write_to_path(files["key_file"])
    issued.cert_chain_pems[0].write_to_path(files["cert_file"])
    with serving(pages(), tls=files) as server:
        found = ask(ObserveSection.model_validate({"listen": f"127.0.0.1:{server.port}", "tls": files}))
    assert (found.alive, found.ready) == (True, True), found
