"""The page /silent: the watched signals that are silent, page by page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import urlencode

from connector.observe.http import AskedPage, json_page
from connector.runtime.silence import Silence, signal_as_json

_LIMIT: Final = 100
_MOST: Final = 1_000
"""The most signals of one answer."""
_DIGITS: Final = 6
"""The most digits of a number in a query."""


def silent_page(silence: Silence | None, default: str) -> AskedPage:
    """Return the function that makes the page; `default` is the name of the default integration."""

    def page(asked: Mapping[str, str]) -> tuple[int, str, bytes]:
        try:
            after, limit, rule = _asked(asked)
        except ValueError as error:
            return json_page(400, {"error": str(error)})
        counts = [] if silence is None else silence.counts()
        found = [] if silence is None else silence.signals(after, limit + 1, rule)
        return json_page(
            200,
            {
                "watched": sum(watched for _, watched, _ in counts),
                "silent": sum(silent for _, _, silent in counts),
                "rules": [
                    {
                        "rule": one.number,
                        "topic": one.topic,
                        "expect_every": one.every or "learned",
                        "watched": watched,
                        "silent": silent,
                    }
                    for one, watched, silent in counts
                ],
                "signals": [signal_as_json(one, default) for one in found[:limit]],
                "next": found[limit - 1].input if len(found) > limit else None,
            },
        )

    return page


def merged_silent_page(ask_all: Callable[[str], Mapping[int, str | None]]) -> AskedPage:
    """Return the function that makes the page of all workers; `ask_all` asks them for a page, with its query."""

    def page(asked: Mapping[str, str]) -> tuple[int, str, bytes]:
        try:
            after, limit, rule = _asked(asked)
        except ValueError as error:
            return json_page(400, {"error": str(error)})
        query = {"after": after, "limit": limit} | ({} if rule is None else {"rule": rule})
        answers = [json.loads(text) for text in ask_all(f"/silent?{urlencode(query)}").values() if text]
        return json_page(200, _merged(answers, limit))

    return page


def _asked(asked: Mapping[str, str]) -> tuple[str, int, int | None]:
    """Returns (after, limit, rule). Raises ValueError for a parameter that is unknown or wrong."""
    if unknown := asked.keys() - {"after", "limit", "rule"}:
        raise ValueError(f"{min(unknown)!r} is no parameter of this page; it has after, limit and rule")
    numbers = {name: asked[name] for name in ("limit", "rule") if name in asked}
    for name, text in numbers.items():
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text)):
            raise ValueError(f"{name} must be a number from 1 on")
    limit = min(_MOST, int(numbers.get("limit", _LIMIT)))
    return asked.get("after", ""), limit, int(numbers["rule"]) if "rule" in numbers else None


def _merged(answers: Iterable[Mapping[str, object]], limit: int) -> dict[str, object]:
    """Add up the answers of the workers."""
    rules: dict[int, dict[str, object]] = {}
    found: dict[str, Mapping[str, object]] = {}
    more = False
    for answer in answers:
        for one in _list(answer, "rules"):
            known = rules.setdefault(int(str(one["rule"])), {**one, "watched": 0, "silent": 0})
            for name in ("watched", "silent"):
                known[name] = int(str(known[name])) + int(str(one[name]))
        found.update({str(one["at"]): one for one in _list(answer, "signals")})
        more = more or answer["next"] is not None
    shown = sorted(found)[:limit]
    return {
        "watched": sum(int(str(one["watched"])) for one in rules.values()),
        "silent": sum(int(str(one["silent"])) for one in rules.values()),
        "rules": [rules[number] for number in sorted(rules)],
        "signals": [found[one] for one in shown],
        "next": shown[-1] if shown and (more or len(found) > limit) else None,
    }


def _list(answer: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    found = answer[name]
    return found if isinstance(found, list) else []
