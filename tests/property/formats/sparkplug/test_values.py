"""The life of a node with crashes: a record that is read again after a restart gives the same values, and losses are
counted once.

A model node publishes births (each may give the aliases new meanings), data, and deaths; some messages never arrive.
The connector keeps what it has decoded as a log, stores what the host hands out before it commits, and crashes at any
time: then it begins anew with what was stored and everything since the last commit.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connector.formats.sparkplug.datatypes import DataType
from connector.formats.sparkplug.host import Host, SparkplugMessage
from connector.formats.sparkplug.schema import PayloadMessage
from connector.formats.sparkplug.timeline import MAX_EPOCHS
from connector.formats.sparkplug.topic import Owner
from connector.records import Reason
from tests.sparkplug_payloads import bd_seq, metric, payload

DEVICES = ("", "d1", "d2")
NAMES = ("temp", "flow", "level")
Message = tuple[str, bytes, int]
Meaning = tuple[tuple[str, float, bool | None], ...]
"""(path, value) of each value, and whether the message says that its owner is online."""


def meaning(decoded: SparkplugMessage) -> tuple[object, ...]:
    return (
        [(value.path, value.value, value.time_us) for value in decoded.values],
        [(problem.reason, problem.path) for problem in decoded.problems],
        decoded.filtered,
        decoded.online,
        sorted(decoded.died),
    )


class NodeLife(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.host = Host()
        self.stored: dict[Owner, bytes] = {}
        self.clock_us = 1_790_000_000_000_000
        self.log: list[tuple[Message, tuple[object, ...]]] = []
        """Every message that arrived, with its result."""
        self.committed = 0
        self.read = 0
        self.births = 0
        self.seq = 0
        self.bd_seq = 0
        self.lost = 0
        self.expected: int | None = None
        """The sequence number after that of the last message that arrived; None after a start: losses before the first
        message are not known."""
        self.session_heard = False
        self.birth_lost = False
        self.heard_bd_seq: int | None = None
        """The `bdSeq` of the last birth of the node that arrived; None after its death."""
        self.aliases: dict[str, dict[int, str]] = {}
        """The aliases as the node itself uses them."""
        self.known: dict[str, dict[int, str]] = {}
        """The aliases that the host must use."""

    def _send(
        self, kind: str, device: str, metrics: list[dict[str, object]], arrives: bool = True
    ) -> SparkplugMessage | None:
        if kind == "NBIRTH":
            self.seq = 0
            self.session_heard = arrives
            self.birth_lost |= not arrives
        number = None if kind == "NDEATH" else self.seq
        if number is not None:
            self.seq = (self.seq + 1) % 256
        self.clock_us += 1000
        topic = f"spBv1.0/g/{kind}/n" + (f"/{device}" if device else "")
        data = payload(*metrics, seq=number, time_ms=self.clock_us // 1000)
        if not arrives:
            return None
        decoded = self.host.decode(topic, data, self.clock_us)
        if number is not None:
            if kind != "NBIRTH" and self.expected is not None:
                if self.session_heard:  # else the numbers are those of a session whose birth was lost
                    assert decoded.lost == number - self.expected
                self.lost += decoded.lost
            self.expected = number + 1
        self.log.append(((topic, data, self.clock_us), meaning(decoded)))
        self.read = len(self.log)
        return decoded

    @rule(order=st.permutations(NAMES), arrives=st.sampled_from([True, True, True, False]))
    def node_is_born(self, order: list[str], arrives: bool) -> None:
        if self.births >= MAX_EPOCHS - 2:
            return
        self.births += 1
        self.bd_seq = (self.bd_seq + 1) % 256
        self.aliases = {"": dict(enumerate(order))}
        metrics = [metric(name, DataType.FLOAT, alias + 0.5, alias=alias) for alias, name in self.aliases[""].items()]
        decoded = self._send("NBIRTH", "", [bd_seq(self.bd_seq), *metrics], arrives)
        if decoded is not None:
            self.known = {"": self.aliases[""]}
            self.heard_bd_seq = self.bd_seq
            assert [value.path for value in decoded.values] == order
            assert (decoded.online, decoded.problems) == (True, [])

    @precondition(lambda self: "" in self.aliases)
    @rule(
        device=st.sampled_from(DEVICES[1:]), order=st.permutations(NAMES), arrives=st.sampled_from([True, True, False])
    )
    def device_is_born(self, device: str, order: list[str], arrives: bool) -> None:
        if self.births >= MAX_EPOCHS - 2:
            return
        self.births += 1
        self.aliases[device] = {10 + alias: name for alias, name in enumerate(order)}
        metrics = [metric(name, DataType.FLOAT, 1.0, alias=alias) for alias, name in self.aliases[device].items()]
        if self._send("DBIRTH", device, metrics, arrives) is not None:
            self.known[device] = self.aliases[device]

    @precondition(lambda self: self.aliases)
    @rule(data=st.data(), arrives=st.sampled_from([True, True, True, True, False]))
    def data_comes(self, data: st.DataObject, arrives: bool) -> None:
        device = data.draw(st.sampled_from(sorted(self.aliases)))
        aliases = data.draw(st.lists(st.sampled_from(sorted(self.aliases[device])), min_size=1, max_size=3))
        metrics = [metric(None, None, alias + 0.25, alias=alias, field="float_value") for alias in aliases]
        decoded = self._send("DDATA" if device else "NDATA", device, metrics, arrives)
        if decoded is None:
            return
        if device in self.known:  # what the births that arrived say, in their order
            assert [(value.path, value.value) for value in decoded.values] == [
                (self.known[device][alias], alias + 0.25) for alias in aliases
            ]
        else:
            assert decoded.values == []
            assert [problem.reason for problem in decoded.problems] == [Reason.DATA_BEFORE_BIRTH]
            assert decoded.want_rebirth

    @precondition(lambda self: any(self.aliases))
    @rule(data=st.data(), arrives=st.booleans())
    def device_dies(self, data: st.DataObject, arrives: bool) -> None:
        device = data.draw(st.sampled_from(sorted(filter(None, self.aliases))))
        del self.aliases[device]
        if self.births < MAX_EPOCHS - 2 and self._send("DDEATH", device, [], arrives) is not None:
            self.births += 1
            self.known.pop(device, None)

    @precondition(lambda self: "" in self.aliases)
    @rule(arrives=st.booleans(), late=st.booleans())
    def node_dies(self, arrives: bool, late: bool) -> None:
        if self.births >= MAX_EPOCHS - 2:
            return
        self.births += 1
        said = (self.bd_seq - 1) % 256 if late else self.bd_seq
        decoded = self._send("NDEATH", "", [bd_seq(said)], arrives)
        if not late:
            self.aliases = {}
        if decoded is None:
            return
        if self.heard_bd_seq not in (None, said):
            assert decoded.online is None, "the death of another session than the one that we know"
        else:
            assert decoded.online is False
            assert {owner.device for owner in decoded.died} == {"", *self.known}
            self.known = {}
            self.heard_bd_seq = None

    @rule(commit=st.floats(0, 1))
    def store_and_commit(self, commit: float) -> None:
        for owner, data in self.host.take_changes():
            if data is None:
                self.stored.pop(owner, None)
            else:
                self.stored[owner] = data
        self.committed = max(self.committed, round(commit * self.read))
        if self.committed == self.read and self.session_heard:
            self.birth_lost = False  # all that is read again is of sessions whose births came

    @rule(stored=st.booleans())
    def crash(self, stored: bool) -> None:
        """Every record since the last commit is read again, whether its changes were stored already or not."""
        if stored:
            self.store_and_commit(0)
        self.host = Host(remembered=self.stored.items())
        assert not self.host.unreadable
        self.expected = None
        begin = self.committed
        for (topic, data, arrival_us), before in self.log[begin:]:
            assert meaning(self.host.decode(topic, data, arrival_us)) == before
        numbers = [
            PayloadMessage.FromString(data).seq for (topic, data, _), _ in self.log[begin:] if "NDEATH" not in topic
        ]
        if numbers:
            self.expected = numbers[-1] + 1
        lost = self.host.lost().get(("g", "n"), 0)
        if not self.birth_lost:  # after a birth that was lost the numbers of two sessions are taken for those of one
            assert lost == self.lost or (not stored and lost < self.lost), "a loss is counted once"
        self.lost = lost

    @invariant()
    def losses_are_counted_once(self) -> None:
        if hasattr(self, "host"):
            assert self.host.lost().get(("g", "n"), 0) == self.lost


TestNodeLife = NodeLife.TestCase
TestNodeLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
