"""Which fault begins when: a pure function of the seed.

Every cycle has two kills of a connector and two cuts; the other kinds are dealt out like cards, so that all of them
have their turn before one comes again. Two faults that touch the same thing (a process, a way, a broker) never
overlap: what a fault does would otherwise depend on the other. Everything else overlaps as chance has it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

AT_MOSQUITTO: Final = ("m0", "m1")
"""m0 has its journal on disk, m1 has it in memory."""
AT_ARTEMIS: Final = ("m2",)
MQTT: Final = (*AT_MOSQUITTO, *AT_ARTEMIS)
"""Members with an MQTT session of their own."""
MOST_KAFKA: Final = 3
CLARIFY: Final = "clarify"
MOSQUITTO: Final = "mosquitto"
ARTEMIS: Final = "artemis"
KAFKA: Final = "kafka"

ON_PROCESSES: Final = ("stop",)
ON_BROKERS: Final = ("mosquitto_kill", "mosquitto_forgets", "mosquitto_rights", "artemis_kill", "kafka_kill")
ON_TOPICS: Final = ("topic_anew", "partition_added", "transaction_open")
ON_RIGHTS: Final = ("kafka_rights",)
ON_WAYS: Final = (
    "hole_broker",
    "hole_clarify",
    "slow_broker",
    "slow_clarify",
    "lost_answer",
    "half_answer",
    "lying_broker",
    "lying_clarify",
    "lying_registry",
    "registry_away",
)
ON_CLARIFY: Final = ("status_429", "status_503", "rpc_32015", "throttled", "expired_token")
ON_MACHINES: Final = ("clock_jump", "full_disk", "damaged_journal")
ON_DATA: Final = ("poison", "rebalance")
ALWAYS: Final = ("kill_mqtt", "kill_kafka", "cut_broker", "cut_clarify")
DEALT: Final = (
    *ON_PROCESSES, *ON_BROKERS, *ON_TOPICS, *ON_RIGHTS, *ON_WAYS, *ON_CLARIFY, *ON_MACHINES, *ON_DATA
)  # fmt: skip
KINDS: Final = (*ALWAYS, *DEALT)
KILLS: Final = frozenset(
    ("kill_mqtt", "kill_kafka", "mosquitto_kill", "mosquitto_forgets", "artemis_kill", "kafka_kill", "damaged_journal")
)
CUTS: Final = frozenset(("cut_broker", "cut_clarify"))

_LEAST_A_CYCLE: Final = 3
_MOST_A_CYCLE: Final = 10
_AT_ONCE: Final = frozenset(
    (
        "kill_mqtt",
        "kill_kafka",
        "mosquitto_forgets",
        "damaged_journal",
        "poison",
        "expired_token",
        "topic_anew",
        "partition_added",
    )
)
"""These are over when they have been done."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that fails."""

    cycle: int
    kind: str
    target: str
    """A member, a broker, or Clarify."""
    begin: float
    """Seconds after the start of its cycle."""
    end: float
    dice: float = 0.5
    """From 0 to 1, for whatever else the fault leaves to chance."""
    touches: frozenset[str] = field(default=frozenset())

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


def plan(
    seed: int,
    cycles: int,
    seconds: float,
    *,
    kafka_members: int = MOST_KAFKA,
    kinds: Collection[str] = KINDS,
    left_out: Collection[str] = (),
    alone: bool = False,
) -> list[list[Fault]]:
    """The faults of each cycle, by their beginning. The same arguments give the same plan.

    `kinds` limits what happens to these; `left_out` is what this machine cannot do. With `alone` each cycle has one
    fault, each kind in its turn, so that what is measured belongs to it.
    """
    chance = random.Random(seed)
    allowed = [kind for kind in KINDS if kind in kinds and kind not in left_out]
    always: list[str] = [kind for kind in ALWAYS if kind in allowed]
    cards: list[str] = [kind for kind in DEALT if kind in allowed]
    members = [f"k{i}" for i in range(kafka_members)]
    if alone:
        turns = [_cycle(chance, cycle, [allowed[cycle % len(allowed)]], seconds, members) for cycle in range(cycles)]
        return [[replace(fault, begin=0.0, end=fault.end - fault.begin) for fault in turn] for turn in turns]
    hand: list[str] = []
    found = []
    for cycle in range(cycles):
        wanted = [*always]
        for _ in range(min(len(cards), max(_LEAST_A_CYCLE, min(_MOST_A_CYCLE, math.ceil(len(cards) / cycles))))):
            if not hand:
                hand = chance.sample(cards, len(cards))
            wanted.append(hand.pop())
        chance.shuffle(wanted)
        found.append(_cycle(chance, cycle, wanted, seconds, members))
    return found


