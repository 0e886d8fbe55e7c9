"""The selection of dead letters by reason, topic, source, time and ID. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from connector import ConnectorError
from connector.dead_letters.letter import DeadLetter
from connector.formats.catalogue import known_reasons
from connector.mapping.rules.topics import PatternError, TopicPattern, parse_pattern
from connector.records import Reject, of_integration


class SelectionError(ConnectorError, ValueError):
    """The selection cannot be understood; the text names the valid forms."""


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """The conditions for a letter to be selected; an empty condition selects every letter."""

    reasons: frozenset[str] = frozenset()
    topics: tuple[TopicPattern | str, ...] = ()
    """Patterns as in the mapping, or with `*` and `?` as in a shell; one pattern must match."""
    sources: frozenset[str] = frozenset()
    since_us: int | None = None
    """Least time of writing, in µs since 1970; the time itself is included."""
    until_us: int | None = None
    """End of the range of times of writing, in µs since 1970; the time itself is excluded."""
    ids: tuple[str, ...] = ()
    """Beginnings of letter IDs; one must match."""
    integration: str | None = None
    """The integration that refused a value, by the name before its input IDs; None: any, and what none refused."""

    @property
    def everything(self) -> bool:
        """Whether the selection has no condition."""
        return self == LetterSelection()

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the letter is selected; a condition on reasons needs one reject with one of the reasons."""
        return (
            (not self.sources or letter.source in self.sources)
            and (self.since_us is None or letter.written_us >= self.since_us)
            and (self.until_us is None or letter.written_us < self.until_us)
            and (not self.topics or any(_matches(topic, letter.topic) for topic in self.topics))
            and (not self.reasons or not self.reasons.isdisjoint(letter.reasons))
            and (not self.ids or letter.key.startswith(self.ids))
            and (self.integration is None or any(map(self._refused, letter.rejects)))
        )

    def _refused(self, reject: Reject) -> bool:
        """Whether the selected integration refused this value."""
        return reject.input_id is not None and of_integration(reject.input_id)[0] == self.integration

    def takes_all_of(self, letter: DeadLetter) -> bool:
        """Whether the letter is selected with every reject that the letter has, so that the letter may be dropped."""
        return (
            self.takes(letter)
            and (not self.reasons or self.reasons >= letter.reasons.keys())
            and (self.integration is None or all(map(self._refused, letter.rejects)))
        )


def read_topic(text: str) -> TopicPattern | str:
    """Return the pattern of topics that `text` describes. Raises `SelectionError`."""
    if set(text) & set("*?["):
        return text
    try:
        return parse_pattern(text)
    except PatternError as error:
        raise SelectionError(f"topic {text!r}: {error}") from None


def read_reason(text: str) -> str:
    """Return the code of a reason. Raises `SelectionError` for an unknown reason."""
    code = text.strip().lower().replace("-", "_")
    known = known_reasons()
    if code not in known:
        raise SelectionError(f"there is no reason {text!r}; known reasons: {', '.join(sorted(known))}")
    return code


def _matches(pattern: TopicPattern | str, topic: str) -> bool:
    return fnmatchcase(topic, pattern) if isinstance(pattern, str) else pattern.match(topic) is not None
