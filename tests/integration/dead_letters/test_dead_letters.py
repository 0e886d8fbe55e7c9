"""Dead letters from end to end: what is rejected, kept, looked at, mended and replayed, with the connector as users
run it."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from connector.commands.cli import main
from connector.dead_letters.letter import letter_of
from connector.dead_letters.sqlite_store import SqliteLetters
from connector.records import Reason, Record, Reject
from tests.brokers import Mosquitto
from tests.connector_process import ConnectorProcess, run_command
from tests.dead_letter_places import KafkaPlace, MqttPlace
from tests.in_process import left_as_it_was
from tests.integration.kafka_topics import committed, kafka_source
from tests.kafka_brokers import KafkaBroker, need_real
from tests.publisher import Publisher
from tests.raw_kafka import RawRecord, write_raw
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.secret_search import SearchedCommands
from tests.waiting import free_port, wait_until

FAST = "delivery: {max_delay: 100ms, requests_per_second: 50}"
START = 1_790_000_000
BAD = 666.0


sandbox = sandbox_fixture(requests_per_second=200)


def line(topic: str, payload: str) -> str:
    return json.dumps({"topic": topic, "payload_text": payload}) + "\n"


def command(connector: ConnectorProcess, name: str, *options: str) -> tuple[int, str, str]:
    """(exit status, output, what it said beside) of `dead-letters NAME`."""
    with left_as_it_was():
        done = SearchedCommands().invoke(main, ["dead-letters", name, str(connector.config), *options])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def letters(connector: ConnectorProcess, *options: str) -> list[dict[str, Any]]:
    status, output, said = command(connector, "list", "--format", "json", "--limit", "0", *options)
    assert status == 0, said
    found: list[dict[str, Any]] = json.loads(output)
    return found


def replayed(connector: ConnectorProcess, *options: str) -> dict[str, Any]:
    status, output, said = command(connector, "replay", "--share", "1.0", "--json", *options)
    assert output, said
    found: dict[str, Any] = json.loads(output)
    assert status == (1 if found["failed_again"] or found["not_replayable"] else 0), said
    return found


def reconfigure(connector: ConnectorProcess, old: str, new: str) -> None:
    text = connector.config.read_text()
    assert old in text
    connector.config.write_text(text.replace(old, new))


def test_what_is_rejected_can_be_mended_and_replayed(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.faults([{"kind": "bad_value", "method": "insert", "value": BAD, "names": "cell"}])
    (tmp_path / "data.ndjson").write_text(
        line("good/1", f'{{"ts": {START}, "v": 1}}')
        + line("odd/1", f'{{"when": {START}, "v": 2}}')
        + line("odd/2", f'{{"when": {START}, "v": 3}}')
        + line("good/2", '{"v": 1')
        + line("good/3", f'{{"ts": {START}, "v": NaN, "w": 4}}')
        + line("good/4", f'{{"ts": {START}, "v": 5, "w": {BAD}}}')
        + line("good/4", f'{{"ts": {START + 1}, "v": 6, "w": 7}}')
    )
    source = "  - {type: file, path: data.ndjson, records: record}"
    more = (
        f"{FAST}\ndead_letters: {{type: file}}\n"
        "mapping:\n  unmatched: map\n  rules: [{topic: 'odd/+', time: no_such_field}]"
    )
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, more)
    assert connector.start(ready=False).wait(60) == 0, connector.log()
    assert connector.ledger()[1]["messages"]["dead_lettered"] == 3
    assert connector.ledger()[1]["samples"]["dead_lettered"] == 2
    assert sandbox.samples("good/4:v") == [(START * 10**6, 5), ((START + 1) * 10**6, 6)], "only the value is set aside"
    assert sandbox.samples("good/4:w") == [((START + 1) * 10**6, 7)]

    found = {letter["topic"]: letter for letter in letters(connector)}
    assert sorted(found) == ["good/2", "good/3", "good/4", "odd/1", "odd/2"]
    late = found["good/4"]
    assert late["payload_text"] == f'{{"ts": {START}, "v": 5, "w": {BAD}}}', "the record's bytes, read again"
    assert late["rejects"][0] | {"message": ""} == {
        "reason": "insert_rejected", "message": "", "value": "666.0", "input_id": "good/4:w", "time_us": START * 10**6
    }  # fmt: skip
    assert (late["source"], late["partition"], late["position"]) == ("file", "file[0]", 6)
    assert len({letter["configuration"] for letter in found.values()}) == 1
    assert [letter["topic"] for letter in letters(connector, "--reason", "not-finite")] == ["good/3"]
    assert len(letters(connector, "--topic", "odd/+")) == 2
    assert letters(connector, "--until", "-1h") == []
    status, text, _ = command(connector, "show", late["id"][:8])
    assert status == 0
    assert "Clarify refused the value" in text
    assert f'"w": {BAD}' in text

    reconfigure(connector, "no_such_field", "when")
    tried = replayed(connector, "--dry-run")
    assert (tried["succeeded"], tried["reasons"]) == (3, {"invalid_json": 1, "not_finite": 1})
    assert len(letters(connector)) == 5, "a dry run changes nothing"
    assert "odd/1:v" not in sandbox.signals()

    result = replayed(connector, "--topic", "odd/#", "--topic", "good/4")
    assert (result["succeeded"], result["reasons"]) == (2, {"insert_rejected": 1})
    assert sandbox.samples("odd/1:v") == [(START * 10**6, 2)]
    assert sorted(letter["topic"] for letter in letters(connector)) == ["good/2", "good/3", "good/4"]

    sandbox.clear_faults()
    result = replayed(connector)
    assert (result["succeeded"], result["reasons"]) == (1, {"invalid_json": 1, "not_finite": 1})
    assert sandbox.samples("good/4:w") == [(START * 10**6, BAD), ((START + 1) * 10**6, 7)]
    assert sorted(letter["topic"] for letter in letters(connector)) == ["good/2", "good/3"]
    status, text, _ = command(connector, "drop", "--all", "--yes")
    assert (status, text) == (0, "2 letters dropped\n")
    assert letters(connector) == []
    assert connector.ledger()[0] == 0
    assert not list((tmp_path / "state" / "replay").glob("*.sqlite*"))


def test_records_of_two_logs_at_one_position_are_replayed_each(sandbox: SandboxServer, tmp_path: Path) -> None:
    """A topic that was made anew has the same positions: neither record stands for the other."""
    (tmp_path / "data.ndjson").write_text(line("logs/none", '{"v": 1}'))
    source = "  - {type: file, path: data.ndjson, records: record}"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST)
    assert connector.start(ready=False).wait(60) == 0, connector.log()
    store = SqliteLetters(tmp_path / "state" / "dead-letters.sqlite", 10**9)
    store.add(
        letter_of("file", "t[0]", 7, "logs/t", [Reject(Reason.NOT_FINITE, "it is not finite", "v")],
                  Record("logs/t", payload, START * 10**6), log=log)
        for log, payload in (("old", b'{"v": 8}'), ("new", b'{"v": 9, "w": NaN}'))
    )  # fmt: skip
    store.close()
    result = replayed(connector)
    assert (result["succeeded"], result["failed_again"], result["not_replayable"]) == (1, 1, {})
    assert {value for _, value in sandbox.samples("logs/t:v")} & {8, 9}
    assert [(kept["partition"], kept["log"], kept["position"]) for kept in letters(connector)] == [("t[0]", "new", 7)]


def test_a_replay_beside_the_running_connector(sandbox: SandboxServer, tmp_path: Path) -> None:
    """Its journal gives the bytes of what Clarify refused; the state is locked by the one that runs."""
    sandbox.faults([{"kind": "bad_value", "method": "insert", "value": BAD, "names": "nothing"}])
    with Mosquitto() as broker, Publisher(broker.port) as publisher:
        source = f"  - {{type: mqtt, url: 'mqtt://127.0.0.1:{broker.port}', topics: ['plant/#']}}"
        with ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST).start() as connector:
            for i in range(40):
                publisher.raw("plant/1", json.dumps({"ts": START + i, "v": BAD if i == 17 else i}))
            publisher.wait_acknowledged()
            wait_until(lambda: len(sandbox.samples("plant/1:v")) == 39, 30, "all but one are there")
            (letter,) = wait_until(lambda: letters(connector), 10, "a letter", every=0.5)
            assert json.loads(letter["payload_text"]) == {"ts": START + 17, "v": BAD}
            assert connector.metrics()["clarify_connector_dead_letters_kept"] == 1
            sandbox.clear_faults()
            done = run_command("dead-letters", "replay", connector.config)
            assert done.returncode == 0, done.stderr
            assert done.stdout == "1 messages are in Clarify now, or are left out by the mapping on purpose\n"
            assert len(sandbox.samples("plant/1:v")) == 40
            assert letters(connector) == []
            publisher.raw("plant/1", json.dumps({"ts": START + 99, "v": 1}))
            wait_until(lambda: len(sandbox.samples("plant/1:v")) == 41, 30, "and it goes on")
            kept = "clarify_connector_dead_letters_kept"
            wait_until(lambda: connector.metrics()[kept] == 0, 10, "no letter is counted")  # the page is kept for 1 s
            assert connector.stop() == 0
            status, ledger = connector.ledger()
            assert (status, ledger["messages"]["dead_lettered"]) == (0, 1), "a message's end is written once"


def test_a_kill_between_the_letter_and_the_settling(sandbox: SandboxServer, tmp_path: Path) -> None:
    """The letter is durable before its record counts as settled; Clarify is away, so nothing is settled."""
    sandbox.faults([{"kind": "status", "status": 503, "method": "insert"}])
    (tmp_path / "data.ndjson").write_text(f'{{"ts": {START}, "v": 1}}\nbroken {{\n{{"w": 2}}\nbroken again {{\n')
    source = "  - {type: file, path: data.ndjson, topic: t}"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST)
    connector.start(ready=False)
    wait_until(lambda: sandbox.stats()["requests"].get("integration.insert"), 20, "an insert was tried")
    assert len(letters(connector)) == 2
    connector.kill()
    assert connector.ledger()[1]["messages"]["received"] == 0, "nothing was settled"
    sandbox.clear_faults()
    assert connector.start(ready=False).wait(60) == 0, connector.log()
    status, ledger = connector.ledger()
    assert (status, ledger["messages"]["inserted"], ledger["messages"]["dead_lettered"]) == (0, 2, 2)
    assert sorted(letter["payload_text"] for letter in letters(connector)) == ["broken again {", "broken {"]


def test_while_the_store_is_away_intake_waits_and_nothing_is_dropped(sandbox: SandboxServer, tmp_path: Path) -> None:
    with MqttPlace() as place:
        place.broker.stop()
        (tmp_path / "data.ndjson").write_text('{"v": 1}\n' + "broken {\n" * 3 + '{"w": 2}\n')
        source = "  - {type: file, path: data.ndjson, topic: t}"
        store = f"{{type: mqtt, url: 'mqtt://127.0.0.1:{place.broker.port}', timeout: 1s}}"
        connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, f"{FAST}\ndead_letters: {store}")
        connector.start(ready=False)
        wait_until(lambda: any("intake waits" in problem for problem in connector.readiness()[1]), 20, "it says so")
        assert connector.metrics()["clarify_connector_dead_letters_blocked"] == 1
        assert connector.ledger()[1]["messages"]["received"] == 0
        place.broker.start()
        assert connector.wait(60) == 0, connector.log()
        assert [letter.position for letter in sorted(place.kept(), key=lambda found: found.position)] == [2, 3, 4]
        status, ledger = connector.ledger()
        assert (status, ledger["messages"]["inserted"], ledger["messages"]["dead_lettered"]) == (0, 2, 3)
        status, _, said = command(connector, "list")
        assert status == 1
        assert "--from-file" in said
        collected = tmp_path / "letters.ndjson"
        collected.write_bytes(b"\n".join(place.received))
        assert len(letters(connector, "--from-file", str(collected))) == 3
        assert replayed(connector, "--dry-run", "--from-file", str(collected))["reasons"] == {"invalid_json": 3}


def test_stopping_while_the_store_is_away_is_no_failure(sandbox: SandboxServer, tmp_path: Path) -> None:
    (tmp_path / "data.ndjson").write_text("broken {\n")
    source = "  - {type: file, path: data.ndjson, topic: t}"
    store = f"{{type: mqtt, url: 'mqtt://127.0.0.1:{free_port()}', timeout: 1s}}"
    more = f"delivery: {{flush_timeout: 500ms}}\ndead_letters: {store}"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, more).start(ready=False)
    wait_until(lambda: any("intake waits" in problem for problem in connector.readiness()[1]), 20, "it says so")
    assert connector.stop() == 0, connector.log()
    assert "Traceback" not in connector.log()


def test_letters_in_kafka_about_records_of_kafka(kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path) -> None:
    """Rejected samples get their records back from Kafka, with key and headers; a replay marks what is done."""
    sandbox.faults([{"kind": "bad_value", "method": "insert", "value": BAD, "names": "cell_dot"}])
    place = KafkaPlace(kafka)
    topic = place.topic.replace("letters", "plant")
    kafka.create_topic(topic, 1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for i in range(30):
        payload = "broken {" if i == 3 else json.dumps({"ts": START + i, "v": BAD if i in (5, 25) else i})
        headers: Mapping[str, str] = {"site": "north"}
        producer.produce(topic, payload.encode(), key=f"key-{i}".encode(), headers=dict(headers))
    producer.flush(10)
    server = f"bootstrap_servers: '{kafka.bootstrap}', security: plaintext"
    source = kafka_source(kafka, topic)
    more = f"{FAST}\ndead_letters: {{type: kafka, {server}, topic: {place.topic}}}"
    with ConnectorProcess(tmp_path, sandbox.credentials_path, source, more).start() as connector:
        wait_until(lambda: len(place.kept()) == 3, 30, "three letters", every=0.5)
        found = {letter["position"]: letter for letter in letters(connector)}
        assert sorted(found) == [3, 5, 25]
        assert json.loads(found[25]["payload_text"]) == {"ts": START + 25, "v": BAD}
        assert (found[25]["key"], found[25]["headers"]) == ("key-25", [["site", "north"]])
        sandbox.clear_faults()
        result = replayed(connector)
        assert (result["succeeded"], result["reasons"]) == (2, {"invalid_json": 1})
        assert [letter["position"] for letter in letters(connector)] == [3]
        assert connector.stop() == 0
    assert (START + 25) * 10**6 in dict(sandbox.samples(f"{topic}:v"))
    assert connector.ledger()[0] == 0


def test_a_record_with_a_time_that_no_calendar_has(kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path) -> None:
    """Nanoseconds where milliseconds belong: one dead letter, which can be shown and, once it is mended, replayed."""
    start = int(time.time()) - 100  # what is older than its retention, Kafka deletes
    poison = [1_764_240_000_000_000_000, 2**63 - 1]
    topic = f"nanoseconds-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic, 1, {"message.timestamp.after.max.ms": str(2**63 - 1)} if kafka.real else None)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    times = [start * 1000, poison[0], start * 1000 + 1000, poison[1], start * 1000 + 2000]
    for i, time_ms in enumerate(times):
        producer.produce(topic, str(i).encode(), timestamp=time_ms)
        assert producer.flush(10) == 0
    source = kafka_source(kafka, topic)
    with ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST).start() as connector:
        wait_until(lambda: len(sandbox.samples(topic)) == 3 if topic in sandbox.signals() else None, 30, connector.log)
        wait_until(lambda: committed(kafka, topic, 1) == [5], 30, "all is committed", every=0.3)
        assert connector.stop() == 0, connector.log()
        connector.start()
        assert connector.stop() == 0, connector.log()
    assert "Traceback" not in connector.log()
    status, ledger = connector.ledger()
    assert (status, ledger["messages"]["received"], ledger["messages"]["dead_lettered"]) == (0, 5, 2)
    assert dict(sandbox.samples(topic)) == {start * 10**6: 0, (start + 1) * 10**6: 2, (start + 2) * 10**6: 4}
    found = {letter["position"]: letter for letter in letters(connector)}
    assert sorted(found) == [1, 3]
    for position, time_ms in zip((1, 3), poison, strict=True):
        letter = found[position]
        (reject,) = letter["rejects"]
        assert reject["reason"] == "time_out_of_range"
        assert f"{time_ms * 1000} µs since 1970" in reject["message"]
        status, output, _ = command(connector, "show", letter["id"])
        assert status == 0
        assert f"{time_ms * 1000} µs since 1970" in output
    reconfigure(connector, "state_dir", f"mapping: {{rules: [{{topic: {topic}, time: received}}]}}\nstate_dir")
    assert replayed(connector)["succeeded"] == 2
    values = set(dict(sandbox.samples(topic)).values())
    assert values >= {0, 2, 3, 4}, "what was read at once has one time: 3 may have taken the place of 1"


def test_a_record_with_whatever_metadata_a_record_can_have(
    kafka: KafkaBroker, sandbox: SandboxServer, tmp_path: Path
) -> None:
    """A header whose name is no text costs only its record; everything else is kept. Many good records stand before it:
    then Python has optimized the code that reads them, and no longer notices by itself that the client has failed."""
    start = int(time.time()) - 100
    topic = f"metadata-{uuid.uuid4().hex[:8]}"
    need_real(kafka).create_topic(topic, 1)
    headers = [(b"", b""), (b"n", None), (b"v", b"\xff\0"), (b"twice", b"1"), (b"twice", b"2")]
    good = 300
    records: list[RawRecord] = [
        *[(None, b"0", headers)] * good,
        (b"\xff\0", b"{broken", headers),
        (b"k", b"2", [(b"ok", b"1"), (b"\xff\xfe", b"2")]),
        (None, None, [(b"\xff", None)]),
        (b"", b"4", headers),
    ]
    write_raw(kafka.bootstrap, topic, records, start * 1000)
    source = kafka_source(kafka, topic)
    with ConnectorProcess(tmp_path, sandbox.credentials_path, source, FAST).start() as connector:
        wait_until(lambda: committed(kafka, topic, 1) == [good + 4], 30, "all is committed", every=0.3)
        assert connector.stop() == 0, connector.log()
    assert "Traceback" not in connector.log()
    assert connector.ledger()[0] == 0
    assert dict(sandbox.samples(topic)) == {start * 10**6: 4}, "the last one has the time of the first one"
    found = {letter["position"] - good + 1: letter for letter in letters(connector)}
    assert sorted(found) == [1, 2, 3]
    assert found[1]["headers"] == [["", ""], ["n", ""], ["v", "\\xff\0"], ["twice", "1"], ["twice", "2"]]
    assert base64.b64decode(found[1]["key_base64"]) == b"\xff\0"
    for position, text in ((2, "2"), (3, None)):
        (reject,) = found[position]["rejects"]
        assert (reject["reason"], "no UTF-8" in reject["message"]) == ("malformed_record", True)
        assert found[position].get("payload_text") == text


def test_no_secret_is_in_letters_or_logs(sandbox: SandboxServer, tmp_path: Path) -> None:
    secret = sandbox.credentials()["credentials"]["clientSecret"]
    sandbox.faults([{"kind": "bad_value", "method": "insert", "value": BAD, "names": "series"}])
    (tmp_path / "data.ndjson").write_text(f"broken {{\n{BAD}\n")
    source = "  - {type: file, path: data.ndjson, topic: t}"
    connector = ConnectorProcess(tmp_path, sandbox.credentials_path, source, f"{FAST}\ndead_letters: {{type: file}}")
    assert connector.start(ready=False).wait(60) == 0, connector.log()
    content = b"".join(path.read_bytes() for path in (tmp_path / "state" / "dead-letters").iterdir())
    assert content.count(b"\n") == 2
    assert secret.encode() not in content
    assert secret not in connector.log()
