"""The mapping of a configuration, tried on records. Only this module of `try_out` builds and calls a mapper."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path as File

import orjson

from connector.config.model import Config
from connector.config.read import load_config, rule_lines
from connector.formats.format import SchemaUnavailableError
from connector.mapping.documents.places import shown
from connector.mapping.mapper import RuleShare
from connector.mapping.observations import Observation
from connector.mapping.plans import FOUND
from connector.mapping.rules.paths import Path, parse_path
from connector.mapping.signals.input_ids import Collision, Origin
from connector.mapping.signals.shared_topics import SharedTopic
from connector.mapping.tags.told import told
from connector.mapping.thinning.windows import Windows
from connector.records import Mapped, Reason, Record, Reject, SignalMetadata
from connector.runtime.assembly import build_mapper
from connector.state.state import read_claims


@dataclass(frozen=True, slots=True)
class RuleAt:
    """A rule of the mapping, and the place of the rule in the file."""

    number: int
    """The number of the rule, counted from 1."""
    line: int
    topic: str

    def __str__(self) -> str:
        return f"rule {self.number} (line {self.line})"


class TriedMapping:
    """The mapping of one configuration, built as in the connector."""

    def __init__(
        self,
        file: File,
        config: Config,
        lines: Sequence[int],
        claims: Mapping[str, Origin],
        *,
        learns_tags: bool = False,
    ) -> None:
        """`lines` has the line of each rule in `file`; `claims` has the input IDs that were given out before.

        With `learns_tags`, tag lists may be missing, and every key that they lack is mapped and noted.
        """
        self.file = file
        self.config = config
        self.rules = [
            RuleAt(number, line, section.topic or f"(preset {getattr(section, 'preset', '')})")
            for number, (line, section) in enumerate(zip(lines, config.mapping.rules, strict=True), 1)
        ]
        self._mapper = build_mapper(config, dict(claims), schema_patience=0, tag_files_needed=not learns_tags)
        self.tag_lists = self._mapper.tag_lists
        for used in self.tag_lists:
            used.learns = learns_tags
        self.origins: dict[str, Origin] = dict(claims)
        """Input ID → the origin of the values; without input IDs that several topics share on purpose."""
        self.metadata: dict[str, SignalMetadata] = {}
        """Input ID → the metadata of the signal; only for signals whose metadata the mapping has made."""
        self.collisions: list[Collision] = []
        self.observations: list[Observation] = []
        """The observations of the mapping about the messages."""

    @classmethod
    def load(cls, file: File, *, without_secrets: bool = True, learns_tags: bool = False) -> TriedMapping:
        """Returns the mapping of a configuration file. Raises `ConfigError`, and `TagListError` for a bad tag list.

        The mapping knows the input IDs that a connector on this machine has given out so far.
        """
        config = load_config(file, without_secrets=without_secrets)
        return cls(file, config, rule_lines(file), claims_of(config), learns_tags=learns_tags)

    def tag_notices(self) -> list[Observation]:
        """Returns the observations about the tag lists, after all records were mapped."""
        return [found for used in self.tag_lists for found in told(used, judges_rows=True)]

    def values_not_found(self) -> Iterator[tuple[RuleAt, str, str]]:
        """Yields (rule, name, path) of the values that rules name, and that no record had, after all records."""
        paths = self._mapper.paths_with_input()
        for number, section in enumerate(self.config.mapping.rules):
            seen = paths.get(number, set())
            for name, value in section.values.items() if seen else ():
                path = Path(name, tuple(name.split("."))) if value.path is None else parse_path(value.path)
                at = path.dotted if path.plain else name
                if at and not value.skip and not any(one == at or one.startswith(f"{at}.") for one in seen):
                    yield self.rules[number], name, at

    def windows(self) -> Windows:
        """Returns the windows for down-sampling: as in the connector, but without samples sent before."""
        return Windows(self._mapper.thinner.how, {})

    def map(self, source: str, record: Record) -> Mapped:
        """Returns the outcome of the record. Raises `SchemaUnavailableError`: the outcome is then not known.

        A bug in the mapping raises nothing: the outcome is then a reject with the reason `mapping_failed`.
        """
        mapper = self._mapper
        try:
            mapped = mapper.map(source, record)
        except SchemaUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - as in the pipeline: one bad record must not stop the next
            message = f"a bug in the mapping: {error!r}; please report the bug"
            mapped = Mapped(rejects=[Reject(Reason.MAPPING_FAILED, message)])
        if mapper.ids.new_claims:
            self.origins.update(mapper.ids.new_claims)
            mapper.ids.new_claims = []
        if mapper.ids.collisions:
            self.collisions += mapper.ids.collisions
            mapper.ids.collisions = []
        self.observations += mapper.take_observations()
        if mapper.discovered:
            self.metadata.update(mapper.take_discovered())
        return mapped

    def identity(self, input_id: str) -> str:
        """Returns the parts of the input ID: the path in the payload, and the texts that distinguish records.

        Returns an empty text if several topics share the input on purpose.
        """
        origin = self.origins.get(input_id)
        if origin is None:
            return ""
        told: dict[str, str] = {
            name: text for name, text in orjson.loads(origin.record or "{}").items() if name != FOUND
        }
        return "; ".join([shown(origin.path) or "(payload)", *(f"{name} = {text}" for name, text in told.items())])

    def shared(self, source: str, topic: str) -> SharedTopic | None:
        """Returns the fields that distinguish devices on a shared topic; None if rules need no such fields."""
        return self._mapper.shared_topics.topics.get((source, topic))

    def shares(self, source: str, record: Record, mapped: Mapped) -> list[tuple[RuleAt | None, RuleShare]]:
        """Returns the share of each rule in `mapped`, the outcome that `map` has just returned for this record.

        A share that no rule made comes last, with None. If no rule took the record, the list has only this share.
        """
        found = self._mapper.shares(source, record, mapped)
        left = RuleShare(
            None,
            len(mapped.samples) - sum(share.samples for share in found),
            len(mapped.rejects) - sum(share.rejects for share in found),
            mapped.filtered - sum(share.filtered for share in found),
        )
        shares: list[tuple[RuleAt | None, RuleShare]] = []
        for number, of_rule in groupby(
            found, key=lambda share: share.rule
        ):  # the rules of a preset have the same number
            _, samples, rejects, filtered = zip(*of_rule, strict=True)
            shares.append((self._at(number), RuleShare(number, sum(samples), sum(rejects), sum(filtered))))
        return [*shares, (None, left)] if any(left) or not shares else shares

    def _at(self, number: int | None) -> RuleAt | None:
        return None if number is None or number >= len(self.rules) else self.rules[number]

    def source_for(self, name: str | None) -> str:
        """Returns the source for a record of a capture: `name` if a source has this name, else the first source."""
        names = [section.name for section in self.config.sources]
        return name if name in names else names[0]


def claims_of(config: Config) -> dict[str, Origin]:
    """Returns the input IDs that a connector on this machine has given out; none if they cannot be read."""
    path = config.state_dir / "state.sqlite"
    if not path.is_file():
        return {}
    try:
        return read_claims(path)
    except sqlite3.Error:
        return {}
