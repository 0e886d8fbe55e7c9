"""A preview for programs: one JSON object. `report_text` has the preview for people."""

from __future__ import annotations

from typing import Final

from connector.mapping.time.times import format_time
from connector.records import Sample, SignalMetadata
from connector.try_out.comparison import MappingComparison
from connector.try_out.differences import RejectChange
from connector.try_out.frames import FrameSummary
from connector.try_out.in_clarify import InClarify
from connector.try_out.mapping import RuleAt
from connector.try_out.preview import Preview, RejectGroup, RuleCount

_OUTCOMES: Final = ("received", "mapped", "rejected", "left_out", "waiting_for_schema")


def as_json(
    preview: Preview,
    clarify: InClarify,
    comparison: MappingComparison | None,
    new_in_clarify: InClarify | None = None,
) -> dict[str, object]:
    """Returns the whole preview as one JSON object. Times are RFC 3339 texts.

    `new_in_clarify` says which new signals of the comparison Clarify has already.
    """
    messages = preview.messages
    found: dict[str, object] = {
        "messages": {name: messages[name] for name in _OUTCOMES},
        "payload_bytes": preview.payload_bytes,
        "samples": preview.samples,
        "values_left_out": preview.values_left_out,
        "windows": {
            "values": preview.values_in_windows,
            "samples": preview.windows_closed,
            "values_too_late": preview.late_for_windows,
        },
        "first": _time(preview.first_us),
        "last": _time(preview.last_us),
        "rules": [_rule_count(preview.by_rule[number]) for number in sorted(preview.by_rule)],
        "rules_that_took_nothing": [_rule(rule) for rule in preview.silent_rules()],
        "requests": {
            "at_once": len(preview.packer.frames),
            "as_it_came": preview.pace.requests,
            "aligned_to_seconds": {
                "at_once": len(preview.aligned.frames),
                "bytes": sum(frame.bytes for frame in preview.aligned.frames),
                "values_replaced": sum(frame.superseded for frame in preview.aligned.frames),
            },
        },
        "frames": [_frame(frame) for frame in preview.packer.frames],
        "signals": signals_as_json(preview, clarify),
        "clarify": _clarify(clarify),
        "collisions": [str(collision) for collision in preview.mapping.collisions],
        "notices": [
            {"kind": one.kind, "subject": one.subject, "message": one.text, "remedy": one.remedy}
            for one in preview.notices()
        ],
        "overwritten": dict(preview.packer.overwritten),
        "rejects": [_reject(group) for group in preview.rejects.values()],
        "rejects_of_further_kinds": preview.other_rejects,
        "schema_unavailable": [
            {"message": why, "count": trouble.count, "lines": trouble.lines}
            for why, trouble in preview.schema_trouble.items()
        ],
        "unknown_sources": dict(preview.unknown_sources),
    }
    if comparison is not None:
        found["comparison"] = comparison_as_json(comparison, new_in_clarify or InClarify("not asked"))
    return found


def signals_as_json(preview: Preview, clarify: InClarify) -> list[dict[str, object]]:
    """Returns each signal with metadata and status: `created`, `changed`, `unchanged` or `not_compared`."""
    created, changed = set(clarify.created), clarify.changed
    found = []
    for input_id, seen in sorted(preview.signals.items()):
        metadata = preview.mapping.metadata.get(input_id)
        status = "not_compared"
        if clarify.not_asked is None:
            status = "created" if input_id in created else "changed" if input_id in changed else "unchanged"
        found.append(
            {
                "input": input_id,
                "status": status,
                "samples": seen.samples,
                "last_time": format_time(seen.last_us),
                "last_value": seen.last_value,
                "topic": seen.topic,
                "identity": preview.mapping.identity(input_id),
                "overwritten": preview.packer.overwritten[input_id],
                "rule": _rule(seen.rule),
                "metadata": _metadata(metadata),
            }
        )
    return found


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else format_time(time_us)


def _rule(rule: RuleAt | None) -> dict[str, object] | None:
    return None if rule is None else {"number": rule.number, "line": rule.line, "topic": rule.topic}


