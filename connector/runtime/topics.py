"""The tree of topics on the status page: the ledgers of a source, of all workers, level by level."""

from __future__ import annotations

import sqlite3
from typing import Final

from connector.config.model import Config
from connector.ledger.ledger_lines import OTHER_TOPICS
from connector.ledger.topic_tree import TooSlowError, TopicLevel, read_level
from connector.pipeline.by_integration import LINE_MARK
from connector.runtime.state_dir import WORKER_FOLDERS

MOST_LEVELS: Final = 200
"""Lines of one answer."""


class TopicsError(Exception):
    """The level cannot be read; the text has the reason, for people."""


def topics(config: Config, source: str, under: str, after: str | None, text: str = "") -> dict[str, object]:
    """Returns one level of the tree as JSON data, as `read_level` finds it in all ledgers of a source.

    Raises `TopicsError`.
    """
    if source not in {section.name for section in config.sources}:
        raise TopicsError(f"there is no source {source!r}")
    if under and not under.endswith("/"):
        raise TopicsError("under is empty, or ends in /")
    found: dict[str, TopicLevel] = {}
    for folder in [config.state_dir, *sorted(config.state_dir.glob(WORKER_FOLDERS))]:
        path = folder / f"{source}.sqlite"
        if not path.exists():
            continue
        try:
            levels = read_level(path, under, after, MOST_LEVELS + 1, text)
        except (TooSlowError, sqlite3.Error) as error:
            raise TopicsError(str(error)) from None
        for level in levels:
            if level.name in found:
                found[level.name].add(level)
            else:
                found[level.name] = level
    names = sorted(found)
    return {
        "source": source,
        "under": under,
        "levels": [_level(config, found[name], under) for name in names[:MOST_LEVELS]],
        "more": len(names) > MOST_LEVELS,
    }


def _level(config: Config, level: TopicLevel, under: str) -> dict[str, object]:
    """Returns a line. A line of the ledger may name integrations behind its topic (`ByIntegration.line`)."""
    topic, mark, text = level.name.rpartition(LINE_MARK)
    integrations = text.split(", ") if mark and config.clarify.integrations else []
    if not integrations or not set(config.clarify.names).issuperset(integrations):
        topic, integrations = level.name, []
    is_topic = not level.name.endswith("/") and under + level.name != OTHER_TOPICS
    return {
        "level": topic,
        "line": level.name,
        "topic": under + topic if is_topic else None,
        "integrations": integrations,
        "topics": level.topics,
        "messages": level.messages,
        "samples": level.samples,
    }
