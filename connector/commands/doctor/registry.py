"""Looks at a schema registry: name, port, TLS, log-in, path. Nothing is kept of what it says."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path

from connector.brokers.findings import Examination, Finding, advice, ok, split
from connector.brokers.reach import own_files
from connector.commands.doctor.clarify import look_at_url
from connector.formats.schema.registry.section import SchemaRegistrySection


def look_at_registry(section: SchemaRegistrySection, asked: Examination) -> Generator[Finding, None, None]:
    """Look at each server of a registry. Raises SettingsError."""
    yield from own_files(section.tls)
    for warning in [] if asked.short else section.warnings:
        yield advice("TLS", warning.partition("; ")[0], warning.partition("; ")[2] or "use tls.verify: true")
    for url in section.url:
        if not (yield from look_at_url(url, section.tls.ca_file, asked)):
            continue
        patient = section.model_copy(update={"url": [url], "timeout": min(section.timeout, asked.seconds)})
        with tempfile.TemporaryDirectory(prefix="clarify-connector-doctor-") as folder:
            registry = patient.build("asked", Path(folder))
            try:
                refused = registry.why_refused()
            finally:
                registry.close()
        if refused:
            cause, _, remedy = refused.partition(": ")
            yield split("log-in", f"the registry {cause}; {remedy}" if remedy else refused, "check url and its path")
        else:
            yield ok("log-in", f"{url} answers")
