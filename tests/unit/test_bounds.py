"""What publishers choose (topics, keys, paths, sizes) takes no more room than is declared, and is accounted for.

The parts one by one; `tests/chaos/test_hostile_publisher.py` has them all together.
"""

from __future__ import annotations

import io
import socket
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from benchmarks.flood import packet
from connector.ledger.account import Commit, Counts, Tallies, Tally
from connector.ledger.ledger_lines import LONGEST_TOPIC, OTHER_TOPICS
from connector.ledger.progress import Progress
from connector.ledger.source_file import SourceFile
from connector.ledger.statement import read_statement
from connector.mapping import topic_plans
from connector.mapping.mapper import Mapper
from connector.mapping.section import MappingSection
from connector.mapping.signals.input_ids import CLAIM_BYTES, InputIds, Origin, Unclaimed
from connector.mapping.signals.signal_guard import GuardSettings, SignalGuard
from connector.metadata import new_signals as new_signals_module
from connector.metadata.new_signals import NewSignalGate
from connector.observe.logs import LINES_A_MINUTE, Bounded, configure_logs
from connector.records import Chunk, Mapped, Reason, SignalMetadata
from connector.sources.journal.journal import batch_bytes
from connector.sources.mqtt.agreement import Agreement
from connector.sources.mqtt.bounded_client import BoundedClient
from connector.sources.mqtt.packets import AROUND_PAYLOAD, Publish
from connector.state.state import State, approve
from tests.in_process import left_as_it_was
from tests.scripted import Clock
from tests.unit.records import ARRIVAL, record

# -- input IDs -------------------------------------------------------------------------------------


def test_whose_an_id_is_is_remembered_for_so_many_and_no_more() -> None:
    ids = InputIds({}, lambda _: set(), most=2)
    given = [ids.assign(Origin("s", topic, "v"), f"{topic}:v") for topic in "abc"]
    assert given == ["a:v", "b:v", "c:v"]
    assert [type(each) is Unclaimed for each in given] == [False, False, True]
    assert len(ids) == len(ids.new_claims) == 2
    assert type(ids.assign(Origin("s", "a", "v"), "a:v")) is str  # what is known stays known


def test_long_origins_take_the_room_of_many() -> None:
    most = 100
    ids = InputIds({}, lambda _: set(), most=most)
    for i in range(most):
        ids.assign(Origin("s", f"{i}/".ljust(65_535, "x"), "v"), str(i))
    assert len(ids) == most * CLAIM_BYTES // 65_536
    assert sum(len(origin.topic) for _, origin in ids.new_claims) <= most * CLAIM_BYTES


def test_of_an_id_that_nobody_remembers_no_sample_leaves_whatever_the_guard_allows() -> None:
    mapper = Mapper(max_claims=1)
    guard = SignalGuard(GuardSettings(max_signals=10), ())
    found = [guard.check(mapper.map("s", record(topic=topic))) for topic in "aba"]
    assert [len(each.samples) for each in found] == [1, 0, 1]
    assert found[1].rejects[0].reason is Reason.SIGNAL_HELD
    assert "no room to remember its origin" in found[1].rejects[0].message
    assert not guard.held()


def test_a_record_whose_plans_were_just_forgotten_is_mapped_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_plans, "_PLANS_BYTES", 1)
    rules = [{"topic": "#", "when": {"kind": "a"}}]
    section = MappingSection.model_validate({"rules": rules, "unmatched": "map"})
    found = Mapper(section.compile(), unmatched="map").map("s", record())
    assert found.samples == [("t:v", ARRIVAL, 1)]


def test_states_of_such_a_signal_are_not_learned() -> None:
    section = MappingSection.model_validate({"rules": [{"topic": "#", "unknown_state": "learn"}]})
    mapper = Mapper(section.compile(), max_claims=1)
    assert mapper.map("s", record(b'{"v": "on"}', "a")).samples
    found = mapper.map("s", record(b'{"v": "on"}', "b"))
    assert found.samples == []
    assert found.rejects[0].reason is Reason.SIGNAL_HELD
    assert len(mapper.states.new) == 1


