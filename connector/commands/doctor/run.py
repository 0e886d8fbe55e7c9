"""Runs all looks in parallel, each within a time, and puts their findings into one list."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from connector import ConnectorError
from connector.brokers.findings import Examination, Finding, Level, wrong
from connector.commands.doctor.clarify import look_at_clarify
from connector.commands.doctor.machine import look_at_disk, look_at_memory
from connector.commands.doctor.registry import look_at_registry
from connector.commands.doctor.running import look_at_running
from connector.config.model import Config

WHOLE_SECONDS: Final = 20.0
"""The longest time of a look, in seconds."""

Findings = Iterable[Finding]


class Row(NamedTuple):
    """A finding, with the part of the configuration that it is about."""

    about: str
    finding: Finding


def looks(config: Config, asked: Examination) -> dict[str, Callable[[], Findings]]:
    """The part of the configuration → the look at it."""
    found: dict[str, Callable[[], Findings]] = {}
    for name in config.clarify.names:
        about = f"clarify {name}" if config.clarify.integrations else "clarify"
        found[about] = lambda name=name: look_at_clarify(config, name, asked)  # type: ignore[misc]
    for section in config.sources:
        found[f"source {section.name}"] = lambda section=section: section.examine(asked)  # type: ignore[misc]
    for name, registry in config.schema_registries.items():
        found[f"registry {name}"] = lambda registry=registry: look_at_registry(registry, asked)  # type: ignore[misc]
    found["dead letters"] = lambda: config.dead_letters.examine(asked)
    if not asked.short:
        found["disk"] = lambda: look_at_disk(config)
        found["memory"] = lambda: look_at_memory(config)
        found["connector"] = lambda: look_at_running(config)
    return found


def examine(config: Config, asked: Examination, seconds: float = WHOLE_SECONDS) -> list[Row]:
    """All findings, sorted by part: what is wrong, then advice, then what is well. Raises nothing."""
    return run(looks(config, asked), seconds)


def run(asked: Mapping[str, Callable[[], Findings]], seconds: float) -> list[Row]:
    """The findings of these looks, which run side by side. What is not done after `seconds` is itself a finding."""
    done: queue.Queue[str] = queue.Queue()
    so_far: dict[str, list[Finding]] = {about: [] for about in asked}
    for about, look in asked.items():
        threading.Thread(
            target=_look, args=(about, look, so_far[about], done), name=f"doctor {about}", daemon=True
        ).start()
    waiting = set(asked)
    ends = time.monotonic() + seconds
    while waiting and (left := ends - time.monotonic()) > 0:
        try:
            waiting.discard(done.get(timeout=left))
        except queue.Empty:
            break
    rows = [Row(about, finding) for about in asked for finding in tuple(so_far[about])]
    rows += [
        Row(about, wrong("time", f"no end within {seconds:g} s", "is a firewall or a name server in between silent?"))
        for about in asked
        if about in waiting
    ]
    order = {Level.WRONG: 0, Level.ADVICE: 1, Level.OK: 2}
    places = {about: number for number, about in enumerate(asked)}
    return sorted(rows, key=lambda row: (order[row.finding.level], places[row.about]))


def _look(
    about: str,
    look: Callable[[], Findings],
    findings: list[Finding],
    done: queue.Queue[str],
) -> None:
    try:
        for finding in look():
            findings.append(finding)  # one by one: a look that hangs keeps what it has found
    except ConnectorError as error:
        cause, _, remedy = str(error).partition("; ")
        findings.append(wrong("settings", cause, remedy or "see `clarify-connector check`"))
    except Exception as error:  # noqa: BLE001 - one look that fails must not hide the others
        kind = type(error).__name__  # without its text, which may hold what was sent
        findings.append(wrong("doctor", f"this look ended with {kind}", "please report it; the other rows count"))
    finally:
        done.put(about)


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Level → number of findings."""
    return {level.value: sum(row.finding.level is level for row in rows) for level in Level}
