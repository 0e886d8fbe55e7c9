"""Runs the sandbox: opens a socket and the store, writes the credentials file, and serves until a signal."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import click
import uvicorn

from connector.sandbox.address import ListenAddress, check_public_url
from connector.sandbox.app import SandboxApp
from connector.sandbox.connection import SandboxProtocol
from connector.sandbox.credentials import CredentialsKind, write_credentials
from connector.sandbox.settings import SandboxSettings
from connector.sandbox.store import Store

_STOP_SECONDS = 1  # for requests that are being answered when the signal comes
_KEEP_ALIVE_SECONDS = 65
_CONNECTIONS = 256  # more get HTTP 503: each may hold a request of the full size

_log = logging.getLogger(__name__)


def run(
    listen: str,
    store: Path | None,
    credentials_out: Path | None,
    settings: SandboxSettings,
    faults: bool,
    *,
    credentials_kind: CredentialsKind = "client-credentials",
    public_url: str | None = None,
    tls_files: tuple[Path, Path] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; prints `listening on URL` as soon as requests are answered.

    `tls_files` are a certificate and its key; with them, the listener speaks https. Call this function in the main
    thread. Raises ValueError for a bad `listen` or `public_url`. Raises OSError if the address, the credentials file or
    the TLS files cannot be used, and StoreError if the store cannot be used.
    """
    os.umask(0o077)  # the store and the credentials file hold secrets
    address = ListenAddress.parse(listen)
    tls = None if tls_files is None else _tls(*tls_files)
    with _listener(address) as sock, Store.open(store) as opened:
        address = ListenAddress(address.host, sock.getsockname()[1], tls=tls is not None)
        api_url = address.url if public_url is None else check_public_url(public_url)
        _warn(address, credentials_out, store, public_url, faults=faults)
        if credentials_out is not None:
            write_credentials(credentials_out, opened.integration(), api_url=api_url, kind=credentials_kind)
        asyncio.run(_serve(sock, opened, settings, api_url, address.url, tls, with_faults=faults))


def _warn(
    address: ListenAddress,
    credentials_out: Path | None,
    store: Path | None,
    public_url: str | None,
    *,
    faults: bool,
) -> None:
    if not address.is_loopback:
        _log.warning(
            "the sandbox listens on %s%s: other machines can connect%s",
            address.host,
            "" if address.tls else ", without TLS",
            " and order faults" if faults else "",
        )
        if public_url is None:
            _log.warning("no public URL is given: the credentials say %s, which is this machine", address.url)
    if credentials_out is None and store is None:
        _log.warning("nobody can log in: there is neither a credentials file to write nor a store to keep them")


def _listener(address: ListenAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only if the socket names its protocol, which socket.create_server does not do.
    # With Nagle's algorithm, an answer takes 40 ms, since it is sent in two writes.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen()
    except OSError as error:
        listener.close()
        place = f"cannot listen on {address.host}:{address.port}"
        raise OSError(error.errno, f"{place}: {error.strerror}") from error
    return listener


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """The TLS context of the listener.

    Raises OSError, whose text names the file that cannot be used, and the reason.
    """
    for path, content, begin in ((certificate, "certificate", "CERTIFICATE"), (key, "private key", "PRIVATE KEY")):
        try:
            text = path.read_bytes()
        except OSError as error:
            raise OSError(error.errno, f"cannot read the TLS {content} {path}: {error.strerror}") from error
        if f"{begin}-----".encode() not in text:
            raise _bad_file(f"there is no {content} in PEM form in {path}: it has a line -----BEGIN {begin}-----")
    asked: list[str] = []

    def no_password() -> str:
        asked.append("for a password")
        return ""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except ssl.SSLError as error:
        if asked:
            raise _bad_file(f"the TLS key {key} is encrypted: decrypt it with openssl pkey") from error
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _bad_file(f"the TLS key {key} does not belong to the certificate {certificate}") from error
        raise _bad_file(f"the TLS files {certificate} and {key} cannot be used: {error}") from error
    return context


def _bad_file(message: str) -> OSError:
    return OSError(errno.EINVAL, message)


async def _serve(
    sock: socket.socket,
    store: Store,
    settings: SandboxSettings,
    api_url: str,
    local_url: str,
    tls: ssl.SSLContext | None,
    *,
    with_faults: bool,
) -> None:
    app = SandboxApp(store, settings, api_url=api_url, with_faults=with_faults)
    config = uvicorn.Config(
        app.asgi,
        http=SandboxProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    config.load()
    config.ssl = tls  # given file names, uvicorn would ask on the terminal for the password of an encrypted key
    server = _Server(config, on_ready=lambda: click.echo(f"listening on {local_url}"), on_stop=app.stop)
    await server.serve(sockets=[sock])


class _Server(uvicorn.Server):
    """uvicorn's server, which calls `on_ready` and `on_stop`, and returns after a signal.

    uvicorn itself would raise the signal once more after an orderly end, and so end the process.
    """

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        self.should_exit = True
