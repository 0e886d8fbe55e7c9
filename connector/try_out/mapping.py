"""A configuration's mapping, tried on records. All that depends on how the mapper is built and asked is here."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connector.app import build_mapper
from connector.config import Config
from connector.config_file import load_config, rule_lines
from connector.mapping.input_ids import Collision, Origin
from connector.mapping.rules import Rule
from connector.records import Mapped, Reason, Record, Reject, SignalMetadata
from connector.state import read_claims

_MAX_TOPICS: Final = 100_000


@dataclass(frozen=True, slots=True)
class RuleAt:
    """A rule of the mapping, and where it stands."""

    number: int
    """From 1."""
    line: int
    topic: str

    def __str__(self) -> str:
        return f"rule {self.number} (line {self.line})"


class TriedMapping:
    """The mapping of one configuration, as the connector would use it."""

    def __init__(self, file: Path, config: Config, lines: Sequence[int], claims: Mapping[str, Origin]) -> None:
        """`lines` are those of the rules in `file`; `claims` which input IDs were given out before."""
        self.file = file
        self.config = config
        self.rules = [
            RuleAt(number, line, section.topic or f"(preset {getattr(section, 'preset', '')})")
            for number, (line, section) in enumerate(zip(lines, config.mapping.rules, strict=True), 1)
        ]
        self._compiled = config.rules()
        self._mapper = build_mapper(config, dict(claims))
        self._by_topic: dict[str, list[int]] = {}
        self.origins: dict[str, Origin] = dict(claims)
        """Input ID → where its values come from; without those that several topics share on purpose."""
        self.metadata: dict[str, SignalMetadata] = {}
        """Input ID → what the mapping says of its signal, where it says something."""
        self.collisions: list[Collision] = []

    @classmethod
    def load(cls, file: Path, *, without_secrets: bool = True) -> TriedMapping:
        """Of a configuration file, with the input IDs that a connector on this machine has given out so far. Raises
        `ConfigError`."""
        config = load_config(file, without_secrets=without_secrets)
        return cls(file, config, rule_lines(file), _claims(config))

    def map(self, source: str, record: Record) -> Mapped:
        """What becomes of the record."""
        mapper = self._mapper
        try:
            mapped = mapper.map(source, record)
        except Exception as error:  # noqa: BLE001 - as in the pipeline: it must not hide what comes behind it
            mapped = Mapped(
                rejects=[
                    Reject(
                        Reason.MAPPING_FAILED,
                        f"it could not be mapped: {error!r}; unless a schema registry is away, please report it",
                    )
                ]
            )
        if mapper.ids.new_claims:
            self.origins.update(mapper.ids.new_claims)
            mapper.ids.new_claims = []
        if mapper.ids.collisions:
            self.collisions += mapper.ids.collisions
            mapper.ids.collisions = []
        if mapper.discovered:
            self.metadata.update(mapper.discovered)
            mapper.discovered = []
        return mapped

    def rule_for(self, record: Record, mapped: Mapped) -> RuleAt | None:
        """The rule that took this record, of which this came; None if none did."""
        if record.problem:
            return None
        said = next((number for number in map(_rule_of, mapped.rejects) if number is not None), None)
        if said is not None:
            return self._at(said)
        candidates = self._by_topic.get(record.topic)
        if candidates is None:
            if len(self._by_topic) >= _MAX_TOPICS:
                self._by_topic.clear()
            candidates = [
                number for number, rule in enumerate(self._compiled) if rule.pattern.match(record.topic) is not None
            ]
            self._by_topic[record.topic] = candidates
        for number in candidates:
            key = self._compiled[number].key
            if key is None or key.match(_key_text(record.key)) is not None:
                return self._at(_place_of(self._compiled[number], number))
        return None

    def _at(self, number: int) -> RuleAt | None:
        return self.rules[number] if number < len(self.rules) else None

    def source_for(self, name: str | None) -> str:
        """The source that a record of a capture counts as: the one that it names, if there is one of this name; else
        the first."""
        names = [section.name for section in self.config.sources]
        return name if name in names else names[0]


def _rule_of(reject: Reject) -> int | None:
    """Which rule took the record, from 0, where the mapper says so."""
    number: int | None = getattr(reject, "rule", None)
    return number


def _place_of(rule: Rule, number: int) -> int:
    """Which rule of the file this is, from 0: one in the file may compile to several."""
    place: int | None = getattr(rule, "number", None)
    return number if place is None else place


def _claims(config: Config) -> dict[str, Origin]:
    path = config.state_dir / "state.sqlite"
    if not path.is_file():
        return {}
    try:
        return read_claims(path)
    except sqlite3.Error:
        return {}


def _key_text(key: bytes | None) -> str:
    try:
        return (key or b"").decode()
    except UnicodeDecodeError:
        return (key or b"").hex()
