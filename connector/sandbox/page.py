"""The sandbox's web page: signals and items, their samples as a plot, and the JSON that the page asks for.

The page needs no login. So it is shown only to people at this machine, and to people who connect to the listener by its
own name: a request with any other Host header is refused. Otherwise a web site that points its own name at this machine
(DNS rebinding) could read everything through the browser of a visitor. The page shows no secrets.

Every read is bounded: lists by `limit`, samples by `points`, each query by a time limit. Counting reads every sample,
so it may take only a twentieth of the time. If the store is a file, the page reads it through a connection of its own,
so that the page never delays the API.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from connector.sandbox.store import ItemRow, SignalRow
from connector.sandbox.visitors import refusal

_LISTED: Final = 200  # rows of a list, unless the request says otherwise
_MOST_LISTED: Final = 1000
_POINTS: Final = 500
_MOST_POINTS: Final = 2000
_FIRST_US: Final = -62_135_596_800_000_000  # year 1
_END_US: Final = 253_402_300_800_000_000  # year 10000
_QUERY_SECONDS: Final = 5.0
_STEPS: Final = 10_000  # steps of SQLite's virtual machine between two looks at the clock
_COUNTING_SHARE: Final = 20
_BUSY_SECONDS: Final = 5.0
_LIVE_US: Final = 60_000_000

_NEWEST = (
    "SELECT id, (SELECT max(time_us) FROM samples WHERE signal = number),"
    " (SELECT value FROM samples WHERE signal = number ORDER BY time_us DESC LIMIT 1) FROM signals"
)
_COUNT = (
    "SELECT id, counted FROM (SELECT signal, count(*) AS counted FROM samples GROUP BY signal)"
    " JOIN signals ON number = signal"
)
_ROWS: Final = {
    "signal": (
        "FROM samples WHERE signal = (SELECT number FROM signals WHERE id = :id)"
        " AND time_us >= :first AND time_us < :end"
    ),
    "item": (
        "FROM samples WHERE signal IN (SELECT s.number FROM signals s JOIN items i ON s.item = i.number"
        " WHERE i.id = :id) AND time_us >= :first AND time_us < :end"
    ),
}
# If several signals of an item have a value at one time, the value of the newest signal counts. SQLite takes a plain
# column next to max() from the row that has the maximum.
_SAMPLES: Final = {
    "signal": f"SELECT time_us, value {_ROWS['signal']}",
    "item": f"SELECT time_us, value FROM (SELECT time_us, value, max(signal) {_ROWS['item']} GROUP BY time_us)",  # noqa: S608
}
_BOUNDS: Final = {
    kind: f"SELECT (SELECT min(time_us) {rows}), (SELECT max(time_us) {rows})" for kind, rows in _ROWS.items()
}
_FEW: Final = {
    kind: f"SELECT count(*) FROM (SELECT 1 {rows} LIMIT :most)"  # noqa: S608
    for kind, rows in _ROWS.items()
}
_BUCKET: Final = {
    kind: f"SELECT max(time_us), min(value), max(value), count(*) FROM ({samples})"  # noqa: S608
    for kind, samples in _SAMPLES.items()
}
_CONNECTED = "SELECT s.id FROM signals s JOIN items i ON s.item = i.number WHERE i.id = ?"


class PageStore(Protocol):
    """The part of the store that the page needs."""

    def signals(self) -> Mapping[str, SignalRow]:
        """All signals by input, the oldest signal first."""

    def items(self) -> Mapping[str, ItemRow]:
        """All items by ID, the oldest item first."""

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """The connection of the store, for queries only; no other thread uses it inside the context."""


class PageRequestError(Exception):
    """A refused request of the page, with the HTTP status and a sentence for the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Window:
    """Samples of a signal or an item, from `first_us` to before `end_us`, in µs since the epoch.

    Each row is (time in µs, least, greatest and last value, number of samples). The time is the time of the last value.
    With `exact`, each row is one sample.
    """

    first_us: int
    end_us: int
    exact: bool
    rows: list[tuple[int, float, float, float, int]]


