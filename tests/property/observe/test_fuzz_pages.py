"""Whatever bytes a visitor sends, the pages answer at most once, and nothing is left of the visit.

Each of `FUZZ_EXAMPLES` stands for `CASES` visits: `FUZZ_EXAMPLES=70000 pytest tests/property/observe` makes two
million, in about a quarter of an hour. `FUZZ_SEED` chooses other ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import random
import re
import socket
import ssl
from pathlib import Path
from typing import Final

import pytest
import trustme

from connector.config.observe import ObserveSection
from connector.observe.http import ObserveServer, json_page
from connector.observe.logs import configure_logs
from tests.property.fuzz import FUZZ
from tests.secrets_used import fresh

CASES: Final = 30
EXAMPLES: Final = FUZZ.max_examples * CASES
SEED: Final = int(os.environ.get("FUZZ_SEED", "16"))
TOKEN: Final = fresh("fuzzed-pages")
ANSWER: Final = re.compile(rb"HTTP/1\.1 (200|400|401|404|405|414|421|431|501) ")
WORDS: Final = (
    b"GET ", b"HEAD ", b"POST ", b"/healthz", b"/ledger", b"*", b"http://x/", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/9.9",
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: localhost", b"Host: [::1]:1", b"Host: evil.example", b"Host:",
    b"Content-Length: ", b"-1", b"99999999999999999999", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"0\r\n\r\n", b"ffffffffffffffffff\r\n", b"Expect: 100-continue", b"Connection: keep-alive, upgrade",
    b"Upgrade: h2c", b"Authorization: Bearer " + TOKEN.encode(), b"Authorization: Basic eA==", b": ", b"\t", b"\x00",
    b"\xff\xfe", b"a" * 3000, b"a: b\r\n" * 200, b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip
WHOLE: Final = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n",
    b"HEAD /healthz HTTP/1.0\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n",
    b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
)


def case(rng: random.Random) -> bytes:
    """Words of HTTP in any order, or a request with some bytes changed."""
    if rng.random() < 0.5:
        return b"".join(rng.choices(WORDS, k=rng.randrange(12)))
    sent = bytearray(rng.choice(WHOLE))
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(sent) + 1)
        sent[at : at + rng.randrange(4)] = rng.choice((rng.choice(WORDS), rng.randbytes(rng.randrange(5)), b""))
    return bytes(sent)


async def visit(server: ObserveServer, sent: bytes) -> bytes:
    """The answer to a visitor who sends this and then ends his half of the connection."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        task = asyncio.create_task(server._visit(theirs))
        server._visits[task] = False
        task.add_done_callback(server._visits.pop)
        await asyncio.wait_for(task, 30)
        await asyncio.sleep(0)  # the transport closes the socket in the loop's next turn
        ours.settimeout(30)
        answer = b""
        try:
            while got := ours.recv(65536):
                answer += got
        except ConnectionError:
            pass  # a reset, since not all that was sent was read
        return answer


def check(sent: bytes, answer: bytes) -> None:
    if not answer:
        return
    found = ANSWER.match(answer)
    assert found, (sent, answer)
    assert answer.count(b"HTTP/1.1 ") == 1, (sent, answer)
    assert TOKEN.encode() not in answer, (sent, answer)
    if found[1] == b"200":
        assert TOKEN.encode() in sent, (sent, answer)
    assert (b'"alive"' in answer) <= (found[1] == b"200"), (sent, answer)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one system call


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(3600)
def test_fuzz_any_bytes() -> None:
    out = io.StringIO()
    configure_logs("info", "json", out)
    section = ObserveSection.model_validate({"listen": "127.0.0.1:0", "token": TOKEN})
    server = ObserveServer(section, {"/healthz": lambda: json_page(200, {"alive": True})}, {"/healthz": 3600.0})
    rng = random.Random(SEED)
    statuses: set[bytes] = set()

    async def run(cases: int) -> None:
        for _ in range(cases):
            sent = case(rng)
            answer = await visit(server, sent)
            check(sent, answer)
            statuses.add(answer[9:12])

    async def all_of_it() -> tuple[int, int]:
        await run(EXAMPLES // 4)
        gc.collect()
        before, memory = descriptors(), rss()
        await run(EXAMPLES - EXAMPLES // 4)
        gc.collect()
        assert not server._visits
        return descriptors() - before, rss() - memory

    try:
        more_descriptors, more_memory = asyncio.run(all_of_it())
    finally:
        server.close()
    assert out.getvalue() == "", "nonsense is no news"
    assert more_descriptors == 0
    assert more_memory < 16 * 1024**2
    assert {b"", b"200", b"400", b"401", b"404", b"405", b"421"} <= statuses, "the cases are of all kinds"


def hello() -> bytes:
    """The first message of a TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing, server_hostname="pages.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.timeout(3600)
def test_fuzz_handshakes(tmp_path: Path) -> None:
    out = io.StringIO()
    configure_logs("info", "json", out)
    issued = trustme.CA().issue_cert("pages.example")
    issued.private_key_pem.write_to_path(tmp_path / "pages.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = {"cert_file": tmp_path / "cert.pem", "key_file": tmp_path / "pages.key"}
    server = ObserveServer(ObserveSection.model_validate({"listen": "127.0.0.1:0", "tls": tls}), {})
    rng = random.Random(SEED)

    async def run() -> int:
        before = 0
        for number in range(EXAMPLES // 4):
            sent = bytearray(hello())
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(sent) + 1)
                sent[at : at + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
            answer = await visit(server, bytes(sent[: rng.randrange(1, 2000)]))
            assert b"HTTP" not in answer
            if number == 50:
                before = descriptors()
        await asyncio.sleep(0)
        return descriptors() - before

    try:
        assert asyncio.run(run()) <= 0
    finally:
        server.close()
    assert out.getvalue() == "", "nonsense is no news"
