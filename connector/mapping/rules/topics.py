"""Topic patterns with named levels: `plant/{line}/+/telemetry`, `+/state`, `sensors/#`, `{site...}/{device}/up`.

As in MQTT, `+` matches one level, and `#` (only at the end) matches all remaining levels, or none. `{name}` matches
exactly one level and names it. `**` matches any number of levels at any place, or none; `{name...}` does the same and
names these levels. A pattern may have only one `**` or `{name...}` before its end. A slash at the start makes an empty
level, as in MQTT. A wildcard in the first level does not match a topic that begins with `$`. Kafka's topics have no
slashes: in a pattern without slashes, the levels are between dots, `plant.{line}.telemetry`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NAMED: Final = re.compile(r"\{([a-z_][a-z0-9_]*)(\.\.\.)?\}")


class PatternError(ValueError):
    """The topic pattern cannot be used; the text has the level and the reason."""


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """A compiled pattern."""

    text: str
    names: tuple[str, ...]
    _regex: re.Pattern[str]
    _wild_start: bool
    separator: str
    """The sign between the levels: `/` or `.`."""
    levels: tuple[str, ...]
    """The levels with MQTT's wildcards: `+` for one level, `#` for any number of levels, at any place."""

    def match(self, topic: str) -> dict[str, str] | None:
        """Returns the named levels (name → text) if the topic matches, else None."""
        if self._wild_start and topic.startswith("$"):
            return None
        found = self._regex.fullmatch(topic)
        return found.groupdict("") if found else None


def parse_pattern(text: str) -> TopicPattern:  # noqa: PLR0912 - a branch for each kind of level
    """Returns the compiled pattern. Raises `PatternError`."""
    if not text:
        raise PatternError("a topic pattern must not be empty; use '#' for all topics")
    names: list[str] = []
    separator = "." if "/" not in text and set(text) & set("{+#*") else "/"
    levels = _split(text, separator)
    other = "[^/]*" if separator == "/" or len(levels) == 1 else "[^./]*"
    between = re.escape(separator)
    body = ""
    owed = ""
    """The separator before the next level; it is left out if that level matches no level of the topic."""
    deep = 0
    for number, level in enumerate(levels, 1):
        last = number == len(levels)
        named = _NAMED.fullmatch(level)
        if named and named[1] in names:
            raise PatternError(f"level {number}: the name {{{named[1]}}} is there twice")
        if named:
            names.append(named[1])
        if level == "#" and not last:
            raise PatternError(f"level {number}: '#' may stand only at the end; use '**' for any number of levels")
        if level in ("#", "**") or (named and named[2]):
            group = f"(?P<{named[1]}>.*?)" if named else ".*?"
            if last:
                body += f"(?:{owed}{group})?" if owed else group
            else:
                deep += 1
                # any number of levels with a separator after them, or no level and no separator
                body += f"{owed}(?:{group}{between})??"
                owed = ""
                continue
        elif named:
            body += f"{owed}(?P<{named[1]}>{other})"
        elif level == "+":
            body += owed + other
        elif set(level) & set("{}+#") or "**" in level:
            raise PatternError(
                f"level {number} ({level!r}): a wildcard or {{name}} must fill its whole level; "
                "names are small letters, digits and _"
            )
        else:
            body += owed + re.escape(level)
        owed = between
    if deep > 1:  # each of them multiplies the ways to match a long topic
        raise PatternError("only one '**' or {name...} may stand before the end of a pattern")
    wild = levels[0] in ("+", "#", "**") or bool(_NAMED.fullmatch(levels[0]))
    plain = tuple("#" if level == "**" or level.endswith("...}") else _NAMED.sub("+", level) for level in levels)
    return TopicPattern(text, tuple(names), re.compile(body, re.DOTALL), wild, separator, plain)


def _split(text: str, separator: str) -> list[str]:
    """Returns the levels of a pattern; the dots of `{name...}` are no separators."""
    return [level.replace("\0", "...") for level in text.replace("...}", "\0}").split(separator)]