def _rule_count(counted: RuleCount) -> dict[str, object]:
    return {
        "rule": _rule(counted.rule),
        "messages": counted.messages,
        "samples": counted.samples,
        "rejects": counted.rejects,
        "messages_left_out": counted.messages_left_out,
        "values_left_out": counted.values_left_out,
        "values_in_windows": counted.values_in_windows,
    }


def _frame(frame: FrameSummary) -> dict[str, object]:
    table = frame.table
    return {
        "rows": frame.rows,
        "series": frame.series,
        "samples": frame.samples,
        "superseded": frame.superseded,
        "bytes": frame.bytes,
        "null_share": round(frame.null_share, 4),
        "first": format_time(frame.first_us),
        "last": format_time(frame.last_us),
        "table": None
        if table is None
        else {
            "times": [format_time(time_us) for time_us in table.times_us],
            "inputs": table.inputs,
            "cells": table.cells,
        },
    }


def _metadata(metadata: SignalMetadata | None) -> dict[str, object] | None:
    if metadata is None:
        return None
    return {
        "name": metadata.name,
        "description": metadata.description,
        "unit": metadata.unit,
        "type": metadata.value_type,
        "labels": {key: list(values) for key, values in metadata.labels},
        "enum_values": dict(metadata.enum_values),
        "published": metadata.item is not None,
    }


def _clarify(clarify: InClarify) -> dict[str, object]:
    return {
        "compared_with": clarify.asked or None,
        "not_compared": clarify.not_asked,
        "created": len(clarify.created),
        "changed": {
            input_id: {change.attribute: {"before": change.before, "after": change.after} for change in changes}
            for input_id, changes in clarify.changed.items()
        },
        "unchanged": clarify.unchanged,
        "invalid_metadata": clarify.invalid,
    }


def _reject(group: RejectGroup) -> dict[str, object]:
    return {
        "reason": group.reason,
        "rule": _rule(group.rule),
        "path": group.path,
        "count": group.count,
        "lines": group.lines,
        "topic": group.topic,
        "value": group.value,
        "message": group.message,
    }


def comparison_as_json(comparison: MappingComparison, clarify: InClarify) -> dict[str, object]:
    """Returns a comparison as JSON data; `clarify` says which of its new signals Clarify has already."""
    differences = comparison.differences
    return {
        "other": str(comparison.other),
        "kept": comparison.kept,
        "renamed": [
            {"before": found.before, "after": found.after, "topic": found.origin.topic, "path": found.origin.path}
            for found in comparison.renamed
        ],
        "created": comparison.created,
        "orphaned": comparison.orphaned,
        "samples": {"before": comparison.samples[0], "after": comparison.samples[1]},
        "requests": {"before": comparison.requests[0], "after": comparison.requests[1]},
        "frame_bytes": {"before": comparison.frame_bytes[0], "after": comparison.frame_bytes[1]},
        "cost": {
            "new_signals": len(comparison.created),
            "in_clarify_already": None if clarify.not_asked else len(comparison.created) - len(clarify.created),
            "not_compared": clarify.not_asked,
            "published_as_items": comparison.published,
            "room_of_signals_max": {name or "default": room for name, room in comparison.room.items()},
        },
        "messages_with_changes": differences.messages,
        "samples_unchanged": differences.unchanged,
        "changes": [
            {
                "change": change.kind,
                "count": change.count,
                "line": change.line,
                "topic": change.topic,
                "before": _sample(change.before),
                "after": _sample(change.after),
            }
            for change in differences.samples.values()
        ],
        "rejects_that_appear": [_reject_change(change) for change in differences.rejects.values() if change.appears],
        "rejects_that_vanish": [
            _reject_change(change) for change in differences.rejects.values() if not change.appears
        ],
        "changes_of_further_kinds": differences.further,
        "rules": [{"number": rule.number, "line": rule.line, "text": text} for rule, text in comparison.rules],
        "tests": comparison.tests,
    }


def _sample(sample: Sample | None) -> dict[str, object] | None:
    return None if sample is None else {"input": sample[0], "time": format_time(sample[1]), "value": sample[2]}


def _reject_change(change: RejectChange) -> dict[str, object]:
    reject = change.reject
    return {
        "reason": reject.reason,
        "path": reject.path,
        "value": reject.value,
        "message": reject.message,
        "count": change.count,
        "line": change.line,
        "topic": change.topic,
    }
