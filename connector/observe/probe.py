"""Asks a running connector how it is, from outside its process: for the health checks of containers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Final

_SECONDS: Final = 3.0
_FROM_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here: we only connect


@dataclass(frozen=True, slots=True)
class Health:
    """What a connector says of itself."""

    alive: bool
    """It works, or will again by itself; if not, only a restart helps."""
    ready: bool
    """Nothing is in the way of the data."""
    text: str
    """Both for people, with the reasons."""


def ask(listen: str) -> Health:
    """Ask the connector on this machine that serves its pages at `listen` (HOST:PORT); answers within 6 s."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    host = _FROM_HERE.get(host, host)
    try:
        alive, health = _page(host, int(port), "/healthz")
        ready, readiness = _page(host, int(port), "/readyz")
    except (OSError, HTTPException) as error:
        return Health(False, False, f"no answer on {listen} ({error}); is the connector running?")
    except ValueError:
        return Health(False, False, f"what answers on {listen} is no connector")
    if not alive:
        return Health(False, False, f"failed: {health.get('failure')}")
    if not ready:
        problems = readiness.get("problems")
        return Health(True, False, f"alive, not ready: {'; '.join(problems) if isinstance(problems, list) else '?'}")
    notices = readiness.get("notices")
    said = [_notice(notice) for notice in notices if isinstance(notice, dict)] if isinstance(notices, list) else []
    return Health(True, True, "; ".join(["alive, ready", *said]))


def _notice(notice: Mapping[str, object]) -> str:
    worker = f"worker {notice['worker']}: " if "worker" in notice else ""
    source = f"{notice['source']}: " if notice.get("source") else ""
    return f"{worker}{source}{notice.get('text')}; {notice.get('remedy')}"


def _page(host: str, port: int, path: str) -> tuple[bool, dict[str, object]]:
    connection = HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        if not isinstance(content, dict):
            raise ValueError("not an object")  # noqa: TRY004 - for the caller the same as no JSON
        return answer.status == 200, content
    finally:
        connection.close()
