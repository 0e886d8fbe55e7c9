"""The chaos harness itself: a harness that cannot find a loss proves nothing."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.ledger.source_file import SourceFile
from connector.records import Record
from tests.chaos.harness.damage import Damage, flip, may_be_missing
from tests.chaos.harness.evidence import letter_marks
from tests.chaos.harness.messages import Message, Truth, read_truth
from tests.chaos.harness.proxy import FaultProxy, Loop
from tests.chaos.harness.retired import Retired, gone_with_topic
from tests.chaos.harness.run import cried, unsettled
from tests.chaos.harness.schedule import ALWAYS, CUTS, DEALT, KILLS, KINDS, plan
from tests.chaos.harness.verdict import Allowed, Lifted, Verdict, judge, resumed
from tests.ports import free_port
from tests.waiting import wait_until

SECONDS = 60.0

# -- schedule -----------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_the_same_seed_gives_the_same_faults(seed: int, cycles: int) -> None:
    planned = plan(seed, cycles, 12.0)
    assert planned == plan(seed, cycles, 12.0)
    assert len(planned) == cycles


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_faults_on_the_same_thing_do_not_overlap(seed: int, cycles: int) -> None:
    for faults in plan(seed, cycles, 12.0):
        for i, one in enumerate(faults):
            for other in faults[i + 1 :]:
                if one.touches & other.touches:
                    assert one.end < other.begin or other.end < one.begin, (one, other)


@given(st.integers(0, 2**32))
def test_twenty_cycles_have_every_kind_and_their_part_of_the_kills_and_cuts(seed: int) -> None:
    faults = [fault for cycle in plan(seed, 20, 12.0) for fault in cycle]
    kinds = [fault.kind for fault in faults]
    assert set(kinds) == set(KINDS)
    assert sum(kind in KILLS for kind in kinds) >= 40
    assert sum(kind in CUTS for kind in kinds) >= 40


@given(st.integers(0, 2**32))
def test_three_cycles_have_every_kind(seed: int) -> None:
    assert {fault.kind for cycle in plan(seed, 3, 12.0) for fault in cycle} == set(KINDS)


def test_kinds_can_be_chosen_and_left_out() -> None:
    chosen = plan(1, 5, 12.0, kinds=("kill_mqtt", "full_disk", "clock_jump"), left_out=("clock_jump",))
    assert {fault.kind for cycle in chosen for fault in cycle} == {"kill_mqtt", "full_disk"}


def test_each_kind_alone_in_its_turn() -> None:
    assert [[fault.kind for fault in cycle] for cycle in plan(1, len(KINDS), 12.0, alone=True)] == [[k] for k in KINDS]


def test_every_kind_is_dealt_or_always_there() -> None:
    assert len(KINDS) == len(set(KINDS)) == len(ALWAYS) + len(DEALT)


# -- verdict ------------------------------------------------------------------------------------------


def messages() -> list[Message]:
    good = [Message(f"chaos:m0:{n}", "m0/x", "{}", ("m0/x:value", n), float(n)) for n in range(4)]
    return [*good, Message("chaos:m0:4", "m0/x", "{", None)]


def stored() -> dict[tuple[str, int], tuple[float, int]]:
    return {("m0/x:value", n): (float(n), 1_000_000 * n) for n in range(4)}


def test_everything_arrived() -> None:
    verdict = judge(messages(), stored(), ["chaos:m0:4"])
    assert (verdict.published, verdict.inserted, verdict.dead_lettered) == (5, 4, 1)
    assert (verdict.lost, verdict.invented, verdict.lost_and_reported) == ([], [], [])


def test_what_is_nowhere_is_lost() -> None:
    found = stored()
    del found["m0/x:value", 2]
    assert judge(messages(), found, []).lost == ["chaos:m0:2", "chaos:m0:4"]


def test_a_good_message_in_the_dead_letters_is_not_lost() -> None:
    found = stored()
    del found["m0/x:value", 2]
    verdict = judge(messages(), found, ["chaos:m0:2", "chaos:m0:4"])
    assert (verdict.lost, verdict.dead_lettered) == ([], 2)


def test_other_values_times_and_letters_are_invented() -> None:
    found = {**stored(), ("m0/x:value", 1): (7.5, 1), ("m0/x:value", 99): (1.0, 1)}
    verdict = judge(messages(), found, ["chaos:m0:4", "chaos:m0:77", ""])
    assert [text.partition(":")[0] for text in verdict.invented] == [
        "('m0/x", "sample ('m0/x", "dead letter of an unknown message", "dead letter of chaos"
    ]  # fmt: skip


@pytest.mark.parametrize(("reported", "lost"), [(0, 2), (1, 2), (2, 0), (9, 0)])
def test_damage_excuses_as_many_as_are_reported(reported: int, lost: int) -> None:
    found = {key: value for key, value in stored().items() if key[1] > 1}
    damage = Allowed(frozenset({"chaos:m0:0", "chaos:m0:1", "chaos:m0:2"}), reported)
    verdict = judge(messages(), found, ["chaos:m0:4"], [damage])
    assert (len(verdict.lost), len(verdict.lost_and_reported)) == (lost, 2 - lost)


def test_damage_excuses_nothing_that_was_not_in_the_file() -> None:
    found = {key: value for key, value in stored().items() if key[1] > 1}
    verdict = judge(messages(), found, ["chaos:m0:4"], [Allowed(frozenset({"chaos:m0:0"}), 5)])
    assert (verdict.lost, verdict.lost_and_reported) == (["chaos:m0:1"], ["chaos:m0:0"])


def test_how_long_it_took_is_counted_from_the_end_of_the_fault() -> None:
    alone = Lifted("cut_broker", 100_000, 1_500_000, ("m0",))
    assert resumed([alone], stored(), messages()) == {"cut_broker": {"times": 1, "median_s": 0.5, "max_s": 0.5}}
    elsewhere = Lifted("stop", 0, 1_600_000, ("p0",))
    assert "cut_broker" in resumed([alone, elsewhere], stored(), messages())
    beside = Lifted("stop", 0, 1_600_000, ("m0", "m1"))
    assert "cut_broker" not in resumed([alone, beside], stored(), messages())
    never = Lifted("stop", 0, 9_000_000, ("m0",))
    assert "stop" not in resumed([never], stored(), messages())


# -- truth, damage, dead letters ----------------------------------------------------------------------


def test_the_truth_can_be_read_again(tmp_path: Path) -> None:
    truth = Truth(tmp_path / "truth", 1)
    truth.poison_due = 2
    made = [truth.message("p1", "chaos", "p1") for _ in range(20)]
    assert list(read_truth(tmp_path / "truth")) == made
    assert [message.key for message in made[:2]] == [None, None]
    assert len({message.key for message in made if message.key}) == sum(message.key is not None for message in made)
    assert truth.message("p1", "chaos", "p1", good=True).key is not None


def test_a_flipped_byte_and_what_was_at_stake(tmp_path: Path) -> None:
    path = tmp_path / "plant.sqlite"
    file = SourceFile.open(path)
    file.journal.write([[Record("t", f'{{"id": "chaos:m0:{n}"}}'.encode() + b" " * 4000, n)] for n in range(50)], [])
    file.close()
    before = path.read_bytes()
    damage = flip(path, 0.6, tmp_path)
    after = path.read_bytes()
    assert damage.marks == {f"chaos:m0:{n}" for n in range(50)}
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1
    assert (tmp_path / "plant.sqlite.before").read_bytes() == before


def test_the_write_ahead_log_is_flipped_too(tmp_path: Path) -> None:
    path = tmp_path / "plant.sqlite"
    file = SourceFile.open(path)
    file.journal.write([[Record("t", b'{"id": "chaos:m0:1"}' + b" " * 4000, 1)]], [])
    (tmp_path / "down").mkdir()
    for found in tmp_path.glob("plant.sqlite*"):  # as a kill leaves them
        shutil.copy(found, tmp_path / "down" / found.name)
    file.close()
    down = tmp_path / "down" / "plant.sqlite"
    before = down.with_name("plant.sqlite-wal").read_bytes()
    damage = flip(down, 0.999, tmp_path)
    assert damage.marks == {"chaos:m0:1"}
    assert "plant.sqlite-wal" in damage.where
    after = down.with_name("plant.sqlite-wal").read_bytes()
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def ledger(**more: object) -> dict[str, object]:
    topics = {"t": {"messages": {"received": 7}}}
    return {"sources": {"plant": {"appended": 10, "problems": [], "incidents": [], "topics": topics, **more}}}


def test_as_many_may_be_missing_as_the_ledger_says() -> None:
    damage = Damage("", frozenset({"chaos:m0:1"}))
    found = may_be_missing([damage], ledger(problems=["3 messages are LOST"]))
    assert (found.marks, found.reported) == (frozenset({"chaos:m0:1"}), 3)
    assert may_be_missing([Damage("", damage.marks)], ledger(incidents=["the file was damaged"])).reported == 3


def test_nothing_may_be_missing_that_nobody_reported() -> None:
    assert may_be_missing([], ledger(incidents=["the file was damaged"])).reported == 0
    assert may_be_missing([Damage("", frozenset({"chaos:m0:1"}))], ledger()).reported == 0


def test_a_deleted_topic_excuses_what_was_not_settled_if_that_was_said_at_that_time() -> None:
    lives = [Retired(100.5, frozenset({"chaos:a0:1"})), Retired(200.5, frozenset({"chaos:a0:2"}))]

    def said(*incidents: str) -> list[int]:
        ledger = {"sources": {"kafka": {"incidents": incidents}}}
        return [one.reported for one in gone_with_topic(lives, ledger, frozenset())]

    assert said() == [0, 0]
    assert said("1970-01-01T00:01:40+00:00 anew[0]: it is another topic") == [1, 0]
    assert said("1970-01-01T00:03:21+00:00 anew[0]: it is another topic") == [0, 1]
    assert said("1970-01-01T00:03:21+00:00 chaos[0]: expired", "1970-01-01T00:01:39+00:00 anew[0]: before") == [0, 0]


def test_a_deleted_topic_excuses_nothing_before_the_last_record_that_was_stored() -> None:
    lives = [Retired(100.5, frozenset(f"chaos:a0:{number}" for number in range(8, 13)))]
    said = {"sources": {"kafka": {"incidents": ["1970-01-01T00:01:41+00:00 anew[0]: it is another topic"]}}}
    (found,) = gone_with_topic(lives, said, {"chaos:a0:10", "chaos:p0:12"})
    assert (found.marks, found.reported) == ({"chaos:a0:11", "chaos:a0:12"}, 2)


@pytest.mark.parametrize(("counted", "problems"), [(0, 0), (1, 0), (2, 1)])
def test_a_loss_that_is_counted_and_did_not_happen_is_a_problem(counted: int, problems: int) -> None:
    lives = [Retired(100.5, frozenset({"chaos:a0:1", "chaos:a0:2"}))]
    verdict = Verdict(lost_and_reported=["chaos:a0:2", "chaos:m0:7"])
    assert len(cried(verdict, lives, {"sources": {"kafka": {"expired": 0, "unread": counted}}})) == problems


def test_all_records_of_topics_that_stay_must_be_settled() -> None:
    def part(next_: int, records: int, first: int = 0) -> dict[str, object]:
        return {"first": first, "next": next_, "records": records, "gaps": []}

    settled = {"chaos[0]": part(7, 7), "chaos[1]": part(5, 5), "held[0]": part(9, 6), "anew[0]": part(3, 3)}
    ledger = {"sources": {"kafka": {"partitions": settled}}}
    assert unsettled(ledger, {"p0": 7, "p1": 5, "t0": 6}) == []
    settled |= {"chaos[1]": part(5, 4, first=1), "held[0]": part(9, 5)}
    assert [text.partition(":")[0] for text in unsettled(ledger, {"p0": 7, "p1": 5, "t0": 6})] == [
        "held[0]",
        "chaos[1]",
    ]
    assert len(unsettled(ledger, {"p0": 7, "p1": 5, "p2": 1, "t0": 5})) == 2, "a partition that was added counts"


def test_dead_letters_are_known_by_their_mark(tmp_path: Path) -> None:
    assert letter_marks(tmp_path / "none.sqlite") == []
    with closing(sqlite3.connect(tmp_path / "letters.sqlite")) as store:
        store.execute("CREATE TABLE letters (topic TEXT, payload BLOB)")
        store.execute("INSERT INTO letters VALUES ('t', ?), ('t', NULL)", (b'{"id": "chaos:p3:12", ',))
        store.commit()
    assert letter_marks(tmp_path / "letters.sqlite") == ["chaos:p3:12", ""]


# -- proxy --------------------------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """In front of a server that sends back what it gets."""
    loop = Loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo_all, args=(server,), daemon=True).start()
        found = FaultProxy(loop, free_port(), server.getsockname()[1]).start()
        yield found
        found.close()
        loop.close()


def _echo_all(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(client,), daemon=True).start()


def _echo(client: socket.socket) -> None:
    with client:
        try:
            while data := client.recv(65536):
                client.sendall(data)
        except OSError:
            return


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), SECONDS)


def ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(65536)


def test_the_proxy_lets_everything_through(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        assert ask(client, b"hello") == b"hello"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_a_cut_resets_and_refuses(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        assert ask(client, b"hello") == b"hello"
        proxy.cut()
        with pytest.raises(ConnectionError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.mend()
    with connect(proxy) as client:
        assert ask(client, b"again") == b"again"


def test_a_black_hole_keeps_the_connection_and_what_is_under_way(proxy: FaultProxy) -> None:
    with connect(proxy) as client, connect(proxy) as other:
        assert ask(client, b"hello") == b"hello"
        proxy.swallow()
        client.sendall(b"lost?")
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(other, b"nothing")
        proxy.mend()
        assert client.recv(5) == b"lost?"


def test_a_slow_link_takes_its_time(proxy: FaultProxy) -> None:
    proxy.slow_down(20_000)
    with connect(proxy) as client:
        before = time.monotonic()
        client.sendall(b"x" * 10_000)
        left = 10_000
        while left:
            left -= len(client.recv(left))
        assert time.monotonic() - before > 0.4


@pytest.mark.parametrize(("share", "arrives"), [(0.0, b""), (0.5, b"hel")])
def test_answers_are_lost_or_half(proxy: FaultProxy, share: float, arrives: bytes) -> None:
    proxy.break_answers(1, share)
    with connect(proxy) as client:
        client.sendall(b"hello!")
        found = b""
        try:
            while data := client.recv(10):
                found += data
        except ConnectionError:
            assert not found
        assert found == arrives
    wait_until(lambda: proxy.answers_broken == 1, SECONDS, "one answer was broken")
    with connect(proxy) as client:
        assert ask(client, b"whole") == b"whole"
