"""The section `mapping`: rules, presets, and the settings for all messages."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from connector.mapping.presets import Presets
from connector.mapping.rules.compiler.metadata import tags_of
from connector.mapping.rules.compiler.rule import BuildFormat, check_compiles, compile_rules
from connector.mapping.rules.compiler.templates import RuleTemplates
from connector.mapping.rules.rules import Rule
from connector.mapping.rules.section import PresetName, RuleSection, presets_of
from connector.mapping.rules.templates import is_dynamic
from connector.mapping.tags.section import TagsSection
from connector.mapping.tags.source import TagSource
from connector.settings import Bytes, Seconds, Section

_DIGEST_LENGTH: Final = 16


class MappingSection(Section):
    """The mapping of payloads to samples. Without rules, every numeric or boolean value of JSON becomes a sample."""

    rules: list[Annotated[RuleSection, AfterValidator(check_compiles)]] = Field(
        default=[], description="Rules, in order; the first that matches counts."
    )
    preset_folder: Path | None = Field(
        default=None,
        description="Folder with your own presets: a YAML file for each preset, with the name of the preset. It has "
        "`rules` as in this section; `base` and `about` are optional. A relative path starts at the folder of the "
        "configuration file.",
        examples=["presets"],
    )
    presets: list[PresetName] = Field(
        default=[],
        description="Presets with their own topics: each is like a rule with only `preset: NAME`, after all other "
        "rules.",
        examples=[["zigbee2mqtt", "tasmota"]],
    )
    tags: TagsSection | None = Field(
        default=None,
        description="The tag list of all rules that do not name one, and of a mapping without rules.",
        examples=[{"file": "tags.csv"}],
    )
    match: Literal["first", "all"] = Field(
        default="first", description="Whether a record is mapped by the first rule that takes it, or by all of them."
    )
    unmatched: Literal["filter", "map", "dead_letter"] = Field(
        default="filter",
        description="A message that no rule takes is left out and counted (`filter`), mapped as if there were no "
        "rules (`map`), or becomes a dead letter (`dead_letter`).",
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
        description="An earlier time comes from a clock that was never set; the message becomes a dead letter.",
    )
    newest_time: Seconds = Field(
        default="3660d",  # type: ignore[assignment]
        description="Messages with a time further ahead of their arrival than this become dead letters.",
    )
    clock_warning: Seconds = Field(
        default="1m",  # type: ignore[assignment]
        gt=0,
        description="Devices whose clocks are off by more than this are reported in the log.",
    )

    _presets: Presets = PrivateAttr(default=Presets())

    @field_validator("oldest_time")
    @classmethod
    def _with_zone(cls, value: datetime) -> datetime:
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    @field_validator("presets")
    @classmethod
    def _have_topics(cls, value: list[str], info: ValidationInfo) -> list[str]:
        for name in value:
            check_compiles(RuleSection.model_validate({"preset": name}, context=info.context))
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        section = handler(data)
        section._presets = presets_of(info)
        return section

    @model_validator(mode="after")
    def _tags_compile(self, info: ValidationInfo) -> Self:
        if self.tags is not None:
            presets = [RuleSection.model_validate({"preset": name}, context=info.context) for name in self.presets]
            named = [*(f"rule {number}" for number in range(1, len(self.rules) + 1)), *self.presets]
            for name, rule in zip(named, (*self.rules, *presets), strict=True):
                try:
                    compile_rules(rule, tags=self.tags)
                except ValueError as error:
                    raise ValueError(f"{error} (in {name}; a rule may have tags of its own)") from None
            self.built_in_tags()
        return self

    @property
    def digest(self) -> str:
        """A digest of the section and of the presets in `preset_folder`. Neither of them has secrets.

        The content of files that they name (tag lists, schemas) is no part of the digest.
        """
        said = json.dumps([self.model_dump(mode="json"), self._presets.digest()], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:_DIGEST_LENGTH]

    @property
    def expects_signals(self) -> bool:
        """Whether any rule has `expect_every`."""
        return any(one.expect_every is not None for one in self.sections())

    def sections(self) -> list[RuleSection]:
        """Returns the rules, with the rules of a preset in its place; the rules of `presets` are the last."""
        return [one for rule in (*self.rules, *self._of_presets()) for one in rule.sections()]

    def compile(self, build: BuildFormat | None = None) -> list[Rule]:
        """Returns all rules, in order; `build` makes their formats. Raises ValueError."""
        rules = [
            rule
            for number, section in enumerate(self.rules)
            for rule in compile_rules(section, build, number, self.tags)
        ]
        return rules + [rule for each in self._of_presets() for rule in compile_rules(each, build, tags=self.tags)]

    def _of_presets(self) -> list[RuleSection]:
        context = {"presets": self._presets}
        return [RuleSection.model_validate({"preset": name}, context=context) for name in self.presets]

    def built_in_tags(self) -> TagSource | None:
        """Returns the tag list of messages that no rule takes; None if there is none, or if they are not mapped.

        Raises ValueError for a key that such messages do not have.
        """
        if self.tags is None or ((self.rules or self.presets) and self.unmatched != "map"):
            return None
        found = tags_of(self.tags, RuleTemplates((), items=False))
        if found is not None and (dynamic := sorted(filter(is_dynamic, found.variables))):
            names = ", ".join(f"{{{name}}}" for name in dynamic)
            raise ValueError(f"tags.key: {names} needs a rule; messages that no rule takes are looked up without it")
        return found
