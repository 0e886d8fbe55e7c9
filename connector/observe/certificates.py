"""How long the certificates that the configuration names are valid."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from connector.brokers.reach import certificate_ends
from connector.runtime.tag_lists import stamp_of

if TYPE_CHECKING:
    from connector.config.model import Config


def remaining(config: Config, now: float) -> Iterator[tuple[str, float]]:
    """Yields setting → seconds until its certificate expires, below 0 after that; `now` is in seconds since the epoch.

    A file is read only after it has changed. Of our own certificates, the first one in the file counts. A file of
    several authorities is left out: those that matter may be valid. So is a file that cannot be read.
    """
    for setting, file in _files(config):
        stamp = stamp_of(file)
        if stamp is None:  # the part that needs the file says so
            continue
        ends = _ends(file, stamp, setting.endswith("ca_file"))
        if ends is not None:
            yield setting, ends - now


@lru_cache(maxsize=256)
def _ends(file: Path, _stamp: tuple[int, ...], alone: bool) -> float | None:
    return certificate_ends(file, alone=alone)


def _files(config: Config) -> Iterator[tuple[str, Path]]:
    """Yields setting → file, for each file of certificates."""
    clarify = config.clarify
    yield from _named("clarify", {"ca_file": clarify.ca_file})
    for name, integration in clarify.integrations.items():
        yield from _named(f"clarify.integrations.{name}", {"ca_file": integration.ca_file})
    for source in config.sources:
        yield from _named(f"sources.{source.name}", source.files)
    for name, registry in config.schema_registries.items():
        yield from _named(f"schema_registries.{name}", registry.files)
    yield from _named("dead_letters", config.dead_letters.files)
    yield from _named("observe", config.observe.files)


def _named(section: str, files: dict[str, Path | None]) -> Iterator[tuple[str, Path]]:
    for name, file in files.items():
        if file is not None and name.endswith(("ca_file", "cert_file")):
            yield f"{section}.{name}", file
