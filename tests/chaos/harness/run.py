"""A run from start to verdict."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from tests.chaos.harness.damage import may_be_missing
from tests.chaos.harness.evidence import letter_marks, read_ledger, stored_samples
from tests.chaos.harness.faults import Faults
from tests.chaos.harness.machine import TinyDisk, faketime_library
from tests.chaos.harness.messages import ANEW_TOPIC, HELD_TOPIC, KAFKA_TOPIC, Message, read_truth
from tests.chaos.harness.proxy import HOST
from tests.chaos.harness.publish_kafka import HELD
from tests.chaos.harness.retired import Retired, gone_with_topic
from tests.chaos.harness.schedule import (
    ARTEMIS,
    AT_ARTEMIS,
    AT_MOSQUITTO,
    CLARIFY,
    KAFKA,
    KINDS,
    MOSQUITTO,
    MQTT,
    ON_TOPICS,
    Fault,
    plan,
)
from tests.chaos.harness.stage import PARTITIONS, Member, Stage, address, belongs
from tests.chaos.harness.verdict import Lifted, Result, Stored, Verdict, judge, resumed

_TICK: Final = 0.1
_KAFKA_STREAMS: Final = tuple(f"p{partition}" for partition in range(PARTITIONS))
_DRAIN_SECONDS: Final = 300.0
"""An MQTT source that suspects a take-over waits for two minutes; sending waits for half a one at most."""
_WELL_SECONDS: Final = 60.0
_SHOWN: Final = 5


def run(
    folder: Path,
    tell: Callable[[str], None],
    *,
    seed: int,
    cycles: int,
    seconds: float,
    kafka_members: int,
    kinds: Collection[str] = KINDS,
    alone: bool = False,
) -> Result:
    """Everything, in this folder, whose logs and truth stay there."""
    began = time.monotonic()
    left_out = _impossible(folder, kinds)
    for kind, why in left_out.items():
        tell(f"LEFT OUT: {kind}: {why}")
    cycles_planned = plan(
        seed, cycles, seconds, kafka_members=kafka_members, kinds=kinds, left_out=left_out.keys(), alone=alone
    )
    stage = Stage(
        folder,
        seed,
        kafka_members=kafka_members,
        with_clock="clock_jump" in kinds and "clock_jump" not in left_out,
        with_disk="full_disk" in kinds and "full_disk" not in left_out,
    )
    try:
        stage.start(tell)
        faults = Faults(stage, tell)
        lifted: list[Lifted] = []
        twice: dict[str, list[int]] = {}
        for number, planned in enumerate(cycles_planned, 1):
            before = _duplicates(stage)
            lifted += _cycle(faults, planned, seconds)
            if len(planned) == 1:
                twice.setdefault(planned[0].kind, []).append(_duplicates(stage) - before)
            tell(f"cycle {number} of {cycles} is over: {stage.count_samples()} samples stored")
        faults.lift_all()
        tell("no fault any more")
        written = {name: publisher.order("finish") for name, publisher in stage.publishers.items()}
        truth = [message for path in stage.truths.values() for message in read_truth(path)]
        tell(f"{len(truth)} messages are published; waiting until all have arrived")
        drained = time.monotonic()
        _wait_for_all(stage, faults, truth)
        drained = time.monotonic() - drained
        problems = _unwell(stage, faults)
        problems += _stop(stage, tell)
        if written["kafka"][2] or written["kafka"][3]:  # not acknowledged, errors
            problems.append(f"Kafka did not acknowledge everything: {written['kafka'][2:]}")
        duplicates = _duplicates(stage)
        stored = _stored(stage)
        problems += _misplaced(stage)
        letters = [mark for member in stage.members.values() for mark in letter_marks(member.dead_letters)]
        ledgers = {name: read_ledger([stage.members[name].process]) for name in MQTT}
        ledgers[KAFKA] = read_ledger([member.process for member in stage.group()])
        allowed = may_be_missing(faults.damages, ledgers["m0"])
        gone = gone_with_topic(
            faults.retired, ledgers[KAFKA], {message.mark for message in truth if message.key in stored}
        )
        verdict = judge(truth, stored, letters, [allowed, *gone])
        balanced, complaints = _balanced(ledgers, allowed.reported)
        problems += cried(verdict, faults.retired, ledgers[KAFKA])
        problems += complaints + unsettled(ledgers[KAFKA], written["kafka"][1])
        _explain(verdict, ledgers, folder, tell)
        return Result(
            seed=seed,
            cycles=cycles,
            published=verdict.published,
            inserted=verdict.inserted,
            dead_lettered=verdict.dead_lettered,
            lost=len(verdict.lost),
            lost_and_reported=len(verdict.lost_and_reported),
            invented=len(verdict.invented),
            duplicates_sent=duplicates,
            published_again=written["mqtt"][1],
            kills=faults.kills,
            cuts=faults.cuts,
            balanced=balanced,
            seconds=round(time.monotonic() - began, 1),
            drained_seconds=round(drained, 1),
            faults=dict(sorted(faults.counts.items())),
            left_out=left_out,
            duplicates_after={kind: round(sum(found) / len(found)) for kind, found in sorted(twice.items())},
            resumed=resumed(lifted, stored, truth),
            exits=sum(len(member.exits) for member in stage.members.values()),
            problems=problems,
            folder=str(folder),
        )
    finally:
        stage.close()


def _impossible(folder: Path, kinds: Collection[str]) -> dict[str, str]:
    """Faults that this machine cannot have, and why."""
    found = {}
    if "clock_jump" in kinds and faketime_library() is None:
        found["clock_jump"] = "there is no libfaketime (Debian: apt-get install faketime)"
    if "full_disk" in kinds and not TinyDisk.possible(folder):
        found["full_disk"] = "mounting a tiny disk takes root"
    if "kafka_rights" in kinds and address("k0") == HOST:
        found["kafka_rights"] = "a member of the group has no address of its own: 127.0.0.11 is not this machine"
    return found


def _cycle(faults: Faults, planned: list[Fault], seconds: float) -> list[Lifted]:
    """Play one cycle; returns what was lifted when. Where something took longer than planned, what follows keeps its
    length and its distance from whatever touches the same."""
    waiting = list(planned)
    in_force: list[tuple[Fault, float, int]] = []
    lifted: list[Lifted] = []
    began = time.monotonic()
    while waiting or in_force or time.monotonic() - began < seconds:
        now = time.monotonic() - began
        for fault, over, since_us in [one for one in in_force if one[1] <= now]:
            faults.lift(fault)
            in_force.remove((fault, over, since_us))
            lifted.append(Lifted(fault.kind, since_us, time.time_ns() // 1000, _streams(fault)))
        taken = frozenset().union(*(fault.touches for fault, _, _ in in_force))
        due = next((fault for fault in waiting if fault.begin <= now and not fault.touches & taken), None)
        if due is not None:
            waiting.remove(due)
            since_us = time.time_ns() // 1000
            faults.begin(due)
            in_force.append((due, time.monotonic() - began + due.end - due.begin, since_us))
        faults.supervise()
        time.sleep(_TICK)
    return lifted


def _duplicates(stage: Stage) -> int:
    """Samples that were sent although they were stored already."""
    return sum(int(sandbox.stats()["samples"]) for sandbox in stage.sandboxes) - stage.count_samples()


def _stored(stage: Stage) -> Stored:
    """The samples of both integrations."""
    first, second = map(stored_samples, stage.sandboxes)
    return {**first, **second}


def _misplaced(stage: Stage) -> list[str]:
    """The inputs that are in the other integration than where they belong."""
    return [
        f"{key} is in the integration {place}"
        for place, sandbox in enumerate(stage.sandboxes)
        for key in sandbox.signals()
        if belongs(key) != place
    ]


def _streams(fault: Fault) -> tuple[str, ...]:
    """The streams that a fault holds up."""
    if fault.kind in ("poison", *ON_TOPICS):
        return ()
    if fault.target in MQTT:
        return (fault.target,)
    if fault.target == CLARIFY:
        return (*MQTT, *_KAFKA_STREAMS)
    return {MOSQUITTO: AT_MOSQUITTO, ARTEMIS: AT_ARTEMIS}.get(fault.target, _KAFKA_STREAMS)


def _wait_for_all(stage: Stage, faults: Faults, truth: list[Message]) -> None:
    """Until all has arrived that no damage can have cost, or until it takes too long."""
    damaged = {mark for accident in (*faults.damages, *faults.retired) for mark in accident.marks}
    keys = {message.key for message in truth if message.key and message.mark not in damaged}
    poison = {message.mark for message in truth if message.key is None and message.mark not in damaged}
    paths = [member.dead_letters for member in stage.members.values()]
    deadline = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < deadline:
        faults.supervise()
        if (
            stage.count_samples() >= len(keys)
            and not keys - _stored(stage).keys()
            and not poison - {mark for path in paths for mark in letter_marks(path)}
        ):
            return
        time.sleep(0.5)


def _unwell(stage: Stage, faults: Faults) -> list[str]:
    """What is not well in the end, when all has arrived: members that are not ready, or that see a lag."""
    deadline = time.monotonic() + _WELL_SECONDS
    while problems := [problem for member in stage.members.values() for problem in _ails(member)]:
        if time.monotonic() > deadline:
            break
        faults.supervise()
        time.sleep(0.5)
    return problems


def _ails(member: Member) -> list[str]:
    try:
        status, found = member.process.readiness()
        lag = member.process.metrics().get('clarify_connector_kafka_lag{source="kafka"}', 0)
    except httpx.TransportError:
        status, found, lag = 0, [], 0
    problems = [] if status == 200 else [f"{member.name}: /readyz is {status} in the end: {'; '.join(found)}"]
    return problems + ([f"{member.name}: a lag of {lag:g} in the end"] if lag else [])


def _stop(stage: Stage, tell: Callable[[str], None]) -> list[str]:
    """Stop all connectors in order; what went wrong."""
    problems = []
    for member in stage.members.values():
        status = member.process.stop() if member.process.running() else None
        if status != 0:
            problems.append(f"{member.name} ended with {status}; see {member.process.log_path}")
    tell("all connectors are stopped")
    return problems


def _balanced(ledgers: Mapping[str, Mapping[str, Any]], reported: int) -> tuple[bool, list[str]]:
    """Whether every account is right. What a damaged journal took, and was reported, is missing in m0's."""
    problems = []
    balanced = True
    for name, ledger in ledgers.items():
        waiting = ledger["messages"]["waiting"]
        if waiting:
            problems.append(f"{name}: {waiting} messages still wait")
        if not ledger["balanced"] and not (name == "m0" and reported):
            balanced = False
            found = [problem for source in ledger["sources"].values() for problem in source["problems"]]
            problems.append(f"{name}: the ledger does not balance: {'; '.join(found[:_SHOWN])}")
    return balanced, problems


