"""A TCP proxy with faults: everything that a network does to a connection, on request.

One thread with one event loop serves all proxies of a process. The methods may be called from any thread and have taken
effect when they return.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Self

from tests.chaos.harness.lies import Lie

HOST: Final = "127.0.0.1"
_CHUNK: Final = 64 * 1024
_SLOW_CHUNK: Final = 1024
_LIE_SECONDS: Final = 0.02


class Loop:
    """The thread of the proxies."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done there, and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        """End the thread, with what still hangs in it."""
        self.do(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class FaultProxy:
    """One port of ours for one port of somebody else's, on this machine."""

    def __init__(self, loop: Loop, port: int, target: int, source: str = HOST) -> None:
        """`source` is the address that the target sees; the whole of 127.0.0.0/8 is ours on Linux."""
        self.port = port
        self._source = source
        self._target = target
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._bytes_per_second: float | None = None
        self._broken_answers = 0
        self._share_that_arrives = 0.0
        self.answers_broken = 0
        self._lies: Sequence[Lie] = ()
        self._dice = random.Random(0)
        self.lies_told = 0

    def start(self) -> Self:
        """Listen."""
        self._loop.do(self._mend())
        return self

    # -- faults -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """All connections are reset; new ones are refused."""
        self._loop.do(self._cut())

    def swallow(self) -> None:
        """A black hole: connections stay, new ones too are accepted, and nothing moves."""
        self._loop.do(self._swallow())

    def slow_down(self, bytes_per_second: float) -> None:
        """A slow link, in both directions."""
        self._loop.do(self._slow_down(bytes_per_second))

    def break_answers(self, n: int, share_that_arrives: float) -> None:
        """Of each of the next `n` answers only this share arrives (0: nothing); then the connection is reset."""
        self._loop.do(self._break_answers(n, share_that_arrives))

    def lie(self, lies: Sequence[Lie], seed: float) -> None:
        """A liar is in the place of the target: it answers each connection with one of these lies."""
        self._loop.do(self._lie(lies, seed))

    def mend(self) -> None:
        """No fault any more. What a black hole holds goes on its way, as TCP would repeat it."""
        self._loop.do(self._mend())

    def close(self) -> None:
        """Stop listening."""
        self._loop.do(self._cut())

    # -- in the loop ------------------------------------------------------------------------------

    async def _cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._writers):
            _reset(writer)

    async def _swallow(self) -> None:
        self._flows.clear()

    async def _slow_down(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second

    async def _break_answers(self, n: int, share: float) -> None:
        self._broken_answers, self._share_that_arrives = n, share

    async def _lie(self, lies: Sequence[Lie], seed: float) -> None:
        self._lies, self._dice = lies, random.Random(seed)
        for writer in list(self._writers):
            _reset(writer)

    async def _mend(self) -> None:
        if self._lies:
            await self._lie((), 0)
        self._bytes_per_second = None
        self._broken_answers = 0
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, HOST, self.port, reuse_address=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._writers.add(to_client)
        to_server = None
        try:
            await self._flows.wait()
            if self._lies:
                await self._tell_lies(client, to_client)
                return
            server, to_server = await asyncio.open_connection(HOST, self._target, local_addr=(self._source, 0))
            self._writers.add(to_server)
            await asyncio.wait(
                (
                    asyncio.ensure_future(self._pump(client, to_server, to_client, answers=False)),
                    asyncio.ensure_future(self._pump(server, to_client, to_server, answers=True)),
                )
            )
        except OSError:
            _reset(to_client)  # nobody listens behind us, or no more
        finally:
            for writer in (to_client, to_server):
                if writer is not None:
                    self._writers.discard(writer)
                    writer.close()

    async def _tell_lies(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One answer to whatever comes first; nothing that is sent to a liar reaches anybody."""
        await client.read(_CHUNK)
        self.lies_told += 1
        for piece in self._dice.choice(self._lies)(self._dice):
            to_client.write(piece)
            await to_client.drain()
            await asyncio.sleep(_LIE_SECONDS)
            if client.at_eof() or to_client.is_closing():
                break
        _reset(to_client)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while data := await reader.read(_SLOW_CHUNK if self._bytes_per_second else _CHUNK):
                await self._flows.wait()
                if answers and self._broken_answers > 0:
                    self._broken_answers -= 1
                    self.answers_broken += 1
                    writer.write(data[: int(len(data) * self._share_that_arrives)])
                    await writer.drain()
                    writer.close()  # what was written arrives before the end
                    _reset(back)
                    return
                writer.write(data)
                await writer.drain()
                if self._bytes_per_second:
                    await asyncio.sleep(len(data) / self._bytes_per_second)
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            _reset(writer)
            _reset(back)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
