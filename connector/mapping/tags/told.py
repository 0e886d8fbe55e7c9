"""What a person should know of a tag list in use: keys without a row, rows without a record, unclear rows."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from connector.mapping.observations import Observation
from connector.mapping.tags.source import TagListInUse

_EXAMPLES: Final = 5


def told(used: TagListInUse, *, judges_rows: bool) -> list[Observation]:
    """Returns the observations about a list; about rows that no record has used only with `judges_rows`."""
    file = str(used.file)
    found = []
    if used.unknown:
        mapped = any(unknown.input_id for unknown in used.unknown.values())
        name = used.file.name
        many = f"more than {len(used.unknown)}" if used.unknown_beyond else len(used.unknown)
        effect = "their signals have only what the rules say" if mapped else "their values are not stored"
        found.append(
            Observation(
                "tags_unknown",
                "",
                file,
                f"keys of the data that are not in {name}: {many}, such as {_examples(used.unknown)}; {effect}",
                "clarify-connector tags CONFIG --live 1m adds them to the list; tags.unknown decides about the values",
            )
        )
    unused = used.unused() if judges_rows else []
    if unused:
        found.append(
            Observation(
                "tags_unused",
                "",
                file,
                f"rows of {used.file.name} that no record has used: {len(unused)} of {len(used.tags.tags)}, such as "
                f"{_examples(unused)}",
                "are these keys written as in the data, and is tags.key right?",
            )
        )
    for key, text in used.conflicts.items():
        found.append(
            Observation(
                "tag_not_clear", "", f"{file}: {key}", f"{used.file.name}: {text}", "change the list or the rule"
            )
        )
    return found


def _examples(keys: Iterable[str]) -> str:
    return ", ".join(repr(key[:80]) for key in islice(keys, _EXAMPLES))
