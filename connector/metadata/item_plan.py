"""The plan of items: what would become of each signal's item, without a change in Clarify; and the plan carried out.

The plan has the rules of the running connector: `item_views` decides about each item, and an item waits for the
metadata of its signal. The plan also looks at items that the connector has published before, and would not look at
again. `apply_plan` looks up the signals of each request again, right before this request. A signal whose line would be
another one now is left out, and reported.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Final

from connector.clarify.errors import ClarifyError
from connector.clarify.limits import PUBLISHED_SIGNALS
from connector.clarify.models import SignalInfo
from connector.metadata.item_views import Decision, FoundSignal, ItemAction, Items, View, changes, decide
from connector.metadata.reconciler import Batches
from connector.metadata.signals import as_saved, save_changes
from connector.records import ItemMetadata, Overwrite, SignalMetadata


class LineStatus(StrEnum):
    """What would become of the item of a signal."""

    NEW = "new"
    """The signal would be published."""
    CHANGED = "changed"
    LEFT_ALONE = "left_alone"
    """A person has changed or made the item, or `overwrite: never` protects it."""
    UNCHANGED = "unchanged"
    NO_SIGNAL = "no_signal"
    """Clarify has no such signal yet."""
    WAITS = "waits"
    """The connector would save the metadata of the signal first. `changes` are those that would follow."""
    INVALID = "invalid"
    """The item would break a documented rule."""
    UNKNOWN = "unknown"
    """Only a message can tell what the mapping wants."""


PENDING: Final = frozenset((LineStatus.NEW, LineStatus.CHANGED))
"""What `apply_plan` carries out."""
WRONG: Final = frozenset((LineStatus.INVALID, LineStatus.UNKNOWN))
"""What a person must look at."""

_LINE_OF: Final = {
    ItemAction.CREATE: LineStatus.NEW,
    ItemAction.UPDATE: LineStatus.CHANGED,
    ItemAction.LEAVE_ALONE: LineStatus.LEFT_ALONE,
    ItemAction.NOTHING: LineStatus.UNCHANGED,
}


@dataclass(frozen=True, slots=True)
class PlanLine:
    """The plan for one signal."""

    input_id: str
    status: LineStatus
    reason: str = ""
    """A text for people; empty if there is nothing to say."""
    signal: str | None = None
    """The ID of the signal."""
    item: str | None = None
    """The ID of the item; None if there is none."""
    changes: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    """Attribute of the item → (before, after); of a new item, all attributes that are not empty."""
    view: View | None = None
    """The item as it would be sent; None if nothing would be sent."""


@dataclass(slots=True)
class Applied:
    """What became of the pending lines of a plan."""

    published: int = 0
    outdated: list[tuple[PlanLine, PlanLine]] = field(default_factory=list)
    """(line of the plan, line of now): not carried out, since something has changed in between."""
    rejected: dict[str, str] = field(default_factory=dict)
    """Input ID → the reason why Clarify rejected its item."""


def plan_items(
    items: Items, wanted: Mapping[str, SignalMetadata], settled: Mapping[str, str]
) -> Iterator[Sequence[PlanLine]]:
    """Yields the plan in parts, sorted by input ID. Raises `ClarifyError`.

    `wanted` has the signals that are to be published. `settled` has the digest of the metadata that a connector has
    saved, or that Clarify has rejected, by input ID: this metadata is not saved again.
    """
    for part in _requests(sorted(wanted)):
        found = items.look_up(part)
        yield [_line(input_id, wanted[input_id], found.get(input_id), settled.get(input_id)) for input_id in part]


def apply_plan(
    items: Items,
    wanted: Mapping[str, SignalMetadata],
    settled: Mapping[str, str],
    plan: Collection[PlanLine],
    progress: Callable[[int], object] = lambda _: None,
    chance: Callable[[], float] = random.random,
) -> Applied:
    """Carries out the pending lines of a plan; `wanted` and `settled` are as for `plan_items`.

    `progress` is called with the number of lines that are done. Raises `ApplyError` if Clarify takes no requests; a
    later call with a new plan goes on with the rest.
    """
    applied = Applied()
    lines = {line.input_id: line for line in plan if line.status in PENDING}
    left = deque(_requests(lines))
    batches = Batches()
    while left or batches.suspects():
        searches = bool(batches.suspects())
        part = [key for key in (batches.suspects() or left.popleft()) if key in lines]
        try:
            ready = _still_so(items, wanted, settled, {key: lines[key] for key in part}, applied)
        except ClarifyError as error:
            raise ApplyError(error, applied) from error
        sent = {line.signal: line.view for line in ready if line.signal is not None and line.view is not None}
        keys = {line.signal: line.input_id for line in ready if line.signal is not None}
        rejected: Mapping[str, str] = {}
        try:
            if sent:
                items.publish(sent)
        except ClarifyError as error:
            verdict = batches.failed(list(keys.values()), error, "itemsBySignal", keys, chance)
            if verdict.delay:
                raise ApplyError(error, applied) from error
            rejected = verdict.rejected
            done = [key for key in part if key not in keys.values() or key in rejected]
            if rejected and not searches:
                left.appendleft(tuple(part))  # what is not done of it
        else:
            batches.succeeded()
            applied.published += len(sent)
            done = part
        applied.rejected.update(rejected)
        for key in done:
            del lines[key]
        progress(len(done))
    return applied


class ApplyError(Exception):
    """Clarify has refused a request, or did not answer. `applied` has what was done before."""

    def __init__(self, error: ClarifyError, applied: Applied) -> None:
        super().__init__(str(error))
        self.applied = applied


def _requests(inputs: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yields the signals of each request."""
    left = iter(inputs)
    while part := tuple(islice(left, PUBLISHED_SIGNALS)):
        yield part


