"""Which letters are meant: by reason, topic, source, time and ID. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from connector import ConnectorError
from connector.dead_letters.letter import DeadLetter
from connector.formats.catalogue import known_reasons
from connector.mapping.rules.topics import PatternError, TopicPattern, parse_pattern


class SelectionError(ConnectorError, ValueError):
    """The selection cannot be understood; the text says what to write."""


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """What a letter must be to be meant; empty things do not restrict."""

    reasons: frozenset[str] = frozenset()
    topics: tuple[TopicPattern | str, ...] = ()
    """Patterns as in the mapping, or with `*` and `?` as in a shell: any of them."""
    sources: frozenset[str] = frozenset()
    since_us: int | None = None
    """Written at or after this time."""
    until_us: int | None = None
    """Written before it."""
    ids: tuple[str, ...] = ()
    """Beginnings of letters' IDs: any of them."""

    @property
    def everything(self) -> bool:
        """Whether nothing restricts it."""
        return self == LetterSelection()

    def takes(self, letter: DeadLetter) -> bool:
        """Whether this letter is meant: with reasons, one of its rejects has one of them."""
        return (
            (not self.sources or letter.source in self.sources)
            and (self.since_us is None or letter.written_us >= self.since_us)
            and (self.until_us is None or letter.written_us < self.until_us)
            and (not self.topics or any(_matches(topic, letter.topic) for topic in self.topics))
            and (not self.reasons or not self.reasons.isdisjoint(letter.reasons))
            and (not self.ids or letter.key.startswith(self.ids))
        )

    def takes_all_of(self, letter: DeadLetter) -> bool:
        """Whether it is meant with all that is wrong with it: only then it may be dropped."""
        return self.takes(letter) and (not self.reasons or self.reasons >= letter.reasons.keys())


def read_topic(text: str) -> TopicPattern | str:
    """A pattern of topics. Raises `SelectionError`."""
    if set(text) & set("*?["):
        return text
    try:
        return parse_pattern(text)
    except PatternError as error:
        raise SelectionError(f"topic {text!r}: {error}") from None


def read_reason(text: str) -> str:
    """A reason's code. Raises `SelectionError`."""
    code = text.strip().lower().replace("-", "_")
    known = known_reasons()
    if code not in known:
        raise SelectionError(f"there is no reason {text!r}; there are {', '.join(sorted(known))}")
    return code


def _matches(pattern: TopicPattern | str, topic: str) -> bool:
    return fnmatchcase(topic, pattern) if isinstance(pattern, str) else pattern.match(topic) is not None
