"""Home Assistant's MQTT discovery: a discovery message → the signals that it describes.

A discovery message describes one entity, or a device with several components. Names of settings may be abbreviated, and
`~` stands for the base topic. An entity names the topic of its state, and a template that takes the state out of the
payload. Only templates that certainly take one value, as it is, are read: `{{ value_json.a['b'].c | float }}`, also
with `if … is defined`. The result of any other template is another number than the one in the payload, so its unit
would be wrong: such an entity is returned without `signal`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from connector.formats.format import PayloadError
from connector.records import Reason

_ABBREVIATIONS: Final = {
    "cmps": "components", "dev": "device", "dev_cla": "device_class", "mdl": "model",
    "obj_id": "object_id", "p": "platform", "pl_off": "payload_off", "pl_on": "payload_on", "sa": "suggested_area",
    "stat_t": "state_topic", "stat_val_tpl": "state_value_template", "temp_unit": "temperature_unit",
    "unit_of_meas": "unit_of_measurement", "uniq_id": "unique_id", "val_tpl": "value_template",
    "curr_temp_t": "current_temperature_topic", "curr_temp_tpl": "current_temperature_template",
    "temp_stat_t": "temperature_state_topic", "temp_stat_tpl": "temperature_state_template",
    "curr_hum_t": "current_humidity_topic", "curr_hum_tpl": "current_humidity_template",
    "pos_t": "position_topic", "pos_tpl": "position_template",
    "pct_stat_t": "percentage_state_topic", "pct_val_tpl": "percentage_value_template",
    "bri_stat_t": "brightness_state_topic", "bri_val_tpl": "brightness_value_template",
}  # fmt: skip
"""https://www.home-assistant.io/integrations/mqtt#discovery-messages, the ones that are needed here."""
_STATES: Final = (
    ("state_topic", ("value_template", "state_value_template"), ""),
    ("current_temperature_topic", ("current_temperature_template",), "current temperature"),
    ("temperature_state_topic", ("temperature_state_template",), "target temperature"),
    ("current_humidity_topic", ("current_humidity_template",), "current humidity"),
    ("position_topic", ("position_template",), "position"),
    ("percentage_state_topic", ("percentage_value_template",), "percentage"),
    ("brightness_state_topic", ("brightness_value_template",), "brightness"),
)
"""(setting with a topic, settings with the template of its value, what the value is) of the states of an entity."""
_PERCENT: Final = ("current humidity", "position", "percentage")
_STEP: Final = r"(?:\.[A-Za-z_]\w*|\['[^'\]]+'\]|\[\"[^\"\]]+\"\]|\[\d+\])"
_VALUE: Final = rf"value_json(?P<path>{_STEP}+)|value"
_SAME: Final = r"(?:\s*\|\s*(?:float|int|round|is_defined|default|string|lower|upper|title|trim)(?:\([^()|{}]*\))?)*"
"""Filters that leave a number what it is."""
_TEMPLATE: Final = re.compile(
    rf"\{{\{{-?\s*(?:{_VALUE}){_SAME}(?:\s+if\s+(?P<asked>value_json{_STEP}+)\s+is\s+defined(?:\s+else\s[^{{}}|]*)?)?"
    r"\s*-?\}\}"
)
_LONGEST_TEMPLATE: Final = 500
_STEPS: Final = re.compile(_STEP)


def discovered(document: object, _arrival_us: int) -> object:
    """Returns a list of signals: objects with `signal` (unless it is not known), `name`, `unit`, `states` ….

    `signal` is `TOPIC:PATH`, as in the default input ID. Raises `PayloadError`.
    """
    if not isinstance(document, dict):
        raise PayloadError(Reason.WRONG_STRUCTURE, "no discovery message of Home Assistant: it is no object")
    said = _full(document)
    components = said.pop("components", None)
    if components is None:
        return list(_signals(said, ""))
    if not isinstance(components, dict):
        raise PayloadError(Reason.WRONG_STRUCTURE, "no discovery message: its components are no object")
    entities = ((name, {**said, **_full(part)}) for name, part in components.items() if isinstance(part, dict))
    return [signal for name, entity in entities for signal in _signals(entity, name)]


def _full(said: Mapping[str, object]) -> dict[str, object]:
    """Returns the settings with their full names and topics; those of the device, too."""
    found = {_ABBREVIATIONS.get(key, key): value for key, value in said.items()}
    base = found.get("~")
    if isinstance(base, str):
        for key, value in found.items():
            if key.endswith("_topic") and isinstance(value, str):
                found[key] = base + value[1:] if value.startswith("~") else re.sub("~$", lambda _: base, value)
    device = found.get("device")
    if isinstance(device, dict):
        found["device"] = {_ABBREVIATIONS.get(key, key): value for key, value in device.items()}
    return found


def _signals(entity: Mapping[str, object], key: str) -> Iterator[dict[str, object]]:
    device = entity.get("device")
    device = device if isinstance(device, dict) else {}
    name = _name(entity, device, key)
    for topic_key, template_keys, what in _STATES:
        topic = entity.get(topic_key)
        if not isinstance(topic, str) or not topic:
            continue
        template = next((entity[each] for each in template_keys if entity.get(each)), None)
        path = _path(template)
        known: dict[str, object] = {"signal": f"{topic}:{path}" if path else topic}
        if path is None or "+" in topic or "#" in topic:
            known = {"not read": template if path is None else topic}
        yield known | {
            "name": f"{name} {what}".strip(),
            "unit": _unit(entity, what),
            "device": device.get("name"),
            "model": device.get("model"),
            "area": device.get("suggested_area"),
            "states": {} if what else _states(entity),
        }


def _name(entity: Mapping[str, object], device: Mapping[str, object], key: str) -> str:
    """Returns the name as Home Assistant shows it: that of the device, and that of the entity unless it is the same."""
    of_device = device.get("name")
    of_device = of_device if isinstance(of_device, str) else ""
    name = entity.get("name", entity.get("device_class", entity.get("object_id", key)))
    if not isinstance(name, str) or not name:  # null: the entity is the main feature of its device
        return of_device
    if "name" not in entity:
        name = name.replace("_", " ")
    return name if name.lower().startswith(of_device.lower()) else f"{of_device} {name}"


def _unit(entity: Mapping[str, object], what: str) -> object:
    if what.endswith("temperature"):
        return {"C": "°C", "F": "°F"}.get(str(entity.get("temperature_unit")))
    return "%" if what in _PERCENT else None if what else entity.get("unit_of_measurement")


def _states(entity: Mapping[str, object]) -> dict[str, str]:
    """Returns number → name, if the payload has numbers or booleans in place of `ON` and `OFF`."""
    found = {}
    for key, name in (("payload_off", "off"), ("payload_on", "on")):
        number = {"true": "1", "1": "1", "false": "0", "0": "0"}.get(str(entity.get(key)).lower())
        if number is None:
            return {}
        found[number] = name
    return dict(sorted(found.items()))


def _path(template: object) -> str | None:
    """Returns the path of the value that a template takes from the payload; empty for the whole payload.

    Returns None if the template may take something else.
    """
    if template is None:
        return ""
    if not isinstance(template, str) or len(template) > _LONGEST_TEMPLATE:
        return None
    found = _TEMPLATE.fullmatch(template.strip())
    if found is None:
        return None
    path = _dotted(found["path"] or "")
    return None if found["asked"] is not None and _dotted(found["asked"].removeprefix("value_json")) != path else path


def _dotted(steps: str) -> str:
    return ".".join(step.strip("[]'\"") if step[0] == "[" else step[1:] for step in _STEPS.findall(steps))
