"""The data of the workbench: the newest messages of some topics, the mapping in use, and trials of a changed mapping.

`/workbench.json` has messages and the mapping. `/try.json` takes a changed mapping, and answers with the difference. A
trial changes nothing: `try_out.trial` runs it in a process of its own.
"""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import orjson

from connector import ConnectorError
from connector.observe.http import AskedPage, PostedPage, Said, json_page
from connector.observe.sparing import Sparing
from connector.pipeline.tap import Question, QuestionError, Tap

if TYPE_CHECKING:
    from connector.config.model import Config

_SHOWN: Final = 20
"""The newest messages that the page shows."""
_TEXT: Final = 2_000
"""The characters of a payload that the page shows."""
_AT_ONCE: Final = 15.0
"""The seconds of a core that trials may use at once, in processes with a low priority: about ten trials."""
_MOST_LINES: Final = 200
"""The most messages of a trial."""


class Gathered(NamedTuple):
    """The newest messages of some topics."""

    lines: list[str]
    """As lines of a capture, the oldest first."""
    too_large: int
    """The number of messages that were too large to be kept."""
    seen: dict[str, int]
    """As `tap.Seen`."""
    missing: list[int]
    """The workers that did not answer."""


class Workbench:
    """The pages of the workbench."""

    def __init__(self, file: Path | None, config: Callable[[], Config], gather: Callable[[str], Gathered]) -> None:
        """`file` has the configuration; None if there is no such file. `gather` returns the messages of a topic, or
        raises `QuestionError`."""
        self._file = file
        self._config = config
        self._gather = gather
        self.pages: Mapping[str, AskedPage] = {"/workbench.json": self._look}
        self.posted: Mapping[str, PostedPage] = {
            "/try.json": Sparing(used=_seconds_of_trials, at_once=_AT_ONCE).page(self._try)
        }

    def _look(self, asked: Mapping[str, str]) -> Said:
        """The newest messages of `topic`; with `mapping`, the mapping in use; with `lines`, all messages in full."""
        topic = asked.get("topic", "")
        try:
            found = self._gather(topic)
            if "lines" in asked:
                return json_page(200, found._asdict())
            answer = {
                "kept": len(found.lines),
                "messages": [_shown(line) for line in found.lines[: -_SHOWN - 1 : -1]],
                "too_large": found.too_large,
                "seen": found.seen,
                "missing": found.missing,
            }
            return json_page(200, answer | (self._mapping(topic) if "mapping" in asked else {}))
        except QuestionError as error:
            return json_page(400, {"error": str(error)})
        except (ConnectorError, OSError) as error:
            return json_page(503, {"error": f"the configuration file cannot be read: {error}"})

    def _mapping(self, topic: str) -> dict[str, Any]:
        """The mapping as its file has it, and the first rule that takes the topic, whatever else the rule asks for."""
        if self._file is None:
            return {"rules": [], "whole": None, "takes": None}
        from connector.try_out.trial import mapping_texts, rule_taking  # noqa: PLC0415 - only for the workbench

        texts = mapping_texts(self._file)
        return {
            "rules": [one._asdict() for one in texts.rules],
            "whole": texts.whole,
            "takes": rule_taking(self._config(), topic),
        }

    def _try(self, body: bytes) -> Said:
        """The outcome of a trial of `text` over the messages of `topic`; `rule` is the number of the rule it replaces.

        Without `rule`, the text replaces the whole mapping.
        """
        if self._file is None:
            return json_page(400, {"error": "this connector has no configuration file to compare with"})
        try:
            asked = json.loads(body)
            topic, text, rule = asked["topic"], asked["text"], asked.get("rule")
        except (ValueError, RecursionError, LookupError, AttributeError, TypeError):
            return json_page(400, {"error": "send JSON with topic, text and rule"})
        config = self._config()
        rules = range(1, len(config.mapping.rules) + 1)
        if not isinstance(topic, str) or not isinstance(text, str) or (rule is not None and rule not in rules):
            return json_page(400, {"error": "topic and text must be texts, and rule the number of a rule, or null"})
        try:
            found = self._gather(topic)
        except QuestionError as error:
            return json_page(400, {"error": str(error)})
        if not found.lines:
            return json_page(409, {"error": "no message of this topic has come since you look; wait for one"})
        from connector.try_out.trial import run_trial  # noqa: PLC0415 - as above

        outcome = run_trial(self._file, config.mapping.digest, rule, text, found.lines[-_MOST_LINES:])
        return json_page(200, {**outcome, "missing": found.missing})


def of_tap(tap: Tap) -> Callable[[str], Gathered]:
    """Returns the function that gathers the messages of one process."""

    def gather(topic: str) -> Gathered:
        from connector.try_out.trial import lines_of  # noqa: PLC0415 - as above

        found = tap.collect(topic)
        seen = found.seen
        counts = {"came": seen.came, "looked_at": seen.looked_at, "matching": seen.matching}
        return Gathered(lines_of(found.messages), found.too_large, counts, [])

    return gather


def of_workers(ask_all: Callable[[str], Mapping[int, str | None]]) -> Callable[[str], Gathered]:
    """Returns the function that gathers the messages of all workers, the newest last; `ask_all` returns worker → its
    answer."""

    def gather(topic: str) -> Gathered:
        Question(topic).takes_topic()
        texts = ask_all(f"/workbench.json?{urlencode({'topic': topic, 'lines': 1})}")
        answers = [json.loads(text) for text in texts.values() if text]
        good = [answer for answer in answers if "lines" in answer]
        seen: Counter[str] = Counter()
        for answer in good:
            seen.update(answer["seen"])
        lines = list(merge(*(answer["lines"] for answer in good), key=_received))[-_MOST_LINES:]
        missing = [worker for worker, text in texts.items() if not text or "lines" not in json.loads(text)]
        return Gathered(lines, sum(answer["too_large"] for answer in good), dict(seen), missing)

    return gather


def _seconds_of_trials() -> float:
    """The seconds of a core that ended processes of this one have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _received(line: str) -> datetime:
    fields = orjson.loads(line)
    return datetime.fromisoformat(fields.get("received") or fields["time"])


def _shown(line: str) -> dict[str, Any]:
    """A message for people, cut."""
    fields = json.loads(line)
    text = fields.get("payload_text", fields.get("payload_base64"))
    return {
        "source": fields["source"],
        "topic": fields["topic"],
        "time": fields["time"],
        "payload": None if text is None else text[:_TEXT],
        "binary": "payload_base64" in fields,
        "cut": text is not None and len(text) > _TEXT,
    }
