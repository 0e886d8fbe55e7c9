"""The model of all settings of a configuration file. The reference and the JSON Schema are generated from the model.

`read.py` reads a file into the model, and names the place of an error in the file.
"""

from __future__ import annotations

import difflib
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from connector.config.observe import ObserveSection
from connector.dead_letters.catalogue import AnyStore
from connector.dead_letters.section import SqliteLettersSection
from connector.delivery.section import ClarifySection, DeliverySection
from connector.formats.catalogue import Compression, build_format
from connector.formats.format import Format
from connector.formats.schema.registry.section import RegistryName, SchemaRegistrySection
from connector.formats.section import NO_REGISTRIES, FormatSection, Registries
from connector.mapping.rules.rules import Rule
from connector.mapping.section import MappingSection
from connector.mapping.signals.section import SignalsSection
from connector.mapping.time.times import EPOCH, TimeBounds
from connector.settings import Section
from connector.sources.catalogue import AnySource


class Config(Section):
    """A whole configuration file."""

    clarify: ClarifySection = Field(description="Access to Clarify, the destination of the data.")
    sources: list[AnySource] = Field(min_length=1, description="The sources of the data.")
    schema_registries: dict[RegistryName, SchemaRegistrySection] = Field(
        default={},
        description="Schema registries by name, for the formats avro, protobuf and json_schema.",
        examples=[{"main": {"url": "https://registry.example.com:8081"}}],
    )
    mapping: MappingSection = Field(default=MappingSection(), description="The rules by which payloads become samples.")
    signals: SignalsSection = Field(default=SignalsSection(), description="The limits for new signals.")
    delivery: DeliverySection = Field(
        default=DeliverySection(), description="Delivery of samples to Clarify: density, rate and memory."
    )
    dead_letters: AnyStore = Field(
        default=SqliteLettersSection(),
        description="The store of messages and values that could not become samples, each with the reason.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Number of processes. Each process is a member of the consumer groups. Sources that cannot be "
        "shared, such as MQTT and files, run only in the first process.",
    )
    state_dir: Path = Field(
        default=Path("clarify-connector-state"),
        description="Folder for the journal, the ledger and the dead letters. Put it on a volume. A relative path "
        "starts at the configuration file.",
    )
    observe: ObserveSection = Field(default=ObserveSection(), description="Health, metrics and logs.")
    include: str | list[str] = Field(
        default=[],
        description="Files whose `mapping.rules` and `sources` come after those of this file, such as "
        "`mapping.d/*.yaml`: in the order of this list, and of the file names. Paths start at this file, also those in "
        "the included files. Anchors count in their own file.",
        examples=["mapping.d/*.yaml"],
    )
    reload: Literal["signal", "watch"] = Field(
        default="signal",
        description="When a running connector uses a changed file: `signal`: on SIGHUP, and by `clarify-connector "
        "reload`. `watch`: also as soon as the file has changed.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Config:
        names = [
            source.name.lower() for source in self.sources
        ]  # names become file names, and some file systems ignore case
        for source in self.sources:
            if names.count(source.name.lower()) > 1:
                raise ValueError(f"two sources are named {source.name!r}; give each source a different name")
        return self

    @model_validator(mode="after")
    def _workers_have_work(self) -> Config:
        if self.workers > 1 and not any(source.shares_work for source in self.sources):
            raise ValueError(
                "workers: several workers need a Kafka source, whose partitions the workers share; an MQTT source is "
                "a single session"
            )
        return self

    @model_validator(mode="after")
    def _registries_exist(self) -> Config:
        for number, rule in enumerate(self.mapping.rules):
            for section in rule.sections():
                formats = [(section.format, ""), *((step.format, "decode: ") for step in section.decode)]
                for form, where in formats:
                    problem = None if form is None else form.registry_problem(self.schema_registries)
                    if problem:
                        raise ValueError(f"mapping.rules[{number}].{where}format: {problem}")
        return self

    @model_validator(mode="after")
    def _integrations_exist(self) -> Config:
        known = self.clarify.names
        for number, rule in enumerate(self.mapping.rules):
            for section in rule.sections():
                to = section.to
                if to is not None and "{" not in to and to not in known:
                    near = difflib.get_close_matches(to, known, 1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    raise ValueError(
                        f"mapping.rules[{number}].to: there is no integration {to!r}{hint} Known are "
                        f"{', '.join(known)}; clarify.integrations has the further ones"
                    )
        return self

    @model_validator(mode="after")
    def _letters_do_not_come_back(self) -> Config:
        """Raise ValueError if a source reads the topic of dead letters: letters would become letters without end."""
        destination = self.dead_letters.destination
        for source in self.sources:
            if destination is not None and source.reads(destination):
                raise ValueError(
                    f"dead_letters.topic {destination.topic!r} is also a topic of source {source.name!r}: each letter "
                    "would come back as a message; use another topic"
                )
        return self

    def rules(self, registries: Registries = NO_REGISTRIES) -> list[Rule]:
        """Return the compiled rules of the mapping; `registries` are the schema registries for formats.

        Raises ValueError if a file of a format cannot be used.
        """

        def build(section: FormatSection, compression: Compression) -> Format:
            return build_format(section, compression, registry=registries, max_payload=self.mapping.max_payload)

        return self.mapping.compile(build)

    def with_share(self, share: float) -> Config:
        """Return the configuration with this share of the rate of inserts, in each integration."""
        delivery = self.delivery.model_copy(
            update={"requests_per_second": self.delivery.requests_per_second * share, "share": 1.0}
        )
        return self.model_copy(update={"delivery": delivery, "clarify": self.clarify.scaled(inserts=share)})

    def time_bounds(self) -> TimeBounds:
        """Return the range of plausible times."""
        oldest = (self.mapping.oldest_time - EPOCH) // timedelta(microseconds=1)
        return TimeBounds(oldest, round(self.mapping.newest_time * 1_000_000))
