"""`publish --plan`: shows what would become of the items that a configuration publishes, and carries the plan out."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import orjson

from connector import __version__
from connector.clarify import Api, Client, Credentials, Timeouts
from connector.clarify.pacing import Pacing, Retries
from connector.commands.clarify.connection import one_line_errors
from connector.commands.clarify.filters import Chosen, matches_all
from connector.commands.clarify.plan_output import counts_of, line_as_json, say_some, told, write_lines
from connector.commands.integration import main_integration_in
from connector.commands.try_out.options import from_capture
from connector.config.model import Config
from connector.config.read import load_config
from connector.delivery.slots import Slots
from connector.metadata.item_plan import (
    PENDING,
    WRONG,
    Applied,
    ApplyError,
    LineStatus,
    PlanLine,
    apply_plan,
    plan_items,
)
from connector.metadata.item_views import Items
from connector.observe.logs import configure_logs
from connector.terminal.progress import bar
from connector.terminal.tables import write_json
from connector.terminal.text import say
from connector.try_out.wanted_items import WantedItems, wanted_items

NOTHING_TO_DO: Final = 0
ERROR: Final = 1
CHANGES_PENDING: Final = 2
"""The exit statuses."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What the command line says."""

    config: Path
    credentials: str | None
    """The file, or the text of it, in place of the file in the configuration; None: as there."""
    chosen: Chosen
    """Only signals that match."""
    ids: Sequence[str]
    """The IDs of signals that must be among the chosen ones."""
    capture: Path | None
    applies: bool
    reviewed: Path | None
    """A plan in JSON: it is carried out only if it is still the plan of now."""
    as_json: bool
    integration: str | None = None
    """The name of the integration in the configuration; None: that of `clarify` itself."""


class _Asked(NamedTuple):
    """The plan of now, and what it was made of."""

    place: str
    """The address and the integration."""
    integration: str
    items: Items
    wanted: WantedItems
    lines: Sequence[PlanLine]


def publish_plan(request: PlanRequest) -> int:
    """Show the plan, or carry it out; returns the exit status."""
    configure_logs("warning", "text")
    reviewed = None if request.reviewed is None else _read_plan(request.reviewed)
    config = load_config(request.config, without_secrets=True)
    name = main_integration_in(config, request.integration)
    config = config.model_copy(
        update={
            "clarify": config.clarify.of(name).model_copy(update={"integrations": config.clarify.integrations}),
            "delivery": config.delivery.of(config.clarify.integrations.get(name)),
        }
    )
    applied, problem = None, ""
    with one_line_errors():
        loaded = Credentials.load(
            request.credentials or config.clarify.credentials, allow_insecure=config.clarify.allow_insecure
        )
        with _open(config, loaded) as api:
            asked = _plan(request, config, api, loaded, name)
            if request.applies:
                if reviewed is not None:
                    _check_still_so(reviewed, asked, request.reviewed)
                applied, problem = _apply(asked)
    if request.as_json:
        write_json(_as_json(asked, applied, problem), sys.stdout)
    else:
        write_lines(asked.lines)
    _say_result(asked, applied, problem)
    return _status(asked, applied, problem)


def _plan(request: PlanRequest, config: Config, api: Api, loaded: Credentials, name: str) -> _Asked:
    capture = None if request.capture is None else from_capture(request.capture, None)
    wanted = wanted_items(config, api.integration, capture, name)
    if wanted.unreadable:
        say(
            f"{wanted.unreadable} messages of the capture could not be mapped completely, so their signals may be "
            f"missing: see clarify-connector preview {request.config} --input {request.capture}",
            err=True,
        )
    if not wanted.signals and not wanted.unknown:
        say("no signal is to be published: publish: true in a rule of the mapping publishes its signals", err=True)
    if not matches_all(request.chosen):
        _choose(request, config, loaded, wanted)
    items = Items(api.integration, _paced(api, config.delivery.metadata_requests_per_second))
    lines = [
        PlanLine(key, LineStatus.UNKNOWN, f"{why}; name a capture of them: --input FILE")
        for key, why in wanted.unknown.items()
    ]
    with bar("Planning", len(wanted.signals)) as planned:
        for part in plan_items(items, wanted.signals, wanted.settled):
            lines += part
            planned.update(len(part))
    place = f"{loaded.api_url}, integration {api.integration}"
    return _Asked(place, api.integration, items, wanted, sorted(lines, key=lambda line: line.input_id))


def _open(config: Config, loaded: Credentials) -> Api:
    section = config.clarify
    return Api(
        loaded,
        timeout=Timeouts(read=section.timeout, write=section.timeout),
        verify=section.ca_file,
        user_agent=f"clarify-connector/{__version__}",
    )