def cried(verdict: Verdict, retired: Sequence[Retired], ledger: Mapping[str, Any]) -> list[str]:
    """Losses of Kafka's records that the group's ledger counts and that did not happen: only a topic that was deleted
    took any."""
    may_be_gone = frozenset().union(*(life.marks for life in retired))
    gone = sum(mark in may_be_gone for mark in verdict.lost_and_reported)
    counted = sum(source["expired"] + source.get("unread", 0) for source in ledger["sources"].values())
    return [f"the ledger counts {counted} lost records of Kafka, but {gone} are gone"] if counted > gone else []


def unsettled(ledger: Mapping[str, Any], written: Mapping[str, int]) -> list[str]:
    """Partitions of which the group's ledger does not say that all records are settled, each of them. What was aborted
    leaves a hole, so that only the number of the records counts where somebody else's transactions were."""
    parts = {
        name: part
        for name, part in ledger["sources"]["kafka"]["partitions"].items()
        if not name.startswith(f"{ANEW_TOPIC}[")
    }
    wanted: dict[str, tuple[int, int, list[object]]] = {
        f"{KAFKA_TOPIC}[{stream[1:]}]": (0, records, []) for stream, records in written.items() if stream != HELD
    }
    held = parts.pop(f"{HELD_TOPIC}[0]", None)
    found = {name: (part["first"], part["next"], part["gaps"]) for name, part in parts.items()}
    problems = []
    if held is None or held["first"] or held["gaps"] or held["records"] < written[HELD]:
        problems.append(f"{HELD_TOPIC}[0]: settled {held}, but {written[HELD]} records were written")
    return problems + [
        f"{name}: settled (first, next, gaps) {found.get(name)}, but written {wanted.get(name)}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]


def _explain(verdict: Verdict, ledgers: Mapping[str, Any], folder: Path, tell: Callable[[str], None]) -> None:
    for what in ("lost", "lost_and_reported", "invented"):
        found = getattr(verdict, what)
        if found:
            tell(f"{what}: {len(found)}, for example {', '.join(found[:_SHOWN])}; all are in {folder / what}.txt")
            (folder / f"{what}.txt").write_text("\n".join(found) + "\n")
    (folder / "ledgers.json").write_text(json.dumps(ledgers, indent=1))
