"""The pages of a running connector as `tap` and `top` ask for them: over TLS and sockets, and what is said without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from click.testing import Result

from connector.commands.cli import main
from connector.commands.live.pages import NoPageError, RunningPages
from connector.config.read import load_observe
from connector.observe.http import ObserveServer, json_page
from tests.secret_search import SearchedCommands
from tests.secrets_used import fresh


def config_with(folder: Path, observe: str) -> Path:
    config = folder / "connector.yaml"
    config.write_text(f"observe: {{{observe}}}\n", encoding="utf-8")
    return config


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "socket"])
def test_the_token_of_the_configuration_is_sent_over_tls_and_sockets(tmp_path: Path, tls: bool) -> None:
    (tmp_path / "password").write_text(fresh("pages"), encoding="utf-8")
    listen = f"listen: 'unix:{tmp_path}/s'"
    if tls:
        certificate = trustme.CA().issue_cert("elsewhere.example.com")
        certificate.private_key_pem.write_to_path(tmp_path / "pages.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        listen = "listen: '127.0.0.1:0', tls: {cert_file: cert.pem, key_file: pages.key}"
    section = load_observe(config_with(tmp_path, f"token: '${{file:password}}', {listen}"))

    def page(parameters: Mapping[str, str]) -> tuple[int, str, bytes]:
        return json_page(200, {"asked": dict(parameters)})

    server = ObserveServer(section, {}, asked={"/tap": page})
    server.start()
    try:
        config = config_with(tmp_path, f"token: '${{file:password}}', {listen.replace(':0', f':{server.port}')}")
        assert RunningPages(config).json("/tap", {"topic": "a/#"}) == (200, {"asked": {"topic": "a/#"}})
        (tmp_path / "password").write_text(fresh("other"), encoding="utf-8")
        assert RunningPages(config).json("/tap", {}) == (200, {"asked": {}}), "both sides read a renewed token"
        (tmp_path / "another").write_text(fresh("another"), encoding="utf-8")
        config.write_text(config.read_text(encoding="utf-8").replace("file:password", "file:another"), encoding="utf-8")
        with pytest.raises(NoPageError, match=r"observe\.token of the configuration is not the token"):
            RunningPages(config).json("/tap")
        for name in ("password", "another"):
            (tmp_path / name).write_text("", encoding="utf-8")
    finally:
        server.close()


@pytest.mark.parametrize(
    ("observe", "said"),
    [
        ("listen: '127.0.0.1:9'", "is the connector running? Without a running connector, clarify-connector preview "),
        ("listen: '127.0.0.1:0'", "only the log names the real port; set a port"),
        ("listen: null", "observe.listen is null"),
    ],
)
@pytest.mark.parametrize("command", ["tap", "top"])
def test_without_a_page_the_command_says_what_to_do(tmp_path: Path, command: str, observe: str, said: str) -> None:
    result: Result = SearchedCommands().invoke(main, [command, str(config_with(tmp_path, observe))])
    assert result.exit_code == 1
    assert said in result.output


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>", "is not a connector"),
        (200, b"[]", "is not a connector"),
        (503, b"too busy for this page; try again\n", "/readyz: too busy for this page; try again"),
        (404, b"", "has no page /readyz: it is another program, or a connector of another version"),
        (421, b"this host name is unknown here\n", "this host name is unknown here"),
    ],
)
def test_an_answer_that_is_no_page_is_said(tmp_path: Path, status: int, body: bytes, said: str) -> None:
    server = ObserveServer("127.0.0.1:0", {"/readyz": lambda: (status, "text/plain", body)})
    server.start()
    try:
        pages = RunningPages(config_with(tmp_path, f"listen: '127.0.0.1:{server.port}'"))
        with pytest.raises(NoPageError) as caught:
            pages.json("/readyz")
        assert said in str(caught.value)
    finally:
        server.close()


def test_a_refused_question_and_workers_that_are_away_are_said(tmp_path: Path) -> None:
    answers = iter(
        [
            (200, {"next": 1, "messages": [], "seen": {"came": 0, "looked_at": 0, "matching": 0}}),
            (
                200,
                {
                    "next": 2,
                    "messages": [],
                    "seen": {"came": 9, "looked_at": 4, "matching": 2},
                    "silent": ["worker 2 does not answer"],
                },
            ),
            (503, {"error": "4 others look with other filters; try again when one has ended"}),
        ]
    )
    asked: list[Mapping[str, str]] = []

    def page(parameters: Mapping[str, str]) -> tuple[int, str, bytes]:
        asked.append(parameters)
        return json_page(*next(answers))

    server = ObserveServer("127.0.0.1:0", {}, asked={"/tap": page})
    server.start()
    try:
        config = config_with(tmp_path, f"listen: '127.0.0.1:{server.port}'")
        result = SearchedCommands().invoke(main, ["tap", str(config), "--topic", "a b", "--for", "20s"])
    finally:
        server.close()
    assert result.exit_code == 1
    assert [dict(one) for one in asked] == [{"topic": "a b"}, *({"topic": "a b", "after": n} for n in "12")]
    assert "worker 2 does not answer\n" in result.stderr
    assert "0 of 2 messages shown; 5 of 9 came too fast to look at; --topic and --input-id choose" in result.stderr
    assert "Error: 4 others look with other filters" in result.stderr
