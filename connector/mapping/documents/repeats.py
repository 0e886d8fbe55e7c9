"""Repeats: samples of one message that would share an input ID at one time.

Clarify keeps one value for an input and a time. So all but one of these samples would be lost without a word, and
nobody could say which sample is right. Because the message does not show this, all of these samples are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter

from connector.mapping.time.times import format_time
from connector.records import FIRST_US, LAST_US, Reason, Reject, Sample

_INPUT = itemgetter(0)
_REMEDY = (
    "no field tells them apart; in the rule of this topic set iterate with item_name (or {item.FIELD} or {index} in "
    "input), or time to the field with the time of each item, or shared_inputs: true if they are one signal"
)


def refuse_repeats(
    samples: list[Sample], places: Callable[[], Mapping[str, str]], *, own_time_us: int | None = None
) -> tuple[list[Sample], list[Reject], int]:
    """(samples that stay, rejects of samples that share an input ID and a time, number of samples that are left out).

    `places` returns the known places of input IDs in the payload. With `own_time_us`, the record's own time in µs,
    samples with equal values at another time are one reading that was written twice: the first sample stays, and the
    others are left out.
    """
    if len(set(map(_INPUT, samples))) == len(samples) or len({sample[:2] for sample in samples}) == len(samples):
        return samples, [], 0
    values: dict[tuple[str, int], list[float]] = {}
    for input_id, time_us, value in samples:
        values.setdefault((input_id, time_us), []).append(value)
    same = {at for at, here in values.items() if here.count(here[0]) == len(here)}
    paths = places()
    kept: list[Sample] = []
    rejects: list[Reject] = []
    left_out = 0
    for sample in samples:
        input_id, time_us, value = sample
        here = values[input_id, time_us]
        if len(here) == 1:
            kept.append(sample)
        elif here and own_time_us is not None and time_us != own_time_us and sample[:2] in same:
            kept.append(sample)
            left_out += len(here) - 1
            values[input_id, time_us] = []
        elif here:
            rejects.append(
                Reject(
                    Reason.NO_IDENTITY,
                    f"{len(here)} values of this message would be input {input_id!r} at {_shown(time_us)}; {_REMEDY}",
                    paths.get(input_id) or f"(value of {input_id})",
                    repr(value),
                )
            )
    return kept, rejects, left_out


def _shown(time_us: int) -> str:
    return format_time(time_us) if FIRST_US <= time_us <= LAST_US else f"{time_us} µs since 1970"
