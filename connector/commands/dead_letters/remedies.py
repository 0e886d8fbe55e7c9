"""What a person can do about a dead letter, by its reason."""

from __future__ import annotations

from typing import Final

from connector.formats.catalogue import FORMATS
from connector.records import Reason

_REMEDIES: Final[dict[str, str]] = {
    Reason.MALFORMED_RECORD: "The source could not make a message of it (see the message). Mend what writes there.",
    Reason.EMPTY_PAYLOAD: "The message has no payload: somebody deletes a retained message, or a device is broken. "
    "Leave its topic out with a rule that skips it, or drop the letters.",
    Reason.NOT_UTF8: "The payload is not text: binary, compressed, or cut off. Skip its topic in the mapping, or mend "
    "the device.",
    Reason.INVALID_JSON: "The payload is no JSON, perhaps cut off on its way. If the topic carries something else, say "
    "so in its rule; then replay.",
    Reason.INVALID_COMPRESSION: "The payload is not compressed as its rule says, or is cut off. Mend the rule, or the "
    "device; then replay.",
    Reason.DECOMPRESSED_TOO_LARGE: "The payload becomes larger than mapping.max_payload. Raise that, or mend the "
    "device.",
    Reason.NO_SCHEMA_ID: "The payload does not begin with the ID of a schema. Mend its producer, or name the schema in "
    "the rule; then replay.",
    Reason.SCHEMA_NOT_FOUND: "The registry has no such schema. Register it, or mend schema_registry; then replay.",
    Reason.SCHEMA_UNUSABLE: "The schema cannot be used: see the message. Mend it; then replay.",
    Reason.SCHEMA_VIOLATED: "The payload does not fit its schema. Mend its producer, or the schema; then replay.",
    Reason.SIGNAL_HELD: "A new signal waits for approval: clarify-connector new-signals CONFIG --approve PATTERN; "
    "then replay.",
    Reason.SIGNAL_REJECTED: "New signals are not let in (signals.on_new). Let this one in, if it is wanted; then "
    "replay.",
    Reason.NESTED_TOO_DEEPLY: "The payload is nested more deeply than any measurement. Mend the device, or skip the "
    "topic.",
    Reason.PAYLOAD_TOO_LARGE: "Mend the device, or raise mapping.max_payload; and dead_letters.max_payload, so that "
    "such messages are kept whole and can be replayed.",
    Reason.TOO_MANY_VALUES: "Raise mapping.max_values and replay, or skip values that nobody needs.",
    Reason.TOO_EXPENSIVE: "To read the message would take seconds, so it was given up: the letter says where. Mend its "
    "producer, or the schema or path that makes it expensive; then replay.",
    Reason.NO_NUMERIC_VALUE: "There is no number in it. Skip its topic in the mapping, or map its states to numbers; "
    "then replay.",
    Reason.NOT_FINITE: "NaN and infinity cannot be stored; usually a sensor is broken. The other values of the message "
    "are in Clarify. Skip the value in the mapping, or drop the letters.",
    Reason.DUPLICATE_KEY: "The last value of the key is in Clarify; the earlier one is here. Mend the device.",
    Reason.TIME_UNREADABLE: "Name the time field in the topic's rule (time:), or take the time of arrival there "
    "(time: arrival); then replay.",
    Reason.TIME_OUT_OF_RANGE: "The device's clock is wrong. Set it, or take the time of arrival (time: arrival), or "
    "widen mapping.oldest_time and newest_time; then replay.",
    Reason.NO_RULE: "No rule takes the topic: add one, or set mapping.unmatched; then replay.",
    Reason.NO_IDENTITY: "The input ID is made of something that the message does not have, so two devices would be one "
    "signal. Mend the device, or make the ID in the rule (input, item_name) of what it always has; then replay.",
    Reason.INSERT_REJECTED: "Clarify refused the value, and says why in the message. Change its input ID or the value "
    "in the mapping, or ask Clarify's support with the trace; then replay.",
    Reason.MAPPING_FAILED: "A fault of the connector: report it with this letter; replay after an update.",
}
_INVALID: Final = (
    "The payload is not what its rule says that it is, or is cut off. Mend the format in the rule, or the device; then "
    "replay."
)
_UNKNOWN: Final = "See the message; mend the mapping or the device, then replay."


def remedy(reason: str) -> str:
    """What a person can do about letters with this reason."""
    of_formats = (kind.reasons[reason] for kind in FORMATS.kinds.values() if reason in kind.reasons)
    return next(of_formats, None) or _REMEDIES.get(reason, _INVALID if reason.startswith("invalid_") else _UNKNOWN)
