"""Topic patterns with named levels: `plant/{line}/+/telemetry`, `+/state`, `sensors/#`.

`{name}` takes exactly one level and names it, `+` takes one level, `#` (only at the end) takes all that is
left, none included: MQTT's own rules. Topics that begin with `$` are not taken by a leading wildcard.
Kafka's topics have no slashes: a pattern without one has its levels between dots, `plant.{line}.telemetry`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NAMED: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class PatternError(ValueError):
    """The topic pattern cannot be used; the text says which level and why."""


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """A compiled pattern."""

    text: str
    names: tuple[str, ...]
    _regex: re.Pattern[str]
    _wild_start: bool

    def match(self, topic: str) -> dict[str, str] | None:
        """The named levels if the topic matches, else None."""
        if self._wild_start and topic.startswith("$"):
            return None
        found = self._regex.fullmatch(topic)
        return found.groupdict() if found else None


def parse_pattern(text: str) -> TopicPattern:
    """Compile a pattern, or raise `PatternError`."""
    if not text:
        raise PatternError("a topic pattern must not be empty; use '#' for all topics")
    names: list[str] = []
    parts: list[str] = []
    separator = "." if "/" not in text and set(text) & set("{+#") else "/"
    levels = text.split(separator)
    other = "[^/]*" if separator == "/" or len(levels) == 1 else "[^./]*"
    for number, level in enumerate(levels, 1):
        named = _NAMED.fullmatch(level)
        if named:
            name = named[1]
            if name in names:
                raise PatternError(f"level {number}: the name {{{name}}} stands twice")
            names.append(name)
            parts.append(f"(?P<{name}>{other})")
        elif level == "+":
            parts.append(other)
        elif level == "#":
            if number != len(levels):
                raise PatternError(f"level {number}: '#' may stand only at the end")
            break
        elif set(level) & set("{}+#"):
            raise PatternError(
                f"level {number} ({level!r}): a wildcard or {{name}} must fill its whole level; "
                "names are small letters, digits and _"
            )
        else:
            parts.append(re.escape(level))
    between = re.escape(separator)
    body = between.join(parts)
    if levels[-1] == "#":
        body = f"{body}(?:{between}.*)?" if parts else ".*"
    first = levels[0]
    wild = first in ("+", "#") or bool(_NAMED.fullmatch(first))
    return TopicPattern(text, tuple(names), re.compile(body, re.DOTALL), wild)