class PageReader:
    """Reads the contents of the page from a store. Raises PageRequestError if a query takes too long."""

    def __init__(self, store: PageStore) -> None:
        self._store = store
        with store.reading() as shared:
            self._file: str = shared.execute("PRAGMA database_list").fetchone()[2]
        self._counting = threading.Lock()
        self._counts: dict[str, int] = {}
        self._counts_due = 0.0

    def newest(self) -> dict[str, tuple[int, float]]:
        """Signal ID → (time in µs, value) of the newest sample; signals without samples are left out."""
        with self._connection() as database:
            return {row[0]: (row[1], row[2]) for row in database.execute(_NEWEST) if row[1] is not None}

    def counts(self) -> dict[str, int]:
        """Signal ID → number of samples; signals without samples are left out.

        In a large store, the numbers may be a little old. In a huge store, counting takes too long, and there are none.
        """
        begin = time.monotonic()
        if begin >= self._counts_due and self._counting.acquire(blocking=False):
            try:
                with self._connection() as database:
                    self._counts = dict(database.execute(_COUNT).fetchall())
            except PageRequestError:
                self._counts = {}  # no counts are better than old counts
            finally:
                end = time.monotonic()
                self._counts_due = end + (end - begin) * _COUNTING_SHARE
                self._counting.release()
        return self._counts

    def window(self, kind: str, key: str, first_us: int | None, end_us: int | None, points: int) -> Window:
        """The samples of a signal or an item, from `first_us` to before `end_us`, in at most `points` rows.

        `kind` is `signal` or `item`, and `key` its ID. Without `first_us`, the window begins at the first sample.
        Without `end_us`, the window ends after the last sample.
        """
        with self._connection() as database:
            if kind == "item":
                connected = database.execute(_CONNECTED, (key,)).fetchall()
                if len(connected) == 1:  # the usual case, which is much faster
                    kind, key = "signal", connected[0][0]
            first = _FIRST_US if first_us is None else first_us
            end = _END_US if end_us is None else end_us
            if first_us is None or end_us is None:
                given = {"id": key, "first": first, "end": end}
                least, greatest = database.execute(_BOUNDS[kind], given).fetchone()
                first = first_us if first_us is not None else (least or 0)
                end = end_us if end_us is not None else max(first, greatest or 0) + 1
            given = {"id": key, "first": first, "end": end, "most": points + 1}
            if database.execute(_FEW[kind], given).fetchone()[0] <= points:
                few = database.execute(f"{_SAMPLES[kind]} ORDER BY time_us", given).fetchall()
                return Window(first, end, True, [(at, value, value, value, 1) for at, value in few])
            return Window(first, end, False, list(_buckets(database, kind, key, first, end, points)))

    @contextmanager
    def _connection(self, seconds: float = _QUERY_SECONDS) -> Iterator[sqlite3.Connection]:
        """A connection for queries, which are interrupted after `seconds`."""
        if self._file:
            target = f"{Path(self._file).as_uri()}?mode=rw"
            with closing(sqlite3.connect(target, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)) as own:
                own.execute("PRAGMA query_only = ON")
                own.execute("BEGIN")  # all queries see the same state of the store
                with _limited(own, seconds):
                    yield own
        else:
            with self._store.reading() as shared, _limited(shared, seconds):
                yield shared


