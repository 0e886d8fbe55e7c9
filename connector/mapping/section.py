"""The section `mapping`: its rules and presets, and what holds for every message."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, field_validator

from connector.mapping.presets import PRESETS
from connector.mapping.rules.compile import BuildFormat
from connector.mapping.rules.rules import Rule
from connector.mapping.rules.section import RuleSection
from connector.settings import Bytes, Seconds, Section


class MappingSection(Section):
    """How payloads become samples. Without rules, every numeric or boolean value of JSON becomes a sample."""

    rules: list[RuleSection] = Field(default=[], description="Rules, in order; the first that matches counts.")
    presets: list[Literal[PRESETS]] = Field(  # type: ignore[valid-type]
        default=[],
        description="Presets with their own topics: each is like a rule of just `preset: NAME`, behind the others.",
        examples=[["zigbee2mqtt", "tasmota"]],
    )
    match: Literal["first", "all"] = Field(
        default="first", description="Whether a record is mapped by the first rule that takes it, or by all of them."
    )
    unmatched: Literal["filter", "map", "dead_letter"] = Field(
        default="filter",
        description="A message that no rule takes: left out and counted (`filter`), mapped as if there were no "
        "rules (`map`), or kept as a dead letter.",
    )
    max_payload: Bytes = Field(
        default="4MiB",  # type: ignore[assignment]
        description="Larger payloads become dead letters.",
        ge=1,
    )
    max_values: int = Field(
        default=20_000, ge=1, description="Messages with more values than this become dead letters."
    )
    oldest_time: datetime = Field(
        default=datetime(2000, 1, 1, tzinfo=UTC),
        description="Earlier times are taken for a clock that was never set; the message becomes a dead letter.",
    )
    newest_time: Seconds = Field(
        default="3660d",  # type: ignore[assignment]
        description="Times further ahead of their arrival than this become dead letters.",
    )
    clock_warning: Seconds = Field(
        default="1m",  # type: ignore[assignment]
        gt=0,
        description="Devices whose clocks are off by more than this are reported in the log.",
    )

    @field_validator("oldest_time")
    @classmethod
    def _with_zone(cls, value: datetime) -> datetime:
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    @field_validator("presets")
    @classmethod
    def _have_topics(cls, value: list[str]) -> list[str]:
        for name in value:
            RuleSection(preset=name).compile_all()
        return value

    def compile(self, build: BuildFormat | None = None) -> list[Rule]:
        """All rules, in order; `build` makes their formats. Raises ValueError."""
        rules = [rule for number, section in enumerate(self.rules) for rule in section.compile_all(build, number)]
        for name in self.presets:
            rules += RuleSection(preset=name).compile_all(build)
        return rules
