"""How each fault of the schedule is begun and lifted. One thread does it all, in order of time."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    NewPartitions,
    ResourceType,
)

from tests.chaos.harness import lies
from tests.chaos.harness.damage import Damage, flip
from tests.chaos.harness.messages import ANEW_TOPIC, HELD_TOPIC, KAFKA_TOPIC
from tests.chaos.harness.proxy import FaultProxy
from tests.chaos.harness.publish_kafka import ANEW
from tests.chaos.harness.retired import Retired
from tests.chaos.harness.schedule import CUTS, KILLS, MOSQUITTO, MQTT, Fault
from tests.chaos.harness.stage import Member, Stage, address, rule
from tests.waiting import wait_until

_SLOW_BYTES: Final = 4_000
_POISON: Final = 40
_BURST: Final = 60
"""Records that are written at once: before a topic goes, after it came again, and into a new partition."""
_TRANSACTION_SECONDS: Final = 3
_SAVE_MARGIN: Final = 2.0
"""Seconds before Mosquitto's last save from which on nothing is taken for saved."""
_ARRIVAL_SECONDS: Final = 180
_BACKLOG: Final = 100
_BACKLOG_SECONDS: Final = 5.0
_RESTART_AFTER: Final = 1.0
_CLOCK_JUMPS: Final = (-86_400, -1_800, -90, 90, 1_800, 86_400)