def _buckets(
    database: sqlite3.Connection, kind: str, key: str, first: int, end: int, points: int
) -> Iterator[tuple[int, float, float, float, int]]:
    """The rows of a `Window`: one for each part of the time that has samples.

    The time is cut into at most `points` parts. Each part has a query of its own, which reads the samples in the order
    of the table. One query with GROUP BY would sort all samples.
    """
    width = -(-(end - first) // points)
    for begin in range(first, end, width):
        given = {"id": key, "first": begin, "end": min(begin + width, end)}
        last_us, least, greatest, counted = database.execute(_BUCKET[kind], given).fetchone()
        if counted:
            alone = {"id": key, "first": last_us, "end": last_us + 1}
            yield last_us, least, greatest, database.execute(_SAMPLES[kind], alone).fetchone()[1], counted


@contextmanager
def _limited(database: sqlite3.Connection, seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    database.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise PageRequestError(503, f"reading took longer than {seconds:g} s: choose a shorter time") from None
        raise
    finally:
        database.set_progress_handler(None, 0)


def page_routes(store: PageStore, *, api_url: str, clock: Callable[[], float] = time.time) -> list[Route]:
    """The routes of the page; the host of `api_url` is one of its own names; `clock` gives seconds since the epoch."""
    page = _Page(store, api_url, clock)
    return [
        Route("/", page.show, methods=["GET"]),
        Route("/sandbox/page/signals", page.answer(page.signals), methods=["GET"]),
        Route("/sandbox/page/items", page.answer(page.items), methods=["GET"]),
        Route("/sandbox/page/samples", page.answer(page.samples), methods=["GET"]),
    ]


class _Page:
    def __init__(self, store: PageStore, api_url: str, clock: Callable[[], float]) -> None:
        self._store = store
        self._reader = PageReader(store)
        self._name = urlsplit(api_url).hostname or ""
        self._clock = clock
        self._html = files("connector.sandbox").joinpath("page.html").read_text("utf-8")
        self._headers = {
            "Content-Security-Policy": _content_policy(self._html),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }

    def show(self, request: Request) -> Response:
        """The page itself."""
        refusal = self._refusal(request)
        return refusal or Response(self._html, headers=self._headers, media_type="text/html")

    def answer(self, content: Callable[[Mapping[str, str]], object]) -> Callable[[Request], Response]:
        """An endpoint that answers with the content as JSON; `content` makes it from the parameters of the query.

        Starlette runs the endpoint in a thread, since it is not a coroutine.
        """

        def endpoint(request: Request) -> Response:
            refusal = self._refusal(request)
            if refusal is not None:
                return refusal
            status = 200
            try:
                body = content(request.query_params)
            except PageRequestError as bad:
                status, body = bad.status, {"error": str(bad)}
            return Response(orjson.dumps(body), status, headers=self._headers, media_type="application/json")

        return endpoint

    def _refusal(self, request: Request) -> Response | None:
        why = refusal(request, self._name)
        return None if why is None else PlainTextResponse(why, 403, self._headers)

    # Content

    def signals(self, query: Mapping[str, str]) -> object:
        """The matching signals as JSON, the signal with the newest data first."""
        newest, counts = self._reader.newest(), self._reader.counts()
        signals, items = self._store.signals(), self._store.items()
        found = []
        for row in signals.values():
            item = items.get(row.item) if row.item is not None else None
            if _matches(query.get("q", ""), row.id, [row.input, *_searchable(row.attributes)]):
                found.append(
                    {
                        **_summary(row.id, row.attributes, newest.get(row.id)),
                        "input": row.input,
                        "samples": counts.get(row.id, None if row.id in newest else 0),
                        "item": None if item is None else _link(item.id, item.attributes),
                    }
                )
        return self._listed(found, query) | {"signals": len(signals), "items": len(items)}

    def items(self, query: Mapping[str, str]) -> object:
        """The matching items as JSON, the item with the newest data first."""
        newest = self._reader.newest()
        signals, items = self._store.signals(), self._store.items()
        found = []
        for row in items.values():
            if _matches(query.get("q", ""), row.id, [*_searchable(row.attributes)]):
                samples = [newest[signal] for signal in row.signals if signal in newest]
                found.append(
                    {
                        **_summary(row.id, row.attributes, max(samples, key=lambda sample: sample[0], default=None)),
                        "visible": row.attributes.get("visible", False),
                        "connected": len(row.signals),
                    }
                )
        return self._listed(found, query) | {"signals": len(signals), "items": len(items)}

    def samples(self, query: Mapping[str, str]) -> object:
        """The samples and the metadata of the signal or item that the query names. Raises PageRequestError."""
        kind = "item" if "item" in query else "signal"
        key = query.get(kind)
        if key is None:
            raise PageRequestError(400, "say which: signal=ID or item=ID")
        subject = self._item(key) if kind == "item" else self._signal(key)
        if subject is None:
            raise PageRequestError(404, f"there is no such {kind}")
        first = _number(query, "from", None, _FIRST_US, _END_US)
        end = _number(query, "to", None, _FIRST_US, _END_US)
        if first is not None and end is not None and first >= end:
            raise PageRequestError(400, "from must be before to")
        points = _number(query, "points", _POINTS, 1, _MOST_POINTS)
        window = self._reader.window(kind, key, first, end, points or _POINTS)
        return {
            "kind": kind,
            **subject,
            "from": window.first_us,
            "to": window.end_us,
            "exact": window.exact,
            "rows": window.rows,
        }

    def _signal(self, key: str) -> dict[str, object] | None:
        row = next((row for row in self._store.signals().values() if row.id == key), None)
        if row is None:
            return None
        item = self._store.items().get(row.item) if row.item is not None else None
        link = None if item is None else _link(item.id, item.attributes)
        return {**_metadata(row), "input": row.input, "item": link, "samples": self._reader.counts().get(row.id)}

    def _item(self, key: str) -> dict[str, object] | None:
        row = self._store.items().get(key)
        if row is None:
            return None
        connected = [_link(one.id, one.attributes) for one in self._store.signals().values() if one.id in row.signals]
        return {**_metadata(row), "connected": connected}

    def _listed(self, found: list[dict[str, object]], query: Mapping[str, str]) -> dict[str, object]:
        now = int(self._clock() * 1_000_000)
        limit = _number(query, "limit", _LISTED, 1, _MOST_LISTED)
        found.sort(key=lambda entry: _order(entry, now))
        return {"now": now, "found": len(found), "rows": found[:limit]}


def _order(entry: Mapping[str, object], now: int) -> tuple[bool, int, list[tuple[str, int]]]:
    """The key for sorting the rows of a list: the row with the newest data comes first.

    Rows with data from the last minute are sorted by name; sorted by time, they would change places all the time.
    """
    newest = entry["newest"]
    parts = re.findall(r"([^0-9]*)([0-9]{0,18})", str(entry["name"]).casefold())
    by_name = [(text, int(number or 0)) for text, number in parts]  # "Pump 9" is before "Pump 10"
    if not isinstance(newest, tuple):
        return True, 0, by_name
    return False, -min(newest[0], now - _LIVE_US), by_name


def _summary(key: str, attributes: Mapping[str, object], newest: tuple[int, float] | None) -> dict[str, object]:
    enum_values = attributes["enumValues"]
    state = None
    if newest is not None and attributes["valueType"] == "enum" and isinstance(enum_values, dict):
        state = enum_values.get(f"{newest[1]:g}")
    return {
        **_link(key, attributes),
        "unit": attributes["engUnit"],
        "labels": attributes["labels"],
        "newest": newest,
        "state": state,
    }


def _link(key: str, attributes: Mapping[str, object]) -> dict[str, object]:
    return {"id": key, "name": attributes["name"]}


def _metadata(row: SignalRow | ItemRow) -> dict[str, object]:
    return {
        "id": row.id,
        "attributes": row.attributes,
        "annotations": row.annotations,
        "created": row.created_us,
        "updated": row.updated_us,
    }


def _searchable(attributes: Mapping[str, object]) -> Iterator[str]:
    yield str(attributes["name"])
    yield str(attributes["engUnit"])
    labels = attributes["labels"]
    if isinstance(labels, dict):
        for key, values in labels.items():
            yield from (f"{key}: {value}" for value in values)


def _matches(query: str, key: str, names: list[str]) -> bool:
    """Whether `query` is the ID `key`, or each word of `query` is in one of the names."""
    text = "\n".join(names).casefold()
    return query.strip() == key or all(word in text for word in query.casefold().split())


def _number(query: Mapping[str, str], name: str, default: int | None, least: int, greatest: int) -> int | None:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,18}", text) or not least <= int(text) <= greatest:
        raise PageRequestError(400, f"{name} must be a whole number from {least} to {greatest}")
    return int(text)


def _content_policy(html: str) -> str:
    """The Content-Security-Policy of the page.

    The browser runs and applies only the scripts and styles in the page itself, and sends requests only to this server.
    """

    def hashes(tag: str) -> str:
        found = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'"
    )
