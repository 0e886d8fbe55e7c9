"""The remedy for a dead letter, by the reason of the letter."""

from __future__ import annotations

from typing import Final

from connector.formats.catalogue import FORMATS
from connector.records import Reason

_REMEDIES: Final[dict[str, str]] = {
    Reason.MALFORMED_RECORD: "The source could not read the record: see the message. Correct the program that writes "
    "the record.",
    Reason.EMPTY_PAYLOAD: "The message has no payload: a client deletes a retained message, or a device is broken. "
    "Skip the topic with a rule, or drop the letters.",
    Reason.NOT_UTF8: "The payload is not text in UTF-8, but in another encoding (see the message), binary, compressed "
    "or cut off. Set format or encoding in the rule, and replay; or skip the topic.",
    Reason.INVALID_JSON: "The payload is not JSON, or is cut off. If the topic has another format, set the format in "
    "the rule; then replay.",
    Reason.INVALID_COMPRESSION: "The payload does not have the compression that the rule names, or is cut off. "
    "Correct the rule or the device; then replay.",
    Reason.DECOMPRESSED_TOO_LARGE: "The decompressed payload is larger than mapping.max_payload. Raise the setting, "
    "or correct the device.",
    Reason.NO_SCHEMA_ID: "The record names no schema: see the message. Correct the producer, or name the "
    "schema in the rule; then replay.",
    Reason.SCHEMA_NOT_FOUND: "The registry does not have the schema. Register the schema, or correct "
    "schema_registries; then replay.",
    Reason.SCHEMA_UNAVAILABLE: "The registry did not give the schema within give_up_after: see the message. When it "
    "works again, replay.",
    Reason.SCHEMA_UNUSABLE: "The schema cannot be used: see the message. Correct the schema; then replay.",
    Reason.SCHEMA_VIOLATED: "The payload does not fit the schema. Correct the producer or the schema; then replay.",
    Reason.SIGNAL_HELD: "A new signal waits for approval: clarify-connector new-signals CONFIG --approve PATTERN; "
    "then replay.",
    Reason.SIGNAL_REJECTED: "The connector rejects new signals (signals.on_new). If the signal is wanted, change the "
    "setting; then replay.",
    Reason.NESTED_TOO_DEEPLY: "The payload is nested more deeply than any measurement. Correct the device, or skip "
    "the topic.",
    Reason.PAYLOAD_TOO_LARGE: "Correct the device, or raise mapping.max_payload. Raise dead_letters.max_payload, too: "
    "then large messages are kept whole and can be replayed.",
    Reason.TOO_MANY_VALUES: "Raise mapping.max_values and replay, or skip unused values in the mapping.",
    Reason.TOO_EXPENSIVE: "Reading the message would take seconds, so the connector stopped reading at the place that "
    "the letter names. Correct the producer, the schema or the path; then replay.",
    Reason.NO_NUMERIC_VALUE: "The message has no number. If a text in it holds a payload, the letter says what to set. "
    "Otherwise skip the topic in the mapping, or map the states to numbers; then replay.",
    Reason.NOT_FINITE: "NaN and infinity cannot be stored; usually a sensor is broken. The other values of the "
    "message are in Clarify. Skip the value in the mapping, or drop the letters.",
    Reason.DUPLICATE_KEY: "The last value of the key is in Clarify, the earlier value is in the letter. Correct the "
    "device.",
    Reason.TIME_UNREADABLE: "Name the time field in the topic's rule (time:), or use the time of arrival (time: "
    "arrival); then replay.",
    Reason.TIME_OUT_OF_RANGE: "The device's clock is wrong. Set the clock, use the time of arrival (time: arrival), "
    "or widen mapping.oldest_time and newest_time; then replay.",
    Reason.NO_RULE: "No rule matches the topic. Add a rule, or set mapping.unmatched; then replay.",
    Reason.UNKNOWN_INTEGRATION: "The rule's to gives a name that clarify.integrations does not have. Add the "
    "integration, or correct to; then replay.",
    Reason.UNKNOWN_TAG: "The tag list has no row for the value. Add a row, or set tags.unknown; then replay.",
    Reason.NO_IDENTITY: "The message does not have a part of the input ID, so two devices would become one signal. "
    "Correct the device, or use only parts that every message has (input, item_name of the rule); then replay.",
    Reason.INSERT_REJECTED: "Clarify refused the value: see the message. Change the input ID or the value in the "
    "mapping, or ask the support of Clarify with the trace; then replay.",
    Reason.MAPPING_FAILED: "The connector has a bug. Report the bug with this letter, and replay after an update.",
}
_INVALID: Final = (
    "The payload does not have the format that the rule names, or is cut off. Correct the rule or the device; then "
    "replay."
)
_UNKNOWN: Final = "See the message. Correct the mapping or the device; then replay."


def remedy(reason: str) -> str:
    """Return the remedy for letters with this reason, as text for people."""
    of_formats = (kind.reasons[reason] for kind in FORMATS.kinds.values() if reason in kind.reasons)
    return next(of_formats, None) or _REMEDIES.get(reason, _INVALID if reason.startswith("invalid_") else _UNKNOWN)