def test_metadata_of_signals_that_are_not_let_in_is_kept_until_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, clock = State(tmp_path / "state.sqlite"), Clock()
    signals = NewSignalGate(GuardSettings(on_new="hold"), state, clock=clock)
    assert signals.described([("a", SignalMetadata("A")), ("b", SignalMetadata("B"))]) == []
    signals.admit([(0, Mapped([("a", 1, 1.0)]))])
    assert signals.take_described() == []
    monkeypatch.setattr(new_signals_module, "_MAX_DESCRIBED", 1)
    assert signals.take_described() == []  # of more than are kept, what is neither let in nor held is forgotten: b
    approve(tmp_path / "state.sqlite", ["a", "b"])
    clock.now += 3
    signals.admit([])
    assert signals.take_described() == [("a", SignalMetadata("A"))]
    assert signals.take_described() == []
    assert signals.described([("a", SignalMetadata("A2"))]) == [("a", SignalMetadata("A2"))]
    state.close()


# -- plans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["topics", "keys", "left-out keys", "record keys"])
def test_plans_are_forgotten_when_they_take_too_much(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_plans, "_PLANS_BYTES", 1_000_000)
    rule: dict[str, object] = {"topic": "#", "input": "{key}:{path}"} if kind == "record keys" else {"topic": "#"}
    if kind == "left-out keys":
        rule |= {"values": {"v": {}}, "other_values": "filter"}
    mapper = Mapper(MappingSection.model_validate({"rules": [rule]}).compile(), max_claims=100)
    forgotten = 0
    for i in range(600):
        before = mapper._plans.bytes
        name = f"{i}/".ljust(5_000, "x")
        found = mapper.map(
            "s",
            record(
                b'{"%s": 1, "v": 1}' % name.encode() if kind.endswith("keys") else b'{"v": 1}',
                name if kind == "topics" else "t",
                key=name.encode() if kind == "record keys" else None,
            ),
        )
        assert found.samples
        assert mapper._plans.bytes <= 1_000_000
        forgotten += mapper._plans.bytes < before
    assert forgotten


# -- records under way -----------------------------------------------------------------------------


def test_open_topics_are_counted_and_given_back() -> None:
    progress = Progress()
    records = [record(topic="x" * 1000), record(topic="y" * 500)]
    token = progress.begin(Chunk("s", "p", [1, 2], records), [(0, Mapped([("x", 1, 1.0)])), (1, Mapped(skipped=True))])
    assert progress.open_topics == 1500
    progress.dropped({}) if progress.forget("s", ["p"]) else None
    assert progress.open_topics == 0
    assert token


def test_headers_count_in_what_a_batch_takes() -> None:
    plain, headed = record(), record(headers=(("name", "x" * 100_000),) * 10)
    assert batch_bytes([headed]) - batch_bytes([plain]) >= 1_000_000
    assert batch_bytes([headed, headed]) == 2 * batch_bytes([headed]), "a row that is read from the file shares nothing"


# -- the ledger ------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=10), min_size=1, max_size=10), st.integers(1, 12))
def test_the_ledger_has_so_many_lines_and_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[int]], most: int
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "log.sqlite"
    file = SourceFile.open(path, ledger_topics=most)
    for topics in commits:
        tallies: Tallies = {}
        for topic in topics:
            tallies.setdefault(f"t{topic}", Tally()).messages += Counts(received=1, inserted=1)
        file.journal.write([[record(topic=f"t{topic}") for topic in topics]], [])
        file.journal.write([], [Commit("s", "p", file.next_position - 1, tallies)])
    file.close()
    settled = read_statement(path, lambda _: None).settled
    everything = [f"t{topic}" for topics in commits for topic in topics]
    assert sum(tally.messages.received for tally in settled.values()) == len(everything)
    assert len(settled) <= most + 1
    assert all(
        tally.messages.received <= everything.count(topic) for topic, tally in settled.items() if topic != OTHER_TOPICS
    )
    if len(set(everything)) <= most:
        assert set(settled) == set(everything)


def test_very_long_topics_share_a_line(tmp_path: Path) -> None:
    file = SourceFile.open(tmp_path / "log.sqlite")
    names = [f"{i}".ljust(LONGEST_TOPIC + 1, "x") for i in range(5)]
    file.journal.write([[record(topic=name) for name in names]], [])
    one = Counts(received=1, inserted=1)
    file.journal.write([], [Commit("s", "p", 5, {name: Tally(one, one) for name in names})])
    file.close()
    settled = read_statement(tmp_path / "log.sqlite", lambda _: None).settled
    assert {topic: tally.messages.received for topic, tally in settled.items()} == {OTHER_TOPICS: 5}


