"""The report of a probe: a JSON document, and the same as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from connector import ConnectorError, __version__
from connector.commands.probe.run import Found, Plan, Probe, unasked

KIND: Final = "clarify-connector probe"
_VERSION: Final = 1
REMOVAL: Final = (
    "Clarify's API has no method to delete. In Clarify's admin panel, remove the items first, then the throw-away "
    "integration with its signals."
)


class ReportError(ConnectorError):
    """A file is no report of a probe."""


def document(probe: Probe, *, complete: bool) -> dict[str, Any]:
    """The report; of an interrupted probe too, whose other questions are then open."""
    found = [*probe.found, *([] if complete else unasked(probe))]
    credentials, reading = probe.session.credentials, probe.reading
    made: dict[str, object] = {"report": KIND, "version": _VERSION, "connector_version": __version__}
    made |= {"apiUrl": credentials.api_url, "integration": credentials.integration, "complete": complete}
    made |= {
        "began": f"{probe.began:%Y-%m-%dT%H:%M:%SZ}",
        "ended": f"{datetime.fromtimestamp(probe.session.line.wall(), UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    made["second"] = None if probe.second is None else probe.second.integration
    made |= {"requests": probe.session.requests, "bytes": probe.session.bytes}
    made["findings"] = [_finding(one) for one in found]
    made["sandbox"] = {name: value for one in found for name, value in one.answer.sandbox.items()}
    made["connector"] = {name: value for one in found for name, value in one.answer.connector.items()}
    made["inputs"] = list(probe.plan.inputs) if probe.session.requests > 1 else []
    made["items"] = dict(reading.items)
    made["removal"] = REMOVAL
    return made


def _finding(found: Found) -> dict[str, object]:
    answer = found.answer
    return {
        "question": found.question.name,
        "asks": found.question.asks,
        "how": found.question.how,
        "settled": answer.is_settled,
        "answer": answer.text,
        "needs": answer.needs or None,
        "sandbox": dict(answer.sandbox),
        "connector": dict(answer.connector),
        "detail": dict(answer.detail),
    }


def load(file: Path) -> Mapping[str, Any]:
    """A report from its file. Raises ReportError."""
    try:
        found: object = orjson.loads(file.read_bytes())
    except OSError as error:
        raise ReportError(f"{file} cannot be read: {error.strerror or error}") from None
    except orjson.JSONDecodeError as error:
        raise ReportError(f"{file} is no JSON: {error}") from None
    if not isinstance(found, dict) or found.get("report") != KIND or found.get("version") != _VERSION:
        raise ReportError(f"{file} is no report of `clarify-connector probe`, version {_VERSION}")
    return found


def plan_lines(plan: Plan, *, each: bool) -> Iterator[str]:
    """The bounds of a probe, and with `each` also what every question sends."""
    yield (
        f"At most {plan.requests} requests, {len(plan.inputs)} signals, {len(plan.inputs)} items and "
        f"{plan.bytes / 1e6 + 1:.0f} MB (18 MB if the size limit is the documented one)."
    )
    if each:
        for one in plan.questions:
            yield f"  {one.name:<13}{one.asks} ({one.how})"
        yield "Signals:"
        yield from (f"  {key}" for key in plan.inputs)


def answer_line(found: Found) -> str:
    """One answer as one line."""
    open_ = f" OPEN; needed: {found.answer.needs}" if found.answer.needs else ""
    return f"{found.question.name}: {found.answer.text}.{open_}"


def end_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What follows from the report, and what is left behind in Clarify."""
    opened = [one["question"] for one in report["findings"] if not one["settled"]]
    state = "" if report["complete"] else "INTERRUPTED. "
    yield (
        f"{state}{len(report['findings']) - len(opened)} questions are settled, {len(opened)} are open"
        f"{': ' if opened else ''}{', '.join(opened)}. {report['requests']} requests were sent."
    )
    follows = ", ".join(f"{name}: {value}" for name, value in report["connector"].items())
    yield f"Settings for the connector: {follows or 'the defaults fit'}"
    if report["inputs"]:
        yield f"Left in Clarify: signals of these {len(report['inputs'])} inputs, and {len(report['items'])} items:"
        yield from (f"  {key}  {report['items'].get(key, '')}".rstrip() for key in report["inputs"])
        if report["second"]:
            yield f"  and in the integration {report['second']}: the input that ends with rate"
        yield str(report["removal"])
