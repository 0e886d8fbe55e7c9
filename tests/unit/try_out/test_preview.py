"""`clarify-connector preview`: what would be sent, what not and why, without a network or credentials."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from connector.commands.cli import main
from connector.records import Mapped
from connector.try_out.frames import FrameLimits, LivePace, Packer
from tests.secret_search import SearchedCommands

CONFIG = """\
clarify: {credentials: nowhere.json}
sources:
  - {type: mqtt, name: plant, url: "mqtts://broker.example.com", topics: ["#"], username: me, password: "${NOT_SET}"}
  - {type: mqtt, name: office, url: "mqtts://other.example.com", topics: ["#"]}
mapping:
  rules:
    - topic: plant/{machine}/debug
      skip: true
    - topic: plant/{machine}/telemetry
      input: "{machine}/{field}"
      name: "{machine} {field}"
      values:
        temp: {unit: °C}
        batch: {skip: true}
    - topic: never/{x}
  unmatched: dead_letter
state_dir: state
"""
T0 = 1_790_000_000


def line(topic: str, payload: object, **more: object) -> str:
    return json.dumps({"topic": topic, "payload": payload, **more}) + "\n"


CAPTURE = (
    "".join(
        line(f"plant/m{n % 2}/telemetry", {"ts": T0 + n // 2, "temp": n, "batch": 7, "note": "x"}, source="plant")
        for n in range(10)
    )
    + line("plant/m0/debug", {"heap": 5})
    + json.dumps({"topic": "plant/m1/telemetry", "payload_text": "{broken"}) + "\n"
    + line("plant/m0/telemetry", {"ts": "yesterday", "temp": 1})
    + line("plant/m1/telemetry", {"ts": "yesterday", "temp": 1}, source="gone")
    + line("elsewhere", {"v": 1})
    + "no record\n"
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "connector.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "capture.ndjson").write_text(CAPTURE, encoding="utf-8")
    return tmp_path


def preview(folder: Path, *options: str | Path, status: int = 0, text: str | None = None) -> Result:
    arguments = ["preview", str(folder / "connector.yaml"), *map(str, options)]
    result = SearchedCommands().invoke(main, arguments, input=text)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def as_json(folder: Path, *options: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(preview(folder, "--json", *options).stdout)
    return found


def of_capture(folder: Path, *options: str | Path) -> dict[str, Any]:
    return as_json(folder, "--input", folder / "capture.ndjson", *options)


def test_every_message_and_value_is_accounted_for(folder: Path) -> None:
    found = of_capture(folder)
    assert found["messages"] == {
        "received": 16,
        "mapped": 10,
        "rejected": 5,
        "left_out": 1,
        "waiting_for_schema": 0,
    }
    assert found["samples"] == 10
    assert found["values_left_out"] == 20  # a batch and a text in each of ten
    assert (found["first"], found["last"]) == ("2026-09-21T14:13:20Z", "2026-09-21T14:13:24Z")


def test_the_frame_is_the_one_that_would_be_sent(folder: Path) -> None:
    [frame] = of_capture(folder)["frames"]
    assert (frame["rows"], frame["series"], frame["samples"], frame["null_share"]) == (5, 2, 10, 0)
    assert frame["table"] == {
        "times": [f"2026-09-21T14:13:2{n}Z" for n in range(5)],
        "inputs": ["m0/temp", "m1/temp"],
        "cells": [[n * 2, n * 2 + 1] for n in range(5)],
    }
    body = {
        "times": frame["table"]["times"],
        "series": {name: [row[i] for row in frame["table"]["cells"]] for i, name in enumerate(["m0/temp", "m1/temp"])},
    }
    assert frame["bytes"] == len(json.dumps(body, separators=(",", ":")).replace(".0", ""))


def test_rejects_name_reason_line_and_rule(folder: Path) -> None:
    rejects = {(group["reason"], group["path"]): group for group in of_capture(folder)["rejects"]}
    broken = rejects["invalid_json", None]
    assert (broken["count"], broken["lines"], broken["topic"]) == (1, [12], "plant/m1/telemetry")
    assert broken["rule"] == {"number": 2, "line": 9, "topic": "plant/{machine}/telemetry"}
    assert "not JSON" in broken["message"]
    times = rejects["time_unreadable", None]
    assert (times["count"], times["lines"], times["value"]) == (2, [13, 14], "'yesterday'")
    assert rejects["no_rule", None]["rule"] is None
    assert rejects["malformed_record", None]["lines"] == [16]


def test_rules_say_what_they_took(folder: Path) -> None:
    found = of_capture(folder)
    rules = {entry["rule"]["number"] if entry["rule"] else 0: entry for entry in found["rules"]}
    assert rules[1]["messages_left_out"] == rules[1]["messages"] == 1
    assert (rules[2]["messages"], rules[2]["samples"], rules[2]["rejects"]) == (13, 10, 3)
    assert rules[0]["messages"] == 2
    assert found["rules_that_took_nothing"] == [{"number": 3, "line": 15, "topic": "never/{x}"}]


def test_values_that_no_message_had_are_named(folder: Path) -> None:
    further = ["tmep: {scale: 0.1}", "hot: {path: 'temp > `3`'}", "cold: {path: 'x > `3`'}"]
    values = "\n        ".join(["temp: {unit: °C}", *further])
    (folder / "connector.yaml").write_text(CONFIG.replace("temp: {unit: °C}", values), encoding="utf-8")
    said = preview(folder, "--input", folder / "capture.ndjson").stdout
    assert [
        name for name in ("temp", "tmep", "hot", "cold", "batch") if f"no message gave a value '{name}'" in said
    ] == [
        "tmep",
        "cold",
    ]


def test_signals_have_their_metadata_and_are_not_compared_without_credentials(folder: Path) -> None:
    found = of_capture(folder)
    first = found["signals"][0]
    assert (first["input"], first["samples"], first["last_value"], first["status"]) == ("m0/temp", 5, 8, "not_compared")
    assert first["metadata"]["name"] == "m0 temp"
    assert first["metadata"]["unit"] == "°C"
    assert "there is no credentials file" in found["clarify"]["not_compared"]
    assert of_capture(folder, "--no-clarify")["clarify"]["not_compared"] == "--no-clarify"


def test_a_source_that_the_configuration_does_not_have_is_said(folder: Path) -> None:
    assert of_capture(folder)["unknown_sources"] == {"gone": 1}
    assert "'gone', which the configuration does not have" in preview(
        folder, "--input", folder / "capture.ndjson"
    ).output.replace("\n", " ")


def test_the_text_says_the_same(folder: Path) -> None:
    text = preview(folder, "--input", folder / "capture.ndjson").stdout
    assert "Frame 1 of 1: 5 rows of 2 series, 10 samples" in text
    assert "2026-09-21T14:13:20Z        0        1" in text
    assert "rule 2 (connector.yaml:9)" in text
    assert "line 13, 14" in text
    assert "16: 10 mapped, 5 rejected, 1 left out" in text
    assert "not compared with Clarify: there is no credentials file" in text


def test_lines_that_are_payloads_of_one_topic(folder: Path) -> None:
    (folder / "payloads.txt").write_text('{"temp": 1}\n{"temp": 2}\n', encoding="utf-8")
    found = as_json(folder, "--input", folder / "payloads.txt", "--topic", "plant/m5/telemetry")
    assert [signal["input"] for signal in found["signals"]] == ["m5/temp"]


def test_standard_input_and_a_count(folder: Path) -> None:
    result = preview(folder, "--json", "--input", "-", "--count", "3", text=CAPTURE)
    assert json.loads(result.stdout)["messages"]["received"] == 3


def test_a_change_of_mapping(folder: Path) -> None:
    other = folder / "other.yaml"
    changed = CONFIG.replace('"{machine}/{field}"', '"{machine}.{field}"').replace("batch: {skip: true}", "temp2: {}")
    other.write_text(changed.replace("unmatched: dead_letter", "unmatched: map"), encoding="utf-8")
    found = of_capture(folder, "--compare", other)["comparison"]
    assert found["kept"] == 0
    assert found["renamed"] == [
        {"before": f"m{n}/temp", "after": f"m{n}.temp", "topic": f"plant/m{n}/telemetry", "path": "temp"}
        for n in range(2)
    ]
    assert found["created"] == ["elsewhere:v", "m0.batch", "m0.temp", "m1.batch", "m1.temp"]
    assert found["orphaned"] == ["m0/temp", "m1/temp"]
    assert found["samples"] == {"before": 10, "after": 21}
    text = preview(folder, "--input", folder / "capture.ndjson", "--compare", other).stdout
    assert "5 would be new, 2 would get no more data" in text
    assert "  new:\n    elsewhere:v\n    m0.batch\n    m1.batch\n" in text


WORKBENCH = CONFIG.replace("temp: {unit: °C}", "temp: {unit: °C, scale: 10}").replace(
    "    - topic: never/{x}\n", "    - topic: elsewhere\n      input: else\n      publish: true\n"
)


def test_a_change_of_mapping_message_by_message(folder: Path) -> None:
    """Values, times, names, and what becomes of a message: before and after, with what to copy."""
    other = folder / "changed.yaml"
    other.write_text(WORKBENCH, encoding="utf-8")
    found = of_capture(folder, "--compare", other)["comparison"]
    assert (found["messages_with_changes"], found["samples_unchanged"]) == (10, 1)  # ten times 0 is 0
    changes = {(one["change"], one["line"]): one for one in found["changes"]}
    assert set(changes) == {("value", 2), ("value", 3), ("new", 15)}
    assert (changes["value", 2]["count"], changes["value", 3]["count"]) == (5, 4)
    assert changes["value", 2]["before"] == {"input": "m1/temp", "time": "2026-09-21T14:13:20Z", "value": 1}
    assert changes["value", 2]["after"] == {"input": "m1/temp", "time": "2026-09-21T14:13:20Z", "value": 10}
    assert (changes["new", 15]["before"], changes["new", 15]["after"]["input"]) == (None, "else")
    (vanishes,) = found["rejects_that_vanish"]
    assert (vanishes["reason"], vanishes["count"], vanishes["line"]) == ("no_rule", 1, 15)
    assert found["rejects_that_appear"] == []
    assert found["cost"] == {
        "new_signals": 1,
        "in_clarify_already": None,
        "not_compared": f"there is no credentials file {folder / 'nowhere.json'}",
        "published_as_items": 1,
        "room_of_signals_max": {"default": 99_997},
    }
    rules = [one["text"] for one in found["rules"]]
    assert rules[1] == "    - topic: elsewhere\n      input: else\n      publish: true"
    assert rules[0].startswith("    - topic: plant/{machine}/telemetry\n")
    assert len(rules) == 2, "the rule that both have is not copied"
    text = preview(folder, "--input", folder / "capture.ndjson", "--compare", other).stdout
    for words in (
        "  cost: each new signal is billed; Clarify was not asked which are there already: there is no credentials",
        "1 would be published as items\n",
        "Dead letters that would vanish (1), by kind\n  1 × no_rule: topic 'elsewhere', line 15\n",  # noqa: RUF001
        "to copy\n    - topic: plant/{machine}/telemetry\n      input:",
    ):
        assert words in text, text
    assert "value 5 2 m1/temp 2026-09-21T14:13:20Z 1 same same 10 value 4 3 m0/temp" in " ".join(text.split())


def test_tests_to_copy_pass_with_the_changed_mapping_and_fail_with_the_present_one(folder: Path) -> None:
    other = folder / "changed.yaml"
    other.write_text(WORKBENCH, encoding="utf-8")
    text = preview(folder, "--input", folder / "capture.ndjson", "--compare", other).stdout
    tests = folder / "changed-tests.yaml"
    tests.write_text(text[text.index("\ntests:\n") : text.index("\nSummary")], encoding="utf-8")
    for config, status, said in (
        (other, 0, "3 passed, 0 failed"),
        (folder / "connector.yaml", 1, "0 passed, 3 failed"),
    ):
        result = SearchedCommands().invoke(main, ["test", str(config), str(tests)])
        assert (result.exit_code, said in result.output) == (status, True), result.output


def test_renamed_moved_and_lost_samples_and_new_rejects_are_told_apart(folder: Path) -> None:
    line_of = {"t": 1, "p": {"v": 1.5}, "when": "2026-05-01T06:00:00Z", "at": "2026-05-01T07:00:00Z", "word": "on"}
    (folder / "capture.ndjson").write_text(line("x/1", line_of, source="plant") * 3, encoding="utf-8")
    for name, rule in (
        ("connector.yaml", "{topic: x/+, time: when, values: {word: {skip: true}}}"),
        (
            "changed.yaml",
            "{topic: x/+, time: at, values: {p.v: {input: n}, t: {skip: true}, word: {states: {off: 0}}}}",
        ),
    ):
        text = CONFIG.replace("    - topic: never/{x}\n", f"    - {rule}\n")
        (folder / name).write_text(text, encoding="utf-8")
    found = of_capture(folder, "--compare", folder / "changed.yaml")["comparison"]
    assert {(one["change"], one["count"]) for one in found["changes"]} >= {("renamed", 3), ("gone", 3)}
    assert [(one["reason"], one["path"], one["count"]) for one in found["rejects_that_appear"]] == [
        ("unknown_state", "word", 3)
    ]
    (renamed,) = [one for one in found["changes"] if one["change"] == "renamed"]
    assert (renamed["before"]["input"], renamed["after"]["input"]) == ("x/1:p.v", "n")
    assert (renamed["before"]["time"], renamed["after"]["time"]) == ("2026-05-01T06:00:00Z", "2026-05-01T07:00:00Z")


def test_a_message_that_counts_only_after_others_or_is_large_gives_no_test(folder: Path) -> None:
    for name, thin in (("connector.yaml", ""), ("changed.yaml", ", thin: {min_interval: 1m}")):
        text = CONFIG.replace("temp: {unit: °C}", f"temp: {{unit: °C{thin}}}")
        (folder / name).write_text(text, encoding="utf-8")
    found = of_capture(folder, "--compare", folder / "changed.yaml")["comparison"]
    assert [(one["change"], one["count"]) for one in found["changes"]] == [("gone", 4), ("gone", 4)]
    assert found["tests"] == [], "each of these messages alone would give its sample"
    large = line("plant/m0/telemetry", {"temp": 1, "note": "x" * 5000}, source="plant")
    (folder / "capture.ndjson").write_text(large, encoding="utf-8")
    (folder / "changed.yaml").write_text(WORKBENCH, encoding="utf-8")
    found = of_capture(folder, "--compare", folder / "changed.yaml")["comparison"]
    assert ([one["change"] for one in found["changes"]], found["tests"]) == (["value"], [])


def test_what_is_renamed_is_found_by_its_topic_where_sources_are_called_otherwise(folder: Path) -> None:
    other = folder / "other.yaml"
    other.write_text(CONFIG.replace("name: plant", "name: works").replace("/{field}", ".{field}"), encoding="utf-8")
    renamed = of_capture(folder, "--compare", other)["comparison"]["renamed"]
    assert [(found["before"], found["after"]) for found in renamed] == [("m0/temp", "m0.temp"), ("m1/temp", "m1.temp")]


def test_records_that_keys_tell_apart_are_not_mixed_up(folder: Path) -> None:
    rule = "    - {topic: keyed, key: '{device}', input: 'NAME'}\n"
    for name, template in (("connector.yaml", "{device}/{field}"), ("other.yaml", "{device}.{field}")):
        text = CONFIG.replace("    - topic: never/{x}\n", rule.replace("NAME", template))
        (folder / name).write_text(text, encoding="utf-8")
    keys = ["d2", "d1", "d3"]
    (folder / "capture.ndjson").write_text("".join(line("keyed", {"v": 1}, key=key) for key in keys), encoding="utf-8")
    renamed = of_capture(folder, "--compare", folder / "other.yaml")["comparison"]["renamed"]
    assert [(found["before"], found["after"]) for found in renamed] == [(f"d{n}/v", f"d{n}.v") for n in (1, 2, 3)]


BY_WHEN = """\
clarify: {credentials: nowhere.json}
sources: [{type: mqtt, url: "mqtts://broker.example.com", topics: ["#"]}]
mapping:
  MATCH
  rules:
    - {topic: t, when: {kind: a}, input: "a/{field}"}
    - {topic: t, headers: {unit: "{unit}"}, input: "{unit}/{field}"}
    - {topic: t, when: {kind: b}, input: "b/{field}", values: {v: {max: 5, out_of_range: reject}}}
    - {topic: t, input: "rest/{field}"}