def _choose(request: PlanRequest, config: Config, loaded: Credentials, wanted: WantedItems) -> None:
    """Keep only the signals that match the filter of the command line; these exist in Clarify."""
    rates = {"admin.selectSignals": config.delivery.metadata_requests_per_second}
    with Client(loaded, verify=config.clarify.ca_file, rates=rates) as client:
        found = {one.id: one.attributes.input for one in client.iter_signals(request.chosen)}
    if missing := set(request.ids) - found.keys():
        raise click.ClickException(f"no signal with this ID matches the filter: {', '.join(sorted(missing))}")
    inputs = set(found.values())
    wanted.signals = {key: metadata for key, metadata in wanted.signals.items() if key in inputs}
    wanted.unknown = {key: why for key, why in wanted.unknown.items() if key in inputs}


def _paced(api: Api, per_second: float) -> Callable[[str, Mapping[str, object]], dict[str, object]]:
    """Returns the calls of the API, at the rate of the configuration; a call is repeated where that may help."""
    slots = Slots(per_second, threading.Event())
    pacing = Pacing(None, Retries())

    def call(method: str, params: Mapping[str, object]) -> dict[str, object]:
        slots.wait()
        return api.call(method, params)

    return lambda method, params: pacing.run(method, lambda: call(method, params))


# -- carrying out ----------------------------------------------------------------------------------


def _apply(asked: _Asked) -> tuple[Applied, str]:
    """(what was done, the reason why the rest was not done)."""
    pending = [line for line in asked.lines if line.status in PENDING]
    with bar("Publishing", len(pending)) as published:
        try:
            return apply_plan(asked.items, asked.wanted.signals, asked.wanted.settled, pending, published.update), ""
        except ApplyError as error:
            return error.applied, str(error)


def _read_plan(file: Path) -> dict[str, Any]:
    try:
        plan = json.loads(file.read_bytes())
        _ = str(plan["integration"]), [(line["input"], told(line)) for line in plan["items"]]
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise click.ClickException(f"{file} is no plan: publish --plan CONFIG --json writes one") from None
    found: dict[str, Any] = plan
    return found


def _check_still_so(reviewed: Mapping[str, Any], asked: _Asked, file: Path | None) -> None:
    """Raise click.ClickException, with all differences, if the reviewed plan is not the plan of now."""
    if reviewed["integration"] != asked.integration:
        raise click.ClickException(
            f"{file} is the plan of integration {reviewed['integration']}, not of {asked.integration}"
        )
    before = {line["input"]: line for line in reviewed["items"]}
    now = {line.input_id: orjson.loads(orjson.dumps(line_as_json(line))) for line in asked.lines}
    differing = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
        and not PENDING.isdisjoint(line["status"] for line in (before.get(key), now.get(key)) if line)
    ]
    say_some([f"{key}: planned {told(before.get(key))}, now {told(now.get(key))}" for key in differing])
    if differing:
        raise click.ClickException(
            f"the plan in {file} is outdated ({len(differing)} differences), and nothing was applied: make a new plan"
        )


# -- showing ---------------------------------------------------------------------------------------


def _say_result(asked: _Asked, applied: Applied | None, problem: str) -> None:
    counts = counts_of(asked.lines)
    listed = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in counts.items() if n) or "no items"
    say(f"{listed} ({asked.place})", err=True)
    if applied is None:
        if any(counts[status] for status in PENDING):
            say("nothing was sent; --apply carries out the plan", err=True)
        return
    outdated = [(one.input_id, told(line_as_json(one)), told(line_as_json(now))) for one, now in applied.outdated]
    say_some([f"not applied: {key}: planned {before}, now {after}" for key, before, after in outdated])
    say_some([f"rejected: {input_id}: {reason}" for input_id, reason in applied.rejected.items()])
    say(f"{applied.published} items published", err=True)
    if problem:
        say(f"Error: the rest was not published: {problem}; the same command goes on with the rest", err=True)


def _status(asked: _Asked, applied: Applied | None, problem: str) -> int:
    counts = counts_of(asked.lines)
    if problem or any(counts[status] for status in WRONG):
        return ERROR
    if applied is not None:
        return ERROR if applied.outdated or applied.rejected else NOTHING_TO_DO
    return CHANGES_PENDING if any(counts[status] for status in PENDING) else NOTHING_TO_DO


def _as_json(asked: _Asked, applied: Applied | None, problem: str) -> dict[str, object]:
    return {
        "integration": asked.integration,
        "counts": {str(status): n for status, n in counts_of(asked.lines).items()},
        "items": [line_as_json(line) for line in asked.lines],
        "applied": None
        if applied is None
        else {
            "published": applied.published,
            "outdated": [
                {"planned": line_as_json(planned), "now": line_as_json(now)} for planned, now in applied.outdated
            ],
            "rejected": applied.rejected,
            "error": problem or None,
        },
    }
