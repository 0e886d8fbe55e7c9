"""The process of a trial: reads a question from its input, maps messages two times, and writes the difference."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from connector import ConnectorError
from connector.config.model import Config
from connector.config.read import ConfigError, folder_of, load_config
from connector.config.tried import with_mapping
from connector.mapping.signals.input_ids import Origin
from connector.runtime.workers import worker_folder
from connector.sources.file.lines import captured
from connector.try_out.capture import Taken
from connector.try_out.comparison import Comparing
from connector.try_out.in_clarify import InClarify
from connector.try_out.mapping import TriedMapping, claims_of
from connector.try_out.preview import new_preview
from connector.try_out.report import comparison_as_json
from connector.try_out.trial import NO_MEMORY

_CPU_SECONDS: Final = 6
_MEMORY: Final = 1024**3
"""Most bytes of address space: about ten times what a common trial has in memory."""
_MOST: Final = 200
"""The most items of a list in the answer."""
_LISTS: Final = ("renamed", "created", "orphaned", "changes", "rejects_that_appear", "rejects_that_vanish")


def main() -> None:
    """Answer one question, within bounds of time and memory."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold payloads
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        content = orjson.dumps(answer(orjson.loads(sys.stdin.buffer.read())))
    except MemoryError:
        sys.exit(NO_MEMORY)
    with os.fdopen(answer_to, "wb") as out:
        out.write(content)


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the outcome of a trial, as `trial.run_trial` does."""
    file = Path(asked["file"])
    try:
        config = load_config(file, without_secrets=True)
    except ConfigError as error:
        return {"error": f"the configuration file cannot be used any more: {error.lines[0]}"}
    if config.mapping.digest != asked["digest"]:
        return {
            "error": "the mapping in the file is not the mapping in use: the file has changed. Use it first "
            "(clarify-connector reload), or undo the change"
        }
    try:
        changed = with_mapping(config, asked["text"], asked["rule"], folder_of(file))
    except ConfigError as error:
        return {"problems": [{"line": one.line, "field": one.field, "message": one.message} for one in error.problems]}
    try:
        return _compared(file, config, changed, asked["lines"])
    except (ConnectorError, ValueError) as error:
        return {"problems": [{"line": None, "field": "", "message": str(error)}]}


def _compared(file: Path, config: Config, changed: Config, lines: list[str]) -> dict[str, Any]:
    claims = _claims(config)
    now, other = (
        new_preview(TriedMapping(file, one, [1] * len(one.mapping.rules), claims), frames=0, rows=0, series=0)
        for one in (config, changed)
    )
    comparing = Comparing(now, other)
    now_us = time.time_ns() // 1000
    for number, line in enumerate(lines, 1):
        comparing.take(Taken(number, *captured(line.encode(), now_us, "(no topic)")))
    now.finish()
    comparison = comparing.finish()
    found: dict[str, Any] = comparison_as_json(comparison, InClarify("the page does not ask Clarify"))
    del found["other"], found["rules"]  # what is to copy is the text itself
    return {
        "messages": len(lines),
        "waiting_for_schema": now.messages["waiting_for_schema"],
        "known_already": sum(one in claims for one in comparison.created),
        "counts": {name: len(found[name]) for name in _LISTS},
        "comparison": found | {name: found[name][:_MOST] for name in _LISTS},
    }


def _claims(config: Config) -> dict[str, Origin]:
    """The input IDs that all workers have given out."""
    found: dict[str, Origin] = {}
    for worker in range(1, config.workers + 1):
        found |= claims_of(config.model_copy(update={"state_dir": worker_folder(config.state_dir, worker)}))
    return found


if __name__ == "__main__":
    main()
