"""Imports point one way: a room knows only what stands below it, and hardly anybody knows the adapters."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ONLY = {
    # room: all of the connector that it may import, beside itself
    "connector.records": (),
    "connector.clarify": (),
    "connector.sandbox": (),
    "connector.clarify_commands": ("connector.clarify",),
    "connector.formats": ("connector.records",),
    "connector.mapping": ("connector.records", "connector.formats", "connector.clarify.limits"),
    "connector.packing": ("connector.records", "connector.formats", "connector.clarify.limits"),
    "connector.progress": ("connector.records",),
    "connector.schema_registry": ("connector.records", "connector.formats"),
}
NEVER = {
    # room: what it may not import
    "connector.sources": (
        "connector.delivery",
        "connector.packing",
        "connector.mapping.mapper",
        "connector.pipeline",
        "connector.app",
        "connector.cli",
    ),
    "connector.delivery": ("connector.sources", "connector.pipeline", "connector.app", "connector.cli"),
    "connector.dead_letters": (
        "connector.sources",
        "connector.delivery",
        "connector.pipeline",
        "connector.app",
        "connector.cli",
        "connector.dead_letter_commands",
    ),
    "connector.pipeline": ("connector.config", "connector.app", "connector.cli"),
    "connector.discoveries": ("connector.sources", "connector.pipeline", "connector.app", "connector.cli"),
    "connector.rejects": ("connector.delivery", "connector.pipeline", "connector.app", "connector.cli"),
    "connector.try_out": (
        "connector.sources.mqtt",
        "connector.sources.kafka",
        "connector.sources.kafka_client",
        "connector.sources.kafka_group",
        "connector.sources.journal",
        "connector.sources.log_file",
        "connector.delivery.sender",
        "connector.pipeline",
        "connector.cli",
    ),
    "connector.config": ("connector.sources", "connector.delivery", "connector.pipeline", "connector.app"),
}
ADAPTERS_KNOWN_TO = (
    "connector.sources",
    "connector.app",
    "connector.backfill",
    "connector.cli",
    "connector.dead_letter_commands",
    "connector.ledger",
    "connector.demo",
    "connector.journal_commands",
    "connector.try_out",
)
SEAM = "connector.sources.source"
"""The one module of connector.sources that others may know: what a source is."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the connector, with its file."""
    for path in sorted((ROOT / "connector").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())
PACKAGES = {module for module, path in MODULES.items() if path.name == "__init__.py"}


def within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, module) of each import of the connector's own, wherever in the file it stands."""
    package = module if module in PACKAGES else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            deeper = [f"{base}.{alias.name}" for alias in node.names]
            found = [name for name in deeper if name in MODULES] or [base]
        else:
            continue
        yield from ((node.lineno, name) for name in found if within(name, ("connector",)))


def violations(files: Mapping[str, str]) -> list[str]:
    """What breaks the rules in these modules: name → source text."""
    found = []
    for module, source in files.items():
        for line, target in imports(module, source):
            if broken := broken_rule(module, target):
                found.append(f"{module}:{line} imports {target}: {broken}")
    return found


def broken_rule(module: str, target: str) -> str | None:
    for room, allowed in ONLY.items():
        if within(module, (room,)) and not within(target, (room, *allowed)):
            return f"{room} may know only {allowed or 'itself'}"
    for room, forbidden in NEVER.items():
        if within(module, (room,)) and within(target, forbidden):
            return f"{room} may not know {forbidden}"
    if within(target, ("connector.sources",)) and target != SEAM and not within(module, ADAPTERS_KNOWN_TO):
        return f"only {ADAPTERS_KNOWN_TO} know adapters"
    return None


def test_imports_point_one_way() -> None:
    assert len(MODULES) > 50
    assert violations({module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}) == []


def test_every_rule_is_about_something_that_exists() -> None:
    named = {*ONLY, *NEVER, *(room for rooms in (*ONLY.values(), *NEVER.values()) for room in rooms), SEAM}
    assert named - set(MODULES) == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("connector.records", "import connector.progress"),
        ("connector.clarify.client", "from connector import records"),
        ("connector.clarify.client", "from connector.records import Record"),
        ("connector.sandbox.app", "from connector.clarify.limits import INPUT_ID"),
        ("connector.formats.json_payload", "from ..mapping import mapper"),
        ("connector.formats.avro", "from connector.schema_registry.client import SchemaRegistry"),
        ("connector.schema_registry.client", "from connector.config import Config"),
        ("connector.mapping.mapper", "from connector.clarify import Client"),
        ("connector.mapping.mapper", "from connector.clarify.client import Client"),
        ("connector.mapping.mapper", "import connector.config"),
        ("connector.packing.frame", "from connector.mapping.times import format_time"),
        ("connector.progress", "from connector.packing.frame import Frame"),
        ("connector.sources.mqtt", "from connector.delivery.sender import Sender"),
        ("connector.sources.mqtt", "def f():\n    from connector.mapping.mapper import Mapper"),
        ("connector.sources.journal", "from connector.packing import planner"),
        ("connector.sources.mqtt", "if TYPE_CHECKING:\n    from connector.pipeline import Pipeline"),
        ("connector.delivery.sender", "from connector.sources.source import Source"),
        ("connector.dead_letters.writer", "from connector.sources.log_file import LogFile"),
        ("connector.dead_letters.kafka_store", "from connector.pipeline import Pipeline"),
        ("connector.pipeline", "from connector.sources.mqtt import MqttSource"),
        ("connector.pipeline", "from connector.sources import journal"),
        ("connector.pipeline", "from connector.config import Config"),
        ("connector.config", "from connector.sources.mqtt import MqttSource"),
        ("connector.observe.pages", "from connector.sources.log_file import LogFile"),
        ("connector.state", "from connector.sources import mqtt"),
        ("connector.try_out.live", "from connector.sources.mqtt import MqttSource"),
        ("connector.try_out.preview", "from connector.delivery.sender import Sender"),
    ],
)
def test_an_import_the_wrong_way_is_found(module: str, source: str) -> None:
    assert len(violations({module: source})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "connector.mapping.mapper",
            "from connector.clarify.limits import INPUT_ID\nfrom connector.records import Record",
        ),
        ("connector.mapping.mapper", "from . import times\nfrom .topics import parse_pattern\nimport orjson"),
        (
            "connector.pipeline",
            "from connector.sources.source import Source\nfrom connector.mapping.mapper import Mapper",
        ),
        ("connector.app", "from connector.sources.mqtt import MqttSource"),
        ("connector.try_out.live", "from connector.sources.mqtt_tap import MqttTap"),
        ("connector.demo.run", "from connector.sources.journal import DiskJournal"),
        (
            "connector.sources.mqtt",
            "from connector.sources.journal import Journal\nfrom connector.config import MqttSection",
        ),
    ],
)
def test_an_import_the_right_way_is_let_through(module: str, source: str) -> None:
    assert violations({module: source}) == []
