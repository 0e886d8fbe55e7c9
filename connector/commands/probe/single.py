"""Questions that one or a few requests settle: tokens, errors, compression, metadata, queries, rollups."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Final

from connector.commands.probe.answers import ADMIN, READING, Answer, Question, unsettled
from connector.commands.probe.session import INSERT, ITEMS, PUBLISH, SAVE, SELECT, Said

if TYPE_CHECKING:
    from connector.commands.probe.run import Probe

_INVALID: Final = -32602
_SUPPORT: Final = "an answer of Clarify's support"
_HALF_AN_HOUR_AND_ONE: Final = "PT1H30M"
_FIELDS_OF_FORMAT: Final = {"dataAsArray", "groupIncludedByType"}


def _open(said: Said, needs: str) -> Answer:
    """The answer to a question whose call failed for a reason of its own."""
    return unsettled(f"the call ended with: {said}", needs if said.is_forbidden else _SUPPORT)


def _token(probe: Probe) -> Answer:
    seconds = probe.session.token_seconds
    if probe.session.credentials.login.type == "basic-auth":
        return unsettled("these credentials use no token", "credentials of the kind OAuth 2.0")
    if seconds is None:
        return unsettled("the token endpoint names no life", _SUPPORT)
    return Answer(f"an access token lives {seconds:g} s", {"token_seconds": int(seconds)})


def _read_delay(probe: Probe) -> Answer:
    probe.written("overwrite")  # which writes and reads everything
    reading = probe.reading
    if reading.delay is None:
        return unsettled(f"nothing can be read: {reading.why}", READING)
    least, most = reading.delay
    if least is None:
        return Answer(f"readable at the first look, within {most:.1f} s", {"read_delay": 0.0})
    delay = round(most, 1)
    return Answer(f"readable after more than {least:.1f} s and at most {most:.1f} s", {"read_delay": delay})


def _errors(probe: Probe) -> Answer:
    session = probe.session
    frame = {"times": [probe.time("0")], "series": {probe.input("errors"): [1.0, 2.0]}}
    params = {"integration": session.integration, "data": frame}
    said = {
        "a series that is too long": session.call(INSERT, params),
        "an unknown parameter": session.call(INSERT, {**params, "unknown": 1}),
        "an unknown method": session.call("integration.unknown", {}),
        "an integration of somebody else": session.call(INSERT, {**params, "integration": "0" * 20}),
        "a body that is no JSON": session.send(INSERT, session.raw(b"{")),
        "a batch": session.send(INSERT, session.raw(b"[]")),
        "an unknown API version": session.call(INSERT, params, version="99.9"),
        "text/plain": session.send(INSERT, session.raw(b"{}", headers={"Content-Type": "text/plain"})),
    }
    detail = {name: {"said": str(one), "body": one.hidden} for name, one in said.items()}
    text = "; ".join(f"{name}: {one}" for name, one in said.items())
    data = next((one.error.get("data") for one in said.values() if one.code == _INVALID), None)
    details: dict[str, Any] = data if isinstance(data, dict) else {}
    if "pathErrors" in details:
        return Answer(f"errors name places in pathErrors. {text}", {"error_style": "live"}, detail=detail)
    if "params" in details:
        return Answer(f"errors name places in params. {text}", {"error_style": "documented"}, detail=detail)
    return Answer(f"errors have an unknown shape ({sorted(details)}). {text}", detail=detail, needs=_SUPPORT)


def _empty(probe: Probe) -> Answer:
    data: dict[str, object] = {"times": [], "series": {}}
    said = probe.session.call(INSERT, {"integration": probe.session.integration, "data": data})
    if said.is_passing:
        return _open(said, _SUPPORT)
    return Answer("an empty frame is accepted" if said.result is not None else f"an empty frame is refused: {said}")


def _gzip(probe: Probe) -> Answer:
    session = probe.session
    plain = session.request(INSERT, probe.one_sample("gzip"))
    body = gzip.compress(plain.body)
    said = session.send(INSERT, session.raw(body, headers={"Content-Encoding": "gzip"}))
    if said.result is not None:
        return Answer("a compressed request is accepted", {"gzip": "accept"})
    if said.is_passing:
        return _open(said, _SUPPORT)
    return Answer(f"a compressed request is refused: {said}", {"gzip": "refuse"}, detail={"code": said.code})


def _metadata(probe: Probe) -> Answer:
    session, key = probe.session, probe.input("metadata")
    first = {"name": "Probe", "engUnit": "bar", "description": "x", "labels": {"a": ["1"]}, "annotations": {"a": "1"}}
    for view in (first, {"name": "Probe 2", "annotations": {"b": "2"}}):
        said = session.call(SAVE, {"integration": session.integration, "signalsByInput": {key: view}})
        if said.result is None:
            return _open(said, ADMIN)
    query = {"filter": {"input": key}, "limit": 1}
    said = session.call(SELECT, {"integration": session.integration, "query": query})
    found = _resources(said)
    if not found:
        return _open(said, ADMIN)
    attributes = found[0].get("attributes", {})
    kept = [name for name in ("engUnit", "description", "labels") if attributes.get(name)]
    annotations = (found[0].get("meta") or {}).get("annotations")
    if not isinstance(annotations, dict) or "b" not in annotations or attributes.get("name") != "Probe 2":
        return unsettled("the selection does not show the last save", _SUPPORT)
    merged = "a" in annotations
    said_of_rest = f"attributes that are left out are KEPT: {', '.join(kept)}" if kept else (
        "attributes that are left out are reset"
    )  # fmt: skip
    return Answer(
        f"{said_of_rest}; annotations are {'merged' if merged else 'replaced'}",
        detail={"kept": kept, "annotations": "merged" if merged else "replaced"},
    )


def _gap(probe: Probe) -> Answer:
    probe.written("overwrite")
    session, signal = probe.session, probe.reading.signals.get(probe.input("gap"))
    old = probe.reading.items.get(probe.input("overwrite"))
    if signal is None or old is None:
        return unsettled(f"no item could be made: {probe.reading.why}", READING)
    view = {signal: {"name": probe.input("gap"), "visible": True}}
    said = session.call(PUBLISH, {"integration": session.integration, "itemsBySignal": view}, version="1.2")
    if said.result is None:
        return _open(said, ADMIN)
    new = said.result["itemsBySignal"][signal]["id"]
    probe.reading.items[probe.input("gap")] = new
    said = session.call(ITEMS, {"query": {"filter": {"id": {"$in": [old, new]}}, "limit": 2}})
    found = {one.get("id"): (one.get("attributes") or {}).get("gapDetection") for one in _resources(said)}
    if {old, new} - found.keys():
        return _open(said, READING)
    text = f"published by API 1.1: {found[old] or 'none'}; by API 1.2: {found[new] or 'none'}"
    kinds = {(None, None): "null", (None, _HALF_AN_HOUR_AND_ONE): "by-version",
             (_HALF_AN_HOUR_AND_ONE, _HALF_AN_HOUR_AND_ONE): "PT1H30M"}  # fmt: skip
    kind = kinds.get((found[old], found[new]))
    return Answer(text, {} if kind is None else {"gap_detection": kind}, detail={"1.1": found[old], "1.2": found[new]})


def _select(probe: Probe, **more: object) -> Said:
    """What Clarify says to a selection with `more`; without it, the selection shows that only `more` is refused."""
    session = probe.session
    query = {"filter": {"input": probe.input("overwrite")}, "limit": 1}
    return session.call(SELECT, {"integration": session.integration, "query": query, **more})


def _limits(probe: Probe) -> Answer:
    plain = _select(probe)
    if plain.result is None:
        return _open(plain, ADMIN)
    said = _select(probe, query={"filter": {"input": probe.input("overwrite")}, "limit": 1001})
    if said.result is not None:
        return Answer("a query for 1,001 resources is answered", {"limits": "clamp"})
    if said.code == _INVALID:
        return Answer(f"a query for 1,001 resources is refused ({said})", {"limits": "reject"})
    return _open(said, ADMIN)


def _include(probe: Probe) -> Answer:
    plain = _select(probe)
    if plain.result is None:
        return _open(plain, ADMIN)
    said = _select(probe, include=["item"])
    if said.result is not None:
        return Answer("accepted", {"include_item": "accept"})
    if said.code == _INVALID:
        return Answer(f"refused ({said})", {"include_item": "refuse"})
    return _open(said, ADMIN)


def _format(probe: Probe) -> Answer:
    said = _select(probe)
    if said.result is None:
        return _open(said, ADMIN)
    fields = sorted(((said.result.get("meta") or {}).get("format") or {}).keys())
    more = sorted(set(fields) - _FIELDS_OF_FORMAT)
    style = "live" if more else "documented"
    text = f"also {', '.join(more)}" if more else "the two documented fields"
    return Answer(text, {"format_echo": style}, detail={"fields": fields})


def _windows(probe: Probe) -> Answer:
    item = probe.reading.items.get(probe.input("overwrite"))
    if item is None:
        return unsettled(f"there is no item: {probe.reading.why}", READING)
    said = probe.data([item], probe.time("0", days=-41), probe.time("7200"))
    if said.result is not None:
        return Answer("a window of 41 days without a rollup is answered", {"windows": "ignore"})
    if said.code == _INVALID:
        return Answer(f"a window of 41 days without a rollup is refused ({said})", {"windows": "reject"})
    return _open(said, READING)


def _edges(probe: Probe) -> Answer:
    """Samples 1 at 0 s, 2 at 3599.999999 s, 4 at 3600 s; the sums tell which sample is in which bucket."""
    session = probe.session
    times = ("0", "3599.999999", "3600")
    frame = {"times": [probe.time(at) for at in times], "series": {probe.input("edges"): [1.0, 2.0, 4.0]}}
    item = probe.reading.items.get(probe.input("edges"))
    if item is None:
        return unsettled(f"there is no item: {probe.reading.why}", READING)
    said = session.call(INSERT, {"integration": session.integration, "data": frame})
    if said.result is None:
        return _open(said, READING)
    delay = probe.reading.delay
    session.line.sleep(0.0 if delay is None or delay[0] is None else 2 * delay[1])
    window = probe.data([item], probe.time("0"), probe.time("3600"))
    rolled = probe.data([item], probe.time("0"), probe.time("7200"), rollup="PT1H")
    if window.result is None or rolled.result is None:
        return _open(window if window.result is None else rolled, READING)
    inside = sorted(probe.values(window, item))
    sums = probe.values(rolled, f"{item}_sum")
    detail: dict[str, object] = {"window": inside, "sums": sums}
    expected = inside == ["0", "3599.999999"] and (sums.get("0"), sums.get("3600")) == (3, 4)
    if expected:
        return Answer("a window and a bucket have their start, and not their end; a bucket is named by its start",
                      detail=detail)  # fmt: skip
    if not inside or not sums:
        return unsettled("the samples were not readable in time", "another attempt later")
    return Answer(f"of the window, {inside} came; the sums by the time of the bucket are {sums}", detail=detail)


def _resources(said: Said) -> list[dict[str, Any]]:
    """The resources of a selection, as a list or by ID."""
    data = None if said.result is None else said.result.get("data")
    found = list(data.values()) if isinstance(data, dict) else data
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


FIRST: Final = (Question("token", "How long does a token live?", "the token endpoint", _token, 0),)
SINGLE: Final = (
    Question("read-delay", "When can an inserted sample be read?", "one sample, read until seen", _read_delay, 0),
    Question("errors", "What do errors look like?", "eight wrong requests", _errors, 8, ("errors",)),
    Question("empty", "Is an empty frame accepted?", "a frame without times and series", _empty, 1),
    Question("gzip", "May a request be compressed?", "an insert with Content-Encoding: gzip", _gzip, 1, ("gzip",)),
    Question("metadata", "What becomes of metadata that is left out?", "two saves, then a selection", _metadata, 3,
             ("metadata",)),
    Question("gap", "Which gap detection has a new item?", "an item by API 1.1 and by API 1.2", _gap, 2, ("gap",)),
    Question("limits", "May a query ask for more than 1,000 resources?", "two selections", _limits, 2),
    Question("include", "Does selectSignals take include: [item]?", "two selections", _include, 2),
    Question("format", "Which fields has meta.format?", "a selection", _format, 1),
    Question("windows", "Is a window over 40 days answered?", "a data frame of 41 days", _windows, 1),
    Question("edges", "Which samples are in a window and in a bucket?", "samples at the edges of an hour, read back",
             _edges, 3, ("edges",)),
)  # fmt: skip
