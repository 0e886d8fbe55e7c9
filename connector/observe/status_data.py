"""What the status page shows of one process, as JSON data: read from the running parts at each request."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from connector import __version__
from connector.dead_letters.look import LetterLook, in_full, in_short
from connector.dead_letters.store import DeadLettersError
from connector.delivery.circuit import CircuitStatus
from connector.observe.http import AskedPage, Said, json_page
from connector.pipeline.signals import longest_silent
from connector.records import of_integration
from connector.runtime.history import EVERY_SECONDS, Point, point, received

if TYPE_CHECKING:
    from connector.mapping.signals.explained import Explained
    from connector.mapping.signals.input_ids import Origin
    from connector.packing.last_values import LastValue
    from connector.runtime.connector import Connector
    from connector.sources.source import Source

MOST_SIGNALS: Final = 200
"""Signals of one answer."""
_LONGEST: Final = 1_000
"""Characters of a topic, a path or a part of an input ID that are shown."""


def readiness(connector: Connector) -> dict[str, Any]:
    """Returns the content of `/readyz`."""
    problems = connector.problems()
    return {
        "ready": not problems,
        "problems": problems,
        "notices": [notice.as_json() for notice in connector.notices()],
        "filtered_by": dict(connector.pipeline.status.filtered),
        "circuits": {
            name: {
                "state": status.state.value,
                "held": status.held,
                "failures": status.failures,
                "reason": status.reason,
                "failing_seconds": round(status.failing_seconds, 1),
                "next_try_seconds": round(status.next_try_seconds, 1),
            }
            for name, status in _failing(connector).items()
        },
    }


def _failing(connector: Connector) -> dict[str, CircuitStatus]:
    several = len(connector.integrations) > 1
    return {
        f"{connector.pipeline.status.shown(name)}: {method}" if several else method: status
        for name, parts in connector.integrations.items()
        for method, status in parts.circuits.statuses(time.monotonic()).items()
        if status.failures
    }


class StatusData:
    """The data of one connector, for its status page."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._letters = LetterLook(connector.dead_letters)
        self._started = time.time()

    @property
    def pages(self) -> dict[str, AskedPage]:
        """The pages with this data, by path."""
        return {"/status.json": self.status, "/signals.json": self.signals, "/dead-letters.json": self.dead_letters}

    # -- what comes in, waits, leaves, and is wrong -----------------------------------------------

    def status(self, _asked: Mapping[str, str]) -> Said:
        """Everything but topics, signals and dead letters."""
        connector, status = self._connector, self._connector.pipeline.status
        now = time.time()
        records, samples = status.waiting()
        present = point(status, int(now))
        part = {
            "version": __version__,
            "started": self._started,
            **readiness(connector),
            "advice": {name: _advice(one) for name, one in _failing(connector).items()},
            "messages": asdict(status.messages),
            "samples": asdict(status.samples),
            "waiting": {"messages": present.waiting_messages, "messages_in_memory": records, "samples": samples},
            "oldest_seconds": status.oldest_seconds(),
            "history": {
                "every": EVERY_SECONDS,
                "columns": Point._fields,
                "rows": [*connector.carrying.history.points(), present],
            },
            "sources": [self._source(source) for source in status.sources()],
            "integrations": [self._integration(name) for name in connector.integrations],
            "signals": status.signals.known(),
            "dead_letters": self._store(),
        }
        return json_page(200, {"now": now, "processes": [_finite(part)]})

    def _source(self, source: Source) -> dict[str, Any]:
        gauges = source.gauges() | self._connector.pipeline.status.sparkplug_gauges().get(source.name, {})
        help_of = self._connector.metric_help
        return {
            "name": source.name,
            "type": next((one.type for one in self._connector.config.sources if one.name == source.name), ""),
            "problems": source.problems(),
            "received": received(source),
            "unread": source.unread(),
            "share": source.share(),
            "gauges": [{"name": name, "text": help_of.get(name, name), "value": n} for name, n in gauges.items()],
            "losses": [
                {"cause": cause, "seconds": seconds}
                for (name, cause), seconds in self._connector.losses.seconds().items()
                if name == source.name
            ],
            **self._freshness(source),
        }

    def _freshness(self, source: Source) -> dict[str, Any]:
        delays, now = self._connector.pipeline.delays, time.monotonic()
        account = delays.accounts().get(source.name)
        return {
            "delays": [
                {"stage": stage, "median": found[0], "p99": found[1]}
                for stage, histogram in delays.stages(source).items()
                if (found := histogram.quantiles((0.5, 0.99), now))
            ],
            "freshness": None
            if account is None
            else {"objective": account.objective, "kept": account.kept, "missed": account.missed},
        }

    def _integration(self, name: str) -> dict[str, Any]:
        status = self._connector.pipeline.status
        one, packing = status.destinations[name], status.packing(name)
        rates = one.signal_rates
        return {
            "name": status.shown(name),
            "trouble": one.trouble,
            "waiting": one.waiting,
            "oldest_seconds": one.oldest_seconds(),
            "requests_per_second": one.rate(),
            "requests": one.sender.status.requests,
            "inserted": status.inserted_samples[name],
            "packing": None
            if packing is None
            else {
                **asdict(packing),
                "factor": packing.factor,
                "density": packing.density,
                "samples_per_request": packing.samples_per_request,
            },
            "frames": [
                {"seconds_ago": time.monotonic() - frame.at, **{key: getattr(frame, key) for key in _FRAME}}
                for frame in list(status.frames)
                if frame.integration == name
            ],
            "rates": None if rates is None else {key: getattr(rates, key) for key in _RATES},
        }

    def _store(self) -> dict[str, Any]:
        letters = self._connector.dead_letters
        return {
            "address": letters.store.address,
            "usage": asdict(letters.usage()),
            "since_start": dict(self._connector.pipeline.status.reasons),
            "kept": self._letters.counts(),
            "readable": self._letters.readable,
        }

    # -- signals ----------------------------------------------------------------------------------

    def signals(self, asked: Mapping[str, str]) -> Said:
        """The signals of a `topic` of a `source`; or the signal `id`; or those with the words `text` in their ID or
        topic; or those that are silent for the longest time, with `silent`."""
        if "topic" in asked:
            found = self._of_topic(asked.get("source", ""), asked["topic"])
        elif "id" in asked:
            signals = self._connector.pipeline.status.signals
            found = [self._explained(origin, one) for origin, one in signals.explained(asked["id"])]
        elif "text" in asked:
            found = self._with_text(asked["text"])
        elif "silent" in asked:
            return self._silent()
        else:
            return json_page(400, {"error": "say which: source=NAME&topic=TOPIC, id=ID, text=WORDS or silent=1"})
        more = len(found) > MOST_SIGNALS
        return json_page(200, {"now": time.time(), "signals": _finite(found[:MOST_SIGNALS]), "more": more})

    def _of_topic(self, source: str, topic: str) -> list[dict[str, Any]]:
        found = self._connector.pipeline.status.signals.of_topic(source, topic, MOST_SIGNALS + 1)
        return [self._signal(one.written, source, topic, one.path) | _why(one) for one in found]

    def _explained(self, origin: Origin, one: Explained) -> dict[str, Any]:
        return self._signal(one.written, origin.source, origin.topic, one.path) | _why(one)

    def _with_text(self, text: str) -> list[dict[str, Any]]:
        words = text.casefold().split()
        found = []
        for written, origin in self._connector.pipeline.status.signals.claims():
            searched = f"{written}\n{origin.topic}".casefold()
            if all(word in searched for word in words):
                found.append(self._signal(written, origin.source, origin.topic, origin.path))
                if len(found) > MOST_SIGNALS:
                    break
        return found

    def _silent(self) -> Said:
        signals = self._connector.pipeline.status.signals
        claims, lasts = dict(signals.claims()), signals.lasts()
        quiet = [self._of_claim(written, claims, last) for written, last in longest_silent(lasts, MOST_SIGNALS)]
        never = [written for written in claims if written not in lasts]
        examples = [self._of_claim(written, claims, None) for written in never[:MOST_SIGNALS]]
        answer = {"now": time.time(), "started": self._started, "full": signals.full, "never": len(never)}
        return json_page(200, answer | {"examples": _finite(examples), "signals": _finite(quiet)})

    def _of_claim(self, written: str, claims: Mapping[str, Origin], last: LastValue | None) -> dict[str, Any]:
        origin = claims.get(written)
        if origin is None:  # an input that values share on purpose has no owner
            return self._signal(written, "", "", "", last)
        return self._signal(written, origin.source, origin.topic, origin.path, last)

    def _signal(
        self, written: str, source: str, topic: str, path: str, last: LastValue | None = None
    ) -> dict[str, Any]:
        status = self._connector.pipeline.status
        integration, input_id = of_integration(written)
        last = last or status.signals.last(written)
        return {
            "written": written,
            "id": input_id,
            "integration": status.shown(integration) if len(status.destinations) > 1 else None,
            "source": source,
            "topic": topic[:_LONGEST],
            "path": path[:_LONGEST],
            "last": None if last is None else last._asdict(),
        }

    # -- dead letters -----------------------------------------------------------------------------

    def dead_letters(self, asked: Mapping[str, str]) -> Said:
        """The newest letters of a `reason`; or the letter `id`."""
        try:
            if "id" in asked:
                letter = self._letters.letter(asked["id"])
                if letter is None:
                    return json_page(404, {"error": "this letter is gone: it was replayed, dropped or discarded"})
                return json_page(200, _finite(in_full(letter)))
            found = self._letters.newest(asked.get("reason", ""))
        except DeadLettersError as error:
            return json_page(503, {"error": str(error)})
        return json_page(200, {"letters": [in_short(letter) for letter in found], "readable": self._letters.readable})


_FRAME: Final = ("rows", "series", "samples", "bytes", "density", "seconds")
_RATES: Final = ("seconds", "signals", "over_average", "over_burst")


def _why(one: Explained) -> dict[str, Any]:
    return {
        "why": {
            "rule": one.rule,
            "pattern": one.pattern,
            "template": one.template,
            "parts": [(name, text[:_LONGEST]) for name, text in one.parts],
            "notes": one.notes,
        }
    }


def _advice(status: CircuitStatus) -> str:
    """What to do about a circuit, for people."""
    again = f"the next try is in {math.ceil(status.next_try_seconds)} s"
    if status.held:
        return f"A person must act: the reason says what Clarify refuses. Nothing is lost meanwhile; {again}."
    return f"Nothing to do: nothing is lost, and {again}. If the failures go on, look at the network and at Clarify."


def _finite(found: Any) -> Any:
    """Returns the data with None in the place of numbers that JSON does not have."""
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, dict):
        return {key: _finite(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(value) for value in found]
    return found