class Faults:
    """Begins and lifts faults on a stage, and restarts what ended by itself, as a supervisor would."""

    def __init__(self, stage: Stage, tell: Callable[[str], None]) -> None:
        self._stage = stage
        self._tell = tell
        self._restart_at: dict[str, float] = {}
        self.kills = 0
        self.cuts = 0
        self.counts: Counter[str] = Counter()
        self.damages: list[Damage] = []
        self.retired: list[Retired] = []
        self._anew_us = 0
        """When the topic that is made anew was made last, in µs since the epoch."""
        self._hanging: Producer | None = None
        self._killed_at = self._saved_at = 0.0

    # -- begin and lift ---------------------------------------------------------------------------

    def begin(self, fault: Fault) -> None:
        """Let it happen. What is over at once is lifted when this returns."""
        self.counts[fault.kind] += 1
        self.kills += fault.kind in KILLS
        self.cuts += fault.kind in CUTS
        self._tell(f"cycle {fault.cycle + 1}: {fault} begins")
        member = self._stage.members.get(fault.target)
        getattr(self, f"_begin_{fault.kind}", self._begin_on_clarify)(fault, member)

    def lift(self, fault: Fault) -> None:
        """Let it be over."""
        member = self._stage.members.get(fault.target)
        lift = getattr(self, f"_lift_{fault.kind}", None)
        if lift is not None:
            lift(fault, member)
            self._tell(f"cycle {fault.cycle + 1}: {fault} is over")

    def supervise(self) -> None:
        """Start again what ended by itself."""
        if self._stage.mosquitto.ended():
            self._tell("Mosquitto ended by itself")
            self._begin_mosquitto_kill(None, None)
            self._lift_mosquitto_kill(None, None)
        for member in self._stage.members.values():
            if member.away or member.process.running():
                continue
            due = self._restart_at.get(member.name)
            if due is None:
                status = member.process.wait(1)
                member.exits.append(status)
                last = member.process.log().strip().rpartition("\n")[2]
                self._tell(f"{member.name} ended by itself with {status}: {last[:300]}")
                self._restart_at[member.name] = time.monotonic() + _RESTART_AFTER
            elif time.monotonic() >= due:
                del self._restart_at[member.name]
                member.process.start(ready=False)

    def lift_all(self) -> None:
        """Whatever is still in force, over."""
        for member in self._stage.members.values():
            if member.stopped:
                self._lift_stop(None, member)
            member.broker.mend()
            member.clarify.mend()
            if member.second:
                member.second.mend()
            if member.registry:
                member.registry.mend()
            if member.clock:
                member.clock.jump(0)
            if member.disk:
                member.disk.free()
        self._clear_faults()

    def _clear_faults(self) -> None:
        for sandbox in self._stage.sandboxes:
            sandbox.clear_faults()

    # -- processes --------------------------------------------------------------------------------

    def _begin_kill_mqtt(self, _fault: Fault, member: Member) -> None:
        self._kill(member)
        member.process.start(ready=False)

    _begin_kill_kafka = _begin_kill_mqtt

    def _kill(self, member: Member) -> None:
        member.stopped = False
        self._restart_at.pop(member.name, None)
        member.process.kill()

    def _begin_stop(self, _fault: Fault, member: Member) -> None:
        if member.process.running():
            os.kill(member.process.pid, signal.SIGSTOP)
            member.stopped = True

    def _lift_stop(self, _fault: Fault | None, member: Member) -> None:
        if member.stopped and member.process.running():
            os.kill(member.process.pid, signal.SIGCONT)
        member.stopped = False

    def _begin_rebalance(self, _fault: Fault, member: Member) -> None:
        """It leaves its group in order, and comes back later."""
        self._restart_at.pop(member.name, None)
        if member.process.running() and member.process.readiness()[0]:  # it has started, and knows what SIGTERM means
            member.away = True
            status = member.process.stop()
            self._tell(f"{member.name} left with {status}")
            if status != 0:
                member.exits.append(status)

    def _lift_rebalance(self, _fault: Fault, member: Member) -> None:
        if member.away:
            member.process.start(ready=False)
            member.away = False

    # -- brokers ----------------------------------------------------------------------------------

    def _begin_mosquitto_kill(self, _fault: Fault | None, _member: Member | None) -> None:
        """In the middle of the traffic. What it has not saved is published again."""
        self._saved_at = self._stage.mosquitto.database.stat().st_mtime
        self._stage.mosquitto.kill()
        self._killed_at = time.time()

    def _lift_mosquitto_kill(self, _fault: Fault | None, _member: Member | None) -> None:
        self._stage.mosquitto.start()
        again = self._stage.publishers["mqtt"].order("again", self._saved_at - _SAVE_MARGIN)[1]
        self._tell(
            f"Mosquitto is back with what it saved {self._killed_at - self._saved_at:.1f} s before; {again} again"
        )

    def _begin_mosquitto_forgets(self, _fault: Fault, _member: Member | None) -> None:
        """Killed, and its file is gone: nobody has a session. Before, all that was published is brought into safety."""
        stage = self._stage
        keys = {(str(name), int(at)) for name, at in stage.publishers["mqtt"].order("hold")[1]}

        def arrived() -> bool:
            self.supervise()
            return all(at in {t for t, _ in stage.samples(name)} for name, at in keys)

        wait_until(arrived, _ARRIVAL_SECONDS, f"what was published before arrives: {keys}", every=0.25)
        stage.mosquitto.kill()
        for left in stage.mosquitto.folder.glob("mosquitto.db*"):
            left.unlink()
        stage.mosquitto.start()

        def connected() -> bool:
            self.supervise()
            return all(self._subscribed(member) for member in stage.sessions())

        wait_until(connected, _ARRIVAL_SECONDS, "the connectors have new sessions", every=0.25)
        subscribed_at = time.time()
        saved = stage.mosquitto.database
        wait_until(lambda: saved.exists() and saved.stat().st_mtime > subscribed_at, 60, "Mosquitto saved them")
        stage.publishers["mqtt"].order("go")
        self._tell("Mosquitto came back without its file; the connectors have new sessions")

    @staticmethod
    def _subscribed(member: Member) -> bool:
        if not member.process.readiness()[0]:
            return False
        return bool(member.process.metrics().get('clarify_connector_mqtt_connected{source="plant"}'))

    def _begin_artemis_kill(self, _fault: Fault, _member: Member | None) -> None:
        """In the middle of the traffic: what it has acknowledged, it has saved."""
        self._stage.artemis.kill()

    def _lift_artemis_kill(self, _fault: Fault, _member: Member | None) -> None:
        self._stage.artemis.start()

    def _begin_kafka_kill(self, _fault: Fault, _member: Member | None) -> None:
        self._stage.kafka.kill()

    def _lift_kafka_kill(self, _fault: Fault, _member: Member | None) -> None:
        self._stage.kafka.start()

    def _begin_mosquitto_rights(self, _fault: Fault, _member: Member | None) -> None:
        """The connectors are cut off, and not let in again. (Mosquitto could throw them out itself, but 2.0.11 ends
        now and then when it has done so: a segmentation fault.)"""
        mosquitto, members = self._stage.mosquitto, list(self._stage.sessions())
        for member in members:
            member.broker.cut()
        wait_until(lambda: not any(mosquitto.has(member.name) for member in members), 60, "Mosquitto knows of the cut")
        mosquitto.reload(("allow_anonymous true", "allow_anonymous false"))
        for member in members:
            member.broker.mend()

    def _lift_mosquitto_rights(self, _fault: Fault, _member: Member | None) -> None:
        self._stage.mosquitto.reload(("allow_anonymous false", "allow_anonymous true"))

    # -- topics, and rights on them ---------------------------------------------------------------

    def _begin_partition_added(self, _fault: Fault, _member: Member | None) -> None:
        """One that has records before anybody sees it."""
        stage = self._stage
        stage.partitions += 1
        grown = NewPartitions(KAFKA_TOPIC, stage.partitions)
        stage.kafka.admin().create_partitions([grown], request_timeout=20)[KAFKA_TOPIC].result(25)
        self._tell(f"{KAFKA_TOPIC} has {stage.publishers['kafka'].order('grow', _BURST)[1]} partitions")

    def _begin_topic_anew(self, fault: Fault, _member: Member | None) -> None:
        """Deleted and created. The one half of the times nobody sees it: there are records that nobody has read, and
        when the group comes back, the new log has grown past its position in the old one."""
        stage, publisher = self._stage, self._stage.publishers["kafka"]
        seen_us = max((at for at, _ in stage.sandbox.samples(f"{ANEW_TOPIC}:{ANEW}")), default=0)
        if seen_us < self._anew_us:  # of a log that nobody saw, nobody could say that it went
            self._tell(f"nothing of the present {ANEW_TOPIC} has arrived yet: it stays")
            return
        unseen = fault.dice < 0.5
        if unseen:
            for member in stage.group():
                member.broker.cut()
        first, after, left = publisher.order("retire", _BURST if unseen else 0)[1:]
        assert left == 0, f"{left} records of {ANEW_TOPIC} were not acknowledged before it was to go"
        read = stage.committed(ANEW_TOPIC)
        deleted_at = time.time()
        admin = stage.kafka.admin()
        admin.delete_topics([ANEW_TOPIC], request_timeout=20)[ANEW_TOPIC].result(25)
        wait_until(lambda: ANEW_TOPIC not in admin.list_topics(timeout=10).topics, 60, "the topic is gone", every=0.1)
        stage.kafka.create_topic(ANEW_TOPIC)
        self._anew_us = time.time_ns() // 1000
        left = publisher.order("anew", _BURST + (after - first if unseen else 0))[1]
        assert left == 0, f"{left} records of the new {ANEW_TOPIC} were not acknowledged"
        if unseen:
            for member in stage.group():
                member.broker.mend()
        marks = frozenset(f"chaos:{ANEW}:{number}" for number in range(first + read, after))
        self.retired.append(Retired(deleted_at, marks))
        self._tell(
            f"{ANEW_TOPIC} was made anew{' while nobody saw it' if unseen else ''}: it had {after - first} records, "
            f"{read} of them settled"
        )

    def _begin_transaction_open(self, fault: Fault, _member: Member | None) -> None:
        """Somebody writes in a transaction, and hangs: nobody may read on, until the broker ends it by its time-out."""
        producer = Producer(
            {"bootstrap.servers": self._stage.kafka.bootstrap, "transactional.id": f"hangs-{fault.cycle}",
             "transaction.timeout.ms": _TRANSACTION_SECONDS * 1000, "log_level": 0}
        )  # fmt: skip
        producer.init_transactions(30)
        producer.begin_transaction()
        for number in range(1 + int(fault.dice * 20)):
            body = {"ts": time.time_ns() // 1000, "id": f"chaos:x{fault.cycle}:{number}", "never": number}
            producer.produce(HELD_TOPIC, json.dumps(body), partition=0)
        assert producer.flush(30) == 0
        self._hanging = producer

    def _lift_transaction_open(self, _fault: Fault, _member: Member | None) -> None:
        self._hanging = None

    def _begin_kafka_rights(self, fault: Fault, member: Member) -> None:
        """It may not read any topic, or may not be in any group."""
        forbidden = _forbidden(fault, member)
        self._tell(f"{member.name} may not read any {forbidden.restype.name.lower()}")
        for done in self._stage.kafka.admin().create_acls([forbidden], request_timeout=20).values():
            done.result(25)

    def _lift_kafka_rights(self, fault: Fault, member: Member) -> None:
        wanted = [_forbidden(fault, member, AclBindingFilter)]
        for given in self._stage.kafka.admin().delete_acls(wanted, request_timeout=20).values():
            given.result(25)

    # -- ways -------------------------------------------------------------------------------------

    def _begin_cut_broker(self, _fault: Fault, member: Member) -> None:
        member.broker.cut()

    def _begin_cut_clarify(self, fault: Fault, member: Member) -> None:
        _way(fault, member).cut()

    def _begin_hole_broker(self, _fault: Fault, member: Member) -> None:
        member.broker.swallow()

    def _begin_hole_clarify(self, fault: Fault, member: Member) -> None:
        _way(fault, member).swallow()

    def _begin_slow_broker(self, fault: Fault, member: Member) -> None:
        member.broker.slow_down(_SLOW_BYTES * (1 + fault.dice))

    def _begin_slow_clarify(self, fault: Fault, member: Member) -> None:
        _way(fault, member).slow_down(_SLOW_BYTES * (1 + fault.dice))

    def _begin_lying_broker(self, fault: Fault, member: Member) -> None:
        member.broker.lie(lies.MQTT if member.name in MQTT else lies.KAFKA, fault.dice)

    def _begin_lying_clarify(self, fault: Fault, member: Member) -> None:
        _way(fault, member).lie(lies.HTTP, fault.dice)

    def _begin_lying_registry(self, fault: Fault, member: Member) -> None:
        assert member.registry is not None
        member.registry.lie(lies.HTTP, fault.dice)

    def _lift_lying_registry(self, _fault: Fault, member: Member) -> None:
        assert member.registry is not None
        member.registry.mend()

    def _begin_registry_away(self, fault: Fault, member: Member) -> None:
        assert member.registry is not None
        if fault.dice < 0.5:
            member.registry.cut()
        else:
            member.registry.swallow()

    _lift_registry_away = _lift_lying_registry

    def _begin_lost_answer(self, _fault: Fault, member: Member) -> None:
        self._break_answers(member, 0.0, "answer_lost")

    def _begin_half_answer(self, fault: Fault, member: Member) -> None:
        self._break_answers(member, fault.dice, "half_answer")

    def _break_answers(self, member: Member, share: float, kind: str) -> None:
        """On the way to one member, whatever is answered (it may be a token); and at Clarify, the next insert's."""
        member.clarify.break_answers(2, share)
        for sandbox in self._stage.sandboxes:
            sandbox.faults([{"method": "insert", "times": 1, "kind": kind}])

    def _mend_answers(self, fault: Fault, member: Member) -> None:
        self._mend_clarify(fault, member)
        self._clear_faults()

    def _mend_broker(self, _fault: Fault, member: Member) -> None:
        member.broker.mend()

    def _mend_clarify(self, _fault: Fault, member: Member) -> None:
        member.clarify.mend()
        if member.second:
            member.second.mend()

    _lift_cut_broker = _lift_hole_broker = _lift_slow_broker = _lift_lying_broker = _mend_broker
    _lift_cut_clarify = _lift_hole_clarify = _lift_slow_clarify = _lift_lying_clarify = _mend_clarify
    _lift_lost_answer = _lift_half_answer = _mend_answers

    # -- Clarify ----------------------------------------------------------------------------------

    def _begin_on_clarify(self, fault: Fault, _member: Member | None) -> None:
        rule: dict[str, object] = {
            "status_429": {"kind": "status", "status": 429, "retry_after": 1 + round(fault.dice)},
            "status_503": {"kind": "status", "status": 503},
            "rpc_32015": {"kind": "rpc_error", "code": -32015},
            "throttled": {"kind": "latency", "seconds": 1 + 2 * fault.dice},
            "expired_token": {"kind": "revoke_tokens"},
        }[fault.kind]  # type: ignore[assignment]
        times = 1 if fault.kind == "expired_token" else 1 + int(fault.dice * 4)
        one = int(fault.dice * 8) % 2  # the other integration goes on
        self._stage.sandboxes[one].faults([{"method": "insert", "times": times, **rule}])

    def _clear(self, _fault: Fault, _member: Member | None) -> None:
        self._clear_faults()

    _lift_status_429 = _lift_status_503 = _lift_rpc_32015 = _lift_throttled = _clear

    # -- machines and data ------------------------------------------------------------------------

    def _begin_clock_jump(self, fault: Fault, member: Member) -> None:
        assert member.clock is not None
        seconds = _CLOCK_JUMPS[int(fault.dice * len(_CLOCK_JUMPS))]
        self._tell(f"{member.name}'s clock jumps by {seconds} s")
        member.clock.jump(seconds)

    def _lift_clock_jump(self, _fault: Fault, member: Member) -> None:
        assert member.clock is not None
        member.clock.jump(0)

    def _begin_full_disk(self, _fault: Fault, member: Member) -> None:
        assert member.disk is not None
        member.disk.fill()

    def _lift_full_disk(self, _fault: Fault, member: Member) -> None:
        assert member.disk is not None
        member.disk.free()

    def _begin_damaged_journal(self, fault: Fault, member: Member) -> None:
        """A backlog, a crash, a flipped bit, a start."""
        member.clarify.swallow()
        until = time.monotonic() + _BACKLOG_SECONDS
        while self._unread(member) <= _BACKLOG and time.monotonic() < until:  # it may be busy with something else
            self.supervise()
            time.sleep(0.05)
        member.away = True
        self._kill(member)
        damage = flip(member.journal, fault.dice, self._stage.folder)
        self._tell(f"{member.name}: {damage.where}, is flipped while it is down")
        self.damages.append(damage)
        member.clarify.mend()
        member.process.start(ready=False)
        member.away = False

    @staticmethod
    def _unread(member: Member) -> float:
        if not member.process.running() or not member.process.readiness()[0]:
            return 0
        return member.process.metrics().get("clarify_connector_messages_in_memory", 0)

    def _begin_poison(self, fault: Fault, _member: Member | None) -> None:
        self._stage.publishers["mqtt" if fault.target == MOSQUITTO else "kafka"].order("poison", _POISON)


def _way(fault: Fault, member: Member) -> FaultProxy:
    """The way to one of the member's integrations: the other one goes on."""
    return member.second if member.second is not None and int(fault.dice * 8) % 2 else member.clarify


def _forbidden(fault: Fault, member: Member, made: type[AclBinding] = AclBinding) -> AclBinding:
    kind = ResourceType.TOPIC if fault.dice < 0.5 else ResourceType.GROUP
    return rule(kind, address(member.name), AclOperation.READ, AclPermissionType.DENY, made)