"""
BY_WHEN_CAPTURE = (
    line("t", {"kind": "a", "v": 1})
    + line("t", {"kind": "b", "v": 2})
    + line("t", {"kind": "b", "v": 9})
    + line("t", {"kind": "c", "w": 3})
    + line("t", {"kind": "c", "v": 4}, headers=[["unit", "bar"]])
)


def _taken_by(folder: Path, match: str) -> tuple[dict[str, int], dict[int, int], list[int]]:
    """Input → its rule, rule → its messages, and the rules of rejects."""
    (folder / "connector.yaml").write_text(BY_WHEN.replace("MATCH", match), encoding="utf-8")
    (folder / "capture.ndjson").write_text(BY_WHEN_CAPTURE, encoding="utf-8")
    found = of_capture(folder)
    return (
        {signal["input"]: signal["rule"]["number"] for signal in found["signals"]},
        {entry["rule"]["number"]: entry["messages"] for entry in found["rules"]},
        [group["rule"]["number"] for group in found["rejects"]],
    )


def test_conditions_and_headers_count_for_the_rule_that_is_named(folder: Path) -> None:
    inputs, messages, rejects = _taken_by(folder, "match: first")
    assert inputs == {"a/v": 1, "bar/v": 2, "b/v": 3, "rest/w": 4}
    assert messages == {1: 1, 2: 1, 3: 2, 4: 1}
    assert rejects == [3]


def test_where_all_rules_match_each_sample_is_of_its_own(folder: Path) -> None:
    inputs, messages, rejects = _taken_by(folder, "match: all")
    assert inputs == {"a/v": 1, "bar/v": 2, "b/v": 3, "rest/v": 4, "rest/w": 4}
    assert messages == {1: 1, 2: 1, 3: 2, 4: 5}
    assert rejects == [3]


def test_a_preset_of_several_rules_counts_a_message_once(folder: Path) -> None:
    preset = '    - {preset: tasmota}\n    - {topic: "tele/#", input: "other/{path}"}\n'
    text = BY_WHEN.replace("MATCH", "match: all").split("  rules:\n")[0] + "  rules:\n" + preset
    (folder / "connector.yaml").write_text(text, encoding="utf-8")
    (folder / "capture.ndjson").write_text(line("tele/plug/STATE", {"Uptime": "0T", "Heap": 25}), encoding="utf-8")
    rules = {entry["rule"]["number"]: entry["messages"] for entry in of_capture(folder)["rules"]}
    assert rules == {1: 1, 2: 1}


def test_messages_whose_schema_registry_is_away_are_no_rejects(folder: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        (folder / "connector.yaml").write_text(
            CONFIG.replace("    - topic: never/{x}\n", "    - {topic: avro, format: {type: avro, registry: main}}\n")
            + f"schema_registries: {{main: {{url: 'http://127.0.0.1:{nobody.getsockname()[1]}'}}}}\n",
            encoding="utf-8",
        )
        record = {"topic": "avro", "payload_base64": base64.b64encode(b"\0\0\0\0\x07\x02").decode()}
        (folder / "capture.ndjson").write_text((json.dumps(record) + "\n") * 3, encoding="utf-8")
        found = of_capture(folder)
        text = preview(folder, "--input", folder / "capture.ndjson").stdout
    assert found["rejects"] == []
    assert (found["messages"]["received"], found["messages"]["waiting_for_schema"]) == (3, 3)
    (trouble,) = found["schema_unavailable"]
    assert (trouble["count"], trouble["lines"]) == (3, [1, 2, 3])
    assert "main" in trouble["message"]
    assert "7" in trouble["message"]
    assert "mapping_failed" not in text
    assert "3 wait for a schema" in text
    assert "To see the outcome, make the schema" in text


def test_what_is_down_sampled_is_shown_as_it_would_be_sent(folder: Path) -> None:
    (folder / "connector.yaml").write_text(
        CONFIG.replace("        temp: {unit: °C}\n", "        temp: {thin: {window: 10s, by: mean}}\n"),
        encoding="utf-8",
    )
    seconds = [*range(25), 3]  # the last is of a window that is closed
    (folder / "capture.ndjson").write_text(
        "".join(line("plant/m/telemetry", {"ts": T0 + s, "temp": s, "raw": s}, time=T0 + s) for s in seconds),
        encoding="utf-8",
    )
    found = of_capture(folder)
    assert found["windows"] == {"values": 25, "samples": 3, "values_too_late": 1}
    assert found["messages"]["mapped"] == 26
    inputs = {signal["input"]: signal for signal in found["signals"]}
    assert (inputs["m/temp"]["samples"], inputs["m/raw"]["samples"]) == (3, 26)
    assert inputs["m/temp"]["rule"]["number"] == 2
    assert found["samples"] == 29
    (counted,) = found["rules"]
    assert (counted["samples"], counted["values_in_windows"], counted["values_left_out"]) == (29, 25, 1)
    sent = sum(frame["samples"] + frame["superseded"] for frame in found["frames"])
    assert sent == found["samples"]
    (frame,) = found["frames"]
    temp = frame["table"]["inputs"].index("m/temp")
    assert frame["table"]["cells"][0][temp] == 4.5
    text = preview(folder, "--input", folder / "capture.ndjson").stdout
    assert "25 values went into 3 windows, one sample for each window (thin); left out, since too late: 1" in text


def test_the_same_mapping_changes_nothing(folder: Path) -> None:
    found = of_capture(folder, "--compare", folder / "connector.yaml")["comparison"]
    assert (found["kept"], found["renamed"], found["created"], found["orphaned"]) == (2, [], [], [])
    assert (found["changes"], found["rejects_that_appear"], found["rules"], found["tests"]) == ([], [], [], [])
    assert found["samples_unchanged"] == 10


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ((), 2, "choose the messages: --input FILE, or --live 30s"),
        (("--input", "capture.ndjson", "--live", "1s"), 2, "choose the messages: --input FILE, or --live 30s"),
        (("--live", "soon"), 2, "'soon' is no duration"),
        (("--live", "1s", "--topic", "t"), 2, "--topic needs --input"),
        (("--input", "nothere"), 2, "does not exist"),
        (("--input", "capture.ndjson", "--compare", "nothere.yaml"), 1, "there is no such file"),
        (("--live", "1s"), 1, "the environment variable NOT_SET is not set"),
    ],
)
def test_what_cannot_be_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], status: int, words: str
) -> None:
    monkeypatch.chdir(folder)
    assert words in preview(folder, *options, status=status).output


# -- packing ---------------------------------------------------------------------------------------


def mapped(*samples: tuple[str, int, float]) -> Mapped:
    return Mapped(list(samples))


def packer(max_bytes: int, max_waiting: int = 500_000) -> Packer:
    return Packer(FrameLimits(max_bytes, max_waiting, 2.0), 1, 3, 2)


def test_what_does_not_fit_into_one_frame_is_several_and_none_is_too_large() -> None:
    found = packer(5000)
    for n in range(2000):
        found.add(mapped((f"s{n % 5}", T0 * 10**6 + n * 1000, n / 7)))
    found.finish()
    assert len(found.frames) > 5
    assert max(frame.bytes for frame in found.frames) <= 5000
    assert sum(frame.samples for frame in found.frames) == 2000
    assert [frame.table is not None for frame in found.frames[:2]] == [True, False]


def test_what_waits_is_bounded_like_the_connectors() -> None:
    found = packer(8_000_000, max_waiting=1000)
    for n in range(2000):
        found.add(mapped(("s", n * 10**6, 1.0)))
        assert found.waiting < 500
    found.finish()
    assert sum(frame.samples for frame in found.frames) == 2000


def test_a_later_value_of_the_same_time_replaces_the_earlier() -> None:
    found = packer(5000)
    found.add(mapped(("s", 5, 1.0), ("s", 5, 2.0)))
    found.finish()
    [frame] = found.frames
    assert (frame.samples, frame.superseded) == (1, 1)
    assert frame.table is not None
    assert frame.table.cells == [[2.0]]
    assert frame.bytes == len('{"times":["1970-01-01T00:00:00.000005Z"],"series":{"s":[2]}}')


def test_what_alignment_would_save(folder: Path) -> None:
    lines = (line("never/a", {"ts": T0 + n / 10, f"v{n % 50}": n}) for n in range(500))
    (folder / "capture.ndjson").write_text("".join(lines), encoding="utf-8")
    found = of_capture(folder)
    aligned = found["requests"]["aligned_to_seconds"]
    assert aligned["at_once"] == 1
    assert aligned["bytes"] * 5 < found["frames"][0]["bytes"]
    assert aligned["values_replaced"] == 0
    text = preview(folder, "--input", folder / "capture.ndjson").stdout
    assert "with times aligned to whole seconds 1, " in text
    assert "aligned" not in preview(folder, "--input", "-", text=line("never/a", {"ts": T0, "v": 1})).stdout


def test_requests_as_it_came() -> None:
    pace = LivePace(FrameLimits(8_000_000, 500_000, 2.0))
    for second in range(20):
        pace.add(mapped(("s", second * 10**6, 1.0)), float(second))
    pace.finish()
    assert pace.requests == 10
    quiet = LivePace(FrameLimits(8_000_000, 500_000, 2.0))
    for second in (0, 100, 200):
        quiet.add(mapped(("s", second, 1.0)), float(second))
    quiet.add(Mapped(), 300.0)
    quiet.finish()
    assert quiet.requests == 3