def _cycle(chance: random.Random, number: int, kinds: Sequence[str], seconds: float, kafka: list[str]) -> list[Fault]:
    placed: list[Fault] = []
    for kind in kinds:
        target = _target(chance, kind, kafka)
        touches = _touches(kind, target)
        begin = chance.uniform(0, seconds * 0.6)
        lasts = 0.0 if kind in _AT_ONCE else chance.uniform(0.15, 0.3) * seconds
        rivals = [fault for fault in placed if fault.touches & touches]
        while rival := next((r for r in rivals if begin <= r.end + 0.5 and r.begin <= begin + lasts + 0.5), None):
            begin = rival.end + 0.6
        placed.append(Fault(number, kind, target, begin, begin + lasts, chance.random(), touches))
    return sorted(placed, key=lambda fault: fault.begin)


def _target(chance: random.Random, kind: str, kafka: list[str]) -> str:
    members = {
        "kill_kafka": kafka, "rebalance": kafka, "kafka_rights": kafka, "kill_mqtt": MQTT, "poison": (MOSQUITTO, KAFKA)
    }  # fmt: skip
    if kind in ON_BROKERS:
        return kind.partition("_")[0]
    if kind in ON_CLARIFY:
        return CLARIFY
    if kind in ON_TOPICS:
        return KAFKA
    if kind in (*ON_MACHINES, "lying_registry", "registry_away"):
        return "m0"
    return chance.choice(members.get(kind, (*MQTT, *kafka)))


def broker_of(member: str) -> str:
    """The broker that a member reads from."""
    return MOSQUITTO if member in AT_MOSQUITTO else ARTEMIS if member in AT_ARTEMIS else KAFKA


def _touches(kind: str, target: str) -> frozenset[str]:
    ways = {way: f"{target}>{way}" for way in ("broker", "clarify")}
    everything = (f"{member}{way}" for member in AT_MOSQUITTO for way in ("", ">broker", ">clarify"))
    special = {
        "mosquitto_forgets": (MOSQUITTO, CLARIFY, *everything),  # all that was published must be in safety before
        "mosquitto_rights": (MOSQUITTO,),
        "kafka_kill": (KAFKA, *ON_TOPICS, *ON_RIGHTS),
        "topic_anew": (KAFKA, kind),  # the ways to Kafka are its own
        "partition_added": (kind,),
        "transaction_open": (kind,),
        "kafka_rights": (kind,),
        "mosquitto_kill": (MOSQUITTO, *(f"{member}>broker" for member in AT_MOSQUITTO)),
        "artemis_kill": (ARTEMIS,),
        "damaged_journal": (target, *ways.values(), CLARIFY),
        "full_disk": (target, MOSQUITTO),
        "poison": (),
        "lying_registry": (f"{target}>registry",),
        "registry_away": (f"{target}>registry",),
    }
    if kind in special:
        return frozenset(special[kind])
    if kind.endswith("_broker"):
        return frozenset((ways["broker"], broker_of(target)))
    if kind.endswith("_answer"):
        return frozenset((ways["clarify"], CLARIFY))
    if kind.endswith("_clarify"):
        return frozenset((ways["clarify"],))
    return frozenset((target,))
