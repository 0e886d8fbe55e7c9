"""Imports point one way: each room of `connector/` says in its first docstring what it may know, and knows no more.

`Knows: records, settings.` allows these rooms, or single modules of them; `nothing else` allows nothing; `everything
but commands and demo` allows all rooms but these. `records.py` and `settings.py` know nobody.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOSE = {"records", "settings"}
"""Modules that stand at the top of `connector/`, beside the package itself: the types that flow, and what sections of a
configuration are made of."""
ADAPTERS_KNOWN_TO = ("sources", "config", "runtime", "commands", "demo", "try_out", "conformance")
SEAM = "sources.source"
"""The one module of `sources` that the pipeline may know: what a source is."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the connector, with its file; names without `connector.`."""
    for path in sorted((ROOT / "connector").rglob("*.py")):
        parts = path.relative_to(ROOT / "connector").with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())
PACKAGES = {module for module, path in MODULES.items() if path.name == "__init__.py"}
ROOMS = {module for module in PACKAGES if module and "." not in module} | LOOSE


def room_of(module: str) -> str:
    return module.partition(".")[0]


def known_to(room: str, docstring: str) -> set[str]:
    """The rooms and modules that this room may know, as its docstring says."""
    found = re.search(r"^Knows: (.+?)\.$", docstring, re.MULTILINE | re.DOTALL)
    assert found, f"connector/{room}/__init__.py says nothing of what it knows"
    text = " ".join(found[1].split())
    if text == "nothing else":
        return set()
    everything = text.removeprefix("everything but ")
    names = set(re.split(r", | and ", everything))
    return names if everything == text else ROOMS - names - {room}


KNOWS = {room: known_to(room, ast.get_docstring(ast.parse(MODULES[room].read_text())) or "") for room in ROOMS - LOOSE}
KNOWS |= {module: set() for module in LOOSE}


def within(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """(line, module) of each import of the connector's own, wherever in the file it stands."""
    package = module if module in PACKAGES else module.rpartition(".")[0]
    full = f"connector.{package}".rstrip(".").split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(full[: len(full) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            deeper = [f"{base}.{alias.name}" for alias in node.names]
            found = [name if name.removeprefix("connector.") in MODULES else base for name in deeper]
        else:
            continue
        ours = (name.removeprefix("connector.") for name in found if name.startswith("connector."))
        yield from ((node.lineno, name) for name in ours)


def violations(files: Mapping[str, str]) -> list[str]:
    """What breaks the rules in these modules: name → source text."""
    found = []
    for module, source in files.items():
        room = room_of(module)
        if room not in ROOMS:  # the package itself, and what `python -m connector` runs
            continue
        for line, target in imports(module, source):
            if not within(target, KNOWS[room] | {room}):
                found.append(f"connector.{module}:{line} imports connector.{target}: {room} may know {KNOWS[room]}")
    return found


def test_imports_point_one_way() -> None:
    assert len(MODULES) > 50
    assert violations({module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}) == []


def test_each_room_knows_only_what_exists() -> None:
    assert {name for names in KNOWS.values() for name in names} - set(MODULES) == set()


def test_no_two_rooms_know_each_other() -> None:
    """No circle: the rooms can be put in an order in which each knows only rooms before it."""
    left = {room: {room_of(name) for name in names} for room, names in KNOWS.items()}
    while ready := {room for room, names in left.items() if not names & left.keys()}:
        left = {room: names for room, names in left.items() if room not in ready}
    assert left == {}


def test_only_those_who_put_parts_together_know_adapters() -> None:
    knowing = {room for room, names in KNOWS.items() if any(room_of(name) == "sources" for name in names - {SEAM})}
    assert knowing | {"sources"} == set(ADAPTERS_KNOWN_TO)


def test_nothing_stands_loose_at_the_top() -> None:
    files = {path.stem for path in (ROOT / "connector").glob("*.py")}
    assert files == {"__init__", "__main__", *LOOSE}
    assert len(ROOMS) <= 25


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("records", "import connector.ledger.progress"),
        ("clarify.client", "from connector import records"),
        ("clarify.client", "from connector.records import Record"),
        ("sandbox.app", "from connector.clarify.limits import INPUT_ID"),
        ("formats.text.json_payload", "from ...mapping import mapper"),
        ("formats.schema.registry.client", "from connector.config.model import Config"),
        ("mapping.mapper", "from connector.clarify import Client"),
        ("mapping.mapper", "from connector.clarify.client import Client"),
        ("mapping.mapper", "import connector.config"),
        ("packing.frame", "from connector.mapping.time.times import format_time"),
        ("ledger.progress", "from connector.packing.frame import Frame"),
        ("sources.mqtt.source", "from connector.delivery.sender import Sender"),
        ("sources.mqtt.source", "def f():\n    from connector.mapping.mapper import Mapper"),
        ("sources.journal.disk", "from connector.packing import planner"),
        ("sources.mqtt.source", "if TYPE_CHECKING:\n    from connector.pipeline.pipeline import Pipeline"),
        ("delivery.sender", "from connector.sources.source import Source"),
        ("dead_letters.writer", "from connector.ledger.source_file import SourceFile"),
        ("dead_letters.kafka_store", "from connector.pipeline.pipeline import Pipeline"),
        ("pipeline.pipeline", "from connector.sources.mqtt.source import MqttSource"),
        ("pipeline.pipeline", "from connector.sources import journal"),
        ("pipeline.pipeline", "from connector.config.model import Config"),
        ("config.model", "from connector.runtime.connector import Connector"),
        ("observe.pages", "from connector.ledger.source_file import SourceFile"),
        ("state.state", "from connector.sources import mqtt"),
        ("try_out.preview", "from connector.delivery.sender import Sender"),
    ],
)
def test_an_import_the_wrong_way_is_found(module: str, source: str) -> None:
    assert len(violations({module: source})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mapping.mapper", "from connector.clarify.limits import INPUT_ID\nfrom connector.records import Record"),
        ("mapping.mapper", "from . import times\nfrom .rules.topics import parse_pattern\nimport orjson"),
        (
            "pipeline.pipeline",
            "from connector.sources.source import Source\nfrom connector.mapping.mapper import Mapper",
        ),
        ("runtime.assembly", "from connector.sources.mqtt.source import MqttSource"),
        ("try_out.live", "from connector.sources.mqtt.tap import MqttTap"),
        ("demo.run", "from connector.sources.journal.disk import DiskJournal"),
        (
            "sources.mqtt.source",
            "from connector.sources.journal.journal import Journal\nfrom connector.brokers.mqtt import url",
        ),
    ],
)
def test_an_import_the_right_way_is_let_through(module: str, source: str) -> None:
    assert violations({module: source}) == []
