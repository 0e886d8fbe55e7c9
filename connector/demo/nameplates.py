"""What the machines of the plant say of themselves: names and units, as discovery messages of Home Assistant.

The values of a machine come without them. The connector joins both by the topic of the values and the path in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Quantity(NamedTuple):
    """One value of a machine."""

    path: str
    """The place of the value in the payload; empty if the payload is the value."""
    name: str
    unit: str | None
    """None for a state."""


_BY_KIND: Final[Mapping[str, tuple[Quantity, ...]]] = MappingProxyType(
    {
        "pump": (
            Quantity("temperature", "bearing temperature", "°C"),
            Quantity("pressure", "pressure", "bar"),
            Quantity("flow", "flow", "l/min"),
            Quantity("running", "running", None),
        ),
        "press": (
            Quantity("force", "force", "kN"),
            Quantity("strokes", "strokes since installation", "strokes"),
            Quantity("state", "state", None),
            Quantity("oil.temperature", "oil temperature", "°C"),
        ),
        "meter": (
            *(Quantity(f"power.l{phase}", f"power l{phase}", "kW") for phase in (1, 2, 3)),
            Quantity("energy", "energy", "kWh"),
        ),
        "conveyor": (Quantity("speed", "speed", "m/s"), Quantity("parts", "parts", "parts")),
    }
)
_CLIMATE: Final = (("temperature", "air temperature", "°C"), ("humidity", "relative humidity", "%"))


def nameplate(topic: str) -> tuple[str, bytes] | None:
    """(topic, payload) of the discovery message of the machine that sends on `topic`; None if it has none."""
    *_, kind, machine = topic.split("/")
    if kind == "climate":
        found = [(f"{topic}/{what}", Quantity("", name, unit)) for what, name, unit in _CLIMATE]
    else:
        found = [(topic, quantity) for quantity in _BY_KIND.get(kind, ())]
    components = {f"{machine}_{number}": _component(*each) for number, each in enumerate(found)}
    if not components:
        return None
    said = {
        "device": {"identifiers": machine, "name": machine, "model": kind},
        "origin": {"name": "demo"},
        "components": components,
    }
    return f"homeassistant/device/{machine}/config", json.dumps(said, ensure_ascii=False).encode()


def nameplates(topics: Iterable[str]) -> list[tuple[str, bytes]]:
    """(topic, payload) of the discovery messages of all machines that have one."""
    return [found for topic in topics if (found := nameplate(topic)) is not None]


def _component(topic: str, quantity: Quantity) -> dict[str, object]:
    said: dict[str, object] = {"platform": "sensor", "name": quantity.name, "state_topic": topic}
    if quantity.path:
        said["value_template"] = f"{{{{ value_json.{quantity.path} }}}}"
    if quantity.unit is not None:
        said["unit_of_measurement"] = quantity.unit
    if quantity.name == "running":
        said |= {"platform": "binary_sensor", "payload_on": "true", "payload_off": "false"}
    return said
