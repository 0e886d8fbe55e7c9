"""Finds files with secrets that every user of the machine can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from connector.config.model import Config
from connector.config.read import secret_files
from connector.settings import TlsSection
from connector.state.files import others_can_read


def exposed_files(file: Path, loaded: Config) -> list[Path]:
    """Return the files with secrets of a configuration that every user can read. Raises `ConfigError`.

    Files with secrets are the credentials, private keys, and the files of `${file:…}`.
    """
    credentials = [loaded.clarify.of(name).credentials for name in loaded.clarify.names.values()]
    found = dict.fromkeys([*credentials, *secret_files(file), *_keys(loaded)])
    return [path for path in found if others_can_read(path)]


def _keys(loaded: Config) -> Iterator[Path]:
    sections = (*loaded.sources, *loaded.schema_registries.values(), loaded.dead_letters, loaded.observe.otlp)
    for section in sections:
        tls = getattr(section, "tls", None)  # a file source has no TLS; there may be no observe.otlp
        if isinstance(tls, TlsSection) and tls.key_file is not None:
            yield tls.key_file