# -- the log ---------------------------------------------------------------------------------------


def test_lines_of_one_event_are_bounded_and_none_is_left_out_in_silence() -> None:
    clock = Clock()
    bounded = Bounded(clock=clock)

    def written(name: str) -> dict[str, Any] | None:
        try:
            return dict(bounded(None, "info", {"event": name}))
        except structlog.DropEvent:
            return None

    lines = [written("often") for _ in range(1000)]
    assert [line is not None for line in lines] == [i < LINES_A_MINUTE for i in range(1000)]
    last = lines[LINES_A_MINUTE - 1]
    assert last is not None
    assert "left out for a minute" in last["more"]
    assert written("seldom") == {"event": "seldom"}
    clock.now += 61
    assert written("often") == {"event": "often", "lines_left_out": 1000 - LINES_A_MINUTE}
    assert written("often") == {"event": "often"}


def test_what_is_very_long_is_cut_in_the_log() -> None:
    out = io.StringIO()
    with left_as_it_was():
        configure_logs("info", "text", out)
        structlog.get_logger().warning("collision", topic="x" * 65_535)
    assert len(out.getvalue()) < 2_500
    assert "(65535 characters)" in out.getvalue()


# -- messages on the wire --------------------------------------------------------------------------


class Wire:
    """A client that reads what is written here."""

    def __init__(self, protocol: MQTTProtocolVersion, most_bytes: int) -> None:
        agreement = Agreement(v5=protocol == MQTTProtocolVersion.MQTTv5, clean=False)
        agreement.connack(bytearray(2))
        self.client = BoundedClient(
            CallbackAPIVersion.VERSION2, protocol=protocol, manual_ack=True, most_bytes=most_bytes,
            agreement=agreement, on_publish_received=self._take,
        )  # fmt: skip
        self.taken: list[tuple[str, bytes, int, int | None]] = []
        ours, self._theirs = socket.socketpair()
        ours.setblocking(False)
        self.client._sock = ours

    def _take(self, message: Publish) -> None:
        self.taken.append((message.topic, message.payload, message.mid, self.client.cut_from))

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), 30_000):
            self._theirs.sendall(data[start : start + 30_000])
            for _ in range(5):
                self.client.loop_read()

    def close(self) -> None:
        assert self.client._sock is not None
        self.client._sock.close()
        self._theirs.close()


def with_properties(topic: bytes, properties: bytes, payload: bytes, mid: int) -> bytes:
    """A PUBLISH of MQTT 5."""
    length, digits = len(properties), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return packet(topic, bytes(digits) + properties + payload, mid)


@pytest.mark.parametrize("size", [AROUND_PAYLOAD - 5, AROUND_PAYLOAD - 3, AROUND_PAYLOAD, 2_000_000])
def test_a_message_that_is_too_long_comes_without_its_end_and_those_behind_it_come(size: int) -> None:
    wire = Wire(MQTTProtocolVersion.MQTTv311, 1)
    wire.send(packet(b"t", b"x" * size, 7) + packet(b"t", b"1", 8))
    (topic, payload, mid, cut_from), behind = wire.taken
    assert (topic, mid, payload.strip(b"x")) == ("t", 7, b"")
    if size + 5 <= AROUND_PAYLOAD:
        assert (len(payload), cut_from) == (size, None)
    else:
        assert cut_from == size + 5
        assert AROUND_PAYLOAD - 5 <= len(payload) <= AROUND_PAYLOAD + 200
    assert behind == ("t", b"1", 8, None)
    wire.close()


def test_properties_that_are_too_long_are_left_out_and_the_topic_stays() -> None:
    wire = Wire(MQTTProtocolVersion.MQTTv5, 1)
    user_property = b"\x26\x00\x01n\xea\x60" + b"v" * 60_000
    wire.send(with_properties(b"t", user_property * 20, b"payload", 7))
    wire.send(with_properties(b"t", user_property, b"y" * 1_000_000, 8))
    wire.send(with_properties(b"t", b"", b"1", 9))
    assert [(topic, mid) for topic, _, mid, _ in wire.taken] == [("t", 7), ("t", 8), ("t", 9)]
    assert wire.taken[0][1] == b""
    assert wire.taken[1][1].startswith(b"yyy")
    assert [cut_from is None for *_, cut_from in wire.taken] == [False, False, True]
    wire.close()