def _still_so(
    items: Items,
    wanted: Mapping[str, SignalMetadata],
    settled: Mapping[str, str],
    lines: Mapping[str, PlanLine],
    applied: Applied,
) -> list[PlanLine]:
    """Returns the lines that are still right; the other ones are noted as outdated."""
    ready = []
    for part in plan_items(items, {key: wanted[key] for key in lines}, settled):
        for now in part:
            if now == lines[now.input_id]:
                ready.append(now)
            else:
                applied.outdated.append((lines[now.input_id], now))
    return ready


def _line(input_id: str, wanted: SignalMetadata, found: FoundSignal | None, settled: str | None) -> PlanLine:
    assert wanted.item is not None  # noqa: S101 - only such signals are asked for
    if found is None:
        return PlanLine(input_id, LineStatus.NO_SIGNAL, "Clarify creates the signal with its first sample")
    line = PlanLine(input_id, LineStatus.UNCHANGED, signal=found.id, item=found.item)
    try:
        info, unsaved = _unsaved(input_id, wanted, found, settled)
        future = found if info is None else replace(found, attributes={"input": input_id, **info.to_wire()})
        decision = decide(future, wanted.item)
    except ValueError as error:
        return replace(line, status=LineStatus.INVALID, reason=str(error))
    return _decided(line, found, wanted.item, decision, unsaved)


def _decided(
    line: PlanLine, found: FoundSignal, wanted: ItemMetadata, decision: Decision, unsaved: Collection[str]
) -> PlanLine:
    status = _LINE_OF[decision.action]
    if status not in PENDING:
        reason = _why_left_alone(found, wanted) if status is LineStatus.LEFT_ALONE else ""
        return replace(line, status=status, reason=reason)
    if unsaved:
        reason = f"the connector saves the signal's metadata first: {', '.join(sorted(unsaved))}"
        return replace(line, status=LineStatus.WAITS, reason=reason, changes=changes(found, decision.view))
    unseen = "the connector may not read the item" if found.item is not None and found.item_attributes is None else ""
    return replace(line, status=status, reason=unseen, changes=changes(found, decision.view), view=decision.view)


def _unsaved(
    input_id: str, wanted: SignalMetadata, found: FoundSignal, settled: str | None
) -> tuple[SignalInfo | None, Collection[str]]:
    """(metadata that the connector would save, the attributes that this would change); (None, ()) if there is none.

    Raises ValueError if the metadata breaks a documented rule.
    """
    if not wanted.saved:
        return None, ()
    info, digest = as_saved(input_id, wanted)
    if digest == settled:
        return None, ()
    unsaved = save_changes(found.attributes, info)
    return (info, unsaved) if unsaved else (None, ())


def _why_left_alone(found: FoundSignal, wanted: ItemMetadata) -> str:
    if wanted.overwrite is Overwrite.NEVER:
        return "publish.overwrite is never"
    if found.item_attributes is None:
        return "the connector may not read the item, so it cannot tell whether a person has changed it"
    return "a person or another client has changed or made the item"
