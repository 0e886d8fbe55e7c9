"""`clarify-connector test`: people's own tests of their mapping, with a clear diff and an exit status for CI."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import Result

from connector.commands.cli import main
from tests.secret_search import SearchedCommands

EXAMPLES = Path(__file__).parents[3] / "config"
CONFIG = """\
clarify: {credentials: nowhere.json}
sources:
  - {type: kafka, bootstrap_servers: "${SERVERS:-k:1}", topics: [t], group_id: g}
mapping:
  rules:
    - topic: plant/{machine}
      input: "{machine}/{field}"
      name: "{machine} {field}"
      labels: {machine: "{machine}"}
    - topic: secret
      skip: true
"""
GOOD = """\
tests:
  - name: a press
    message: {topic: plant/p1, payload: {ts: 2026-05-01T06:00:00Z, v: 1.5, on: true, note: x}}
    samples:
      - {input: p1/on, value: 1}
      - {input: p1/v, time: 2026-05-01T06:00:00Z, value: 1.5}
    filtered_values: 1
    signals: {p1/v: {name: p1 v, labels: {machine: p1}}}
  - {name: left out, message: {topic: secret, payload: {v: 1}}, filtered: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "connector.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def run(folder: Path, text: str | None, *options: str, status: int = 0) -> Result:
    if text is not None:
        (folder / "connector-tests.yaml").write_text(text, encoding="utf-8")
    result = SearchedCommands().invoke(main, ["test", str(folder / "connector.yaml"), *options])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def test_the_example_passes_and_reaches_every_rule(tmp_path: Path) -> None:
    for name in ("mapping-rules.yaml", "mapping-tests.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    result = SearchedCommands().invoke(main, ["test", str(tmp_path / "mapping-rules.yaml"), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["passed"] == len(
        re.findall(r"^  - name:", (EXAMPLES / "mapping-tests.yaml").read_text(), re.MULTILINE)
    )
    assert found["untested_rules"] == []


def test_all_pass(folder: Path) -> None:
    assert run(folder, GOOD).stdout == "2 passed, 0 failed\n"
    verbose = run(folder, GOOD, "--verbose").stdout
    assert f"ok    {folder}/connector-tests.yaml:2: a press" in verbose


@pytest.mark.parametrize(
    ("now", "then", "differences"),
    [
        ("value: 1.5}", "value: 1.6}", ["- p1/v  2026-05-01T06:00:00Z  1.6", "+ p1/v  2026-05-01T06:00:00Z  1.5"]),
        ("p1/on,", "p1/off,", ["- p1/off  (any time)  1", "+ p1/on  2026-05-01T06:00:00Z  1"]),
        ("time: 2026-05-01T06:00:00Z, value", "time: 1777615201, value", ["- p1/v  2026-05-01T06:00:01Z  1.5"]),
        ("      - {input: p1/on, value: 1}\n", "", ["+ p1/on  2026-05-01T06:00:00Z  1"]),
        ("filtered_values: 1", "filtered_values: 2", ["- 2 values filtered", "+ 1 values filtered"]),
        ("name: p1 v,", "name: p1 w,", ["- name: p1 w", "+ name: p1 v"]),
        ("labels: {machine: p1}", "labels: {machine: p2}", ["- label machine: p2", "+ label machine: p1"]),
        ("signals: {p1/v:", "signals: {p1/w:", ["- metadata of p1/w"]),
        ("topic: secret", "topic: plant/p1", ["- filtered: nothing comes of the message", "+ p1/v"]),
        ("filtered: true", "rejects: [no_rule]", ["- reject no_rule"]),
        ("v: 1.5,", "ts: 5, v: 1.5,", ["cannot be run"]),
    ],
)
def test_a_failure_says_what_was_expected_and_what_came(
    folder: Path, now: str, then: str, differences: list[str]
) -> None:
    assert now in GOOD
    status = 2 if "cannot" in differences[0] else 1
    output = run(folder, GOOD.replace(now, then), status=status).output
    for difference in differences:
        assert difference in output, output
    if status == 1:
        assert "FAIL" in output
        assert "1 passed, 1 failed" in output


def test_rejects_are_expected_by_reason_path_and_words(folder: Path) -> None:
    text = """\
tests:
  - name: a
    message: {topic: plant/p1, payload_text: "{broken"}
    rejects: [invalid_json]
  - name: b
    message: {topic: plant/p1, payload_text: '{"v": NaN, "w": 1}'}
    samples: [{input: p1/w, value: 1}]
    rejects: [{reason: not_finite, path: v, message: NaN}]
"""
    run(folder, text)
    assert (
        "+ reject invalid_json: not JSON" in run(folder, text.replace("rejects: [i", "samples: [] #"), status=1).output
    )
    assert "- reject not_finite of value x" in run(folder, text.replace("path: v", "path: x"), status=1).output
    assert "…no such words…" in run(folder, text.replace("message: NaN", "message: no such words"), status=1).output


def test_samples_that_are_not_named_may_come_too_where_it_says_so(folder: Path) -> None:
    text = """\
tests:
  - name: a
    message: {topic: plant/p1, payload: {v: 1, w: 2}}
    samples: [{input: p1/w, value: 2}]
    other_samples: true
"""
    run(folder, text)
    assert "- p1/w  (any time)  3" in run(folder, text.replace("value: 2", "value: 3"), status=1).output
    assert "+ p1/v" in run(folder, text.replace("    other_samples: true\n", ""), status=1).output


def test_messages_in_order_are_seen_by_one_mapping_and_tests_by_another(folder: Path) -> None:
    """Two topics that want one input ID: which of them came first is remembered within a test, not between two."""
    step = "      - {message: {topic: %s, payload: {v: 1}}, samples: [{input: %s, value: 1}]}\n"
    text = (
        "tests:\n  - name: one\n    steps:\n" + step % ("plant/a b", "a_b/v-6aca5e0c56") + step % ("plant/a_b", "a_b/v")
    )
    output = run(folder, text, status=1).output  # whatever the hash is, the first of the two has one
    given = re.search(r"\+ (a_b/v-[0-9a-f]{10})", output)
    assert given, output
    run(folder, text.replace("a_b/v-6aca5e0c56", given[1]))
    assert "message 1 on topic 'plant/a b', taken by rule 1" in output


def test_payloads_from_files_and_bytes_with_keys_and_headers(folder: Path) -> None:
    (folder / "payload.bin").write_bytes(b'{"v": 7}')
    config = CONFIG.replace(
        "- topic: secret", "- topic: keyed\n      key: '{line}'\n      input: '{line}/{header.unit}'"
    )
    (folder / "connector.yaml").write_text(config.replace("skip: true", "name: x"), encoding="utf-8")
    payload = base64.b64encode(b'{"v": 8}').decode()
    run(
        folder,
        f"""\
tests:
  - name: a
    message: {{topic: plant/p1, payload_file: payload.bin, time: 2026-05-01T06:00:00Z}}
    samples: [{{input: p1/v, time: 2026-05-01T06:00:00Z, value: 7}}]
  - name: b
    message: {{topic: keyed, payload_base64: {payload}, key: l1, headers: {{unit: bar}}}}
    samples: [{{input: l1/bar, value: 8}}]
""",
    )


def test_rules_without_a_test_are_named(folder: Path) -> None:
    text = GOOD[: GOOD.index("  - {name: left out")]
    assert "rules that no test's message reaches: 2 (line 10, secret)" in run(folder, text).stdout


def test_for_programs(folder: Path) -> None:
    bad = GOOD.replace("value: 1.5}", "value: 1.6}")
    found: dict[str, Any] = json.loads(run(folder, bad, "--json", status=1).stdout)
    assert (found["passed"], found["failed"]) == (1, 1)
    assert found["tests"][0]["failures"][0]["rules"] == [{"number": 1, "line": 6}]
    report = folder / "report.xml"
    run(folder, bad, "--junit", str(report), status=1)
    suite = ET.parse(report).getroot()
    assert suite.get("failures") == "1"
    [failure] = suite.iter("failure")
    assert "p1/v  2026-05-01T06:00:00Z  1.6" in str(failure.text)
    assert len(list(suite.iter("testcase"))) == 2


def test_which_files_are_taken(folder: Path) -> None:
    assert "no file whose name ends in -tests.yaml" in run(folder, None, status=2).output
    (folder / "other-tests.yaml").write_text("config: other.yaml\n" + GOOD, encoding="utf-8")
    assert run(folder, GOOD).stdout.startswith("2 passed")
    (folder / "third-tests.yaml").write_text("config: connector.yaml\n" + GOOD, encoding="utf-8")
    assert run(folder, GOOD).stdout.startswith("4 passed")
    assert run(folder, None, str(folder / "other-tests.yaml")).stdout.startswith("2 passed")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tests: []", "connector-tests.yaml:1: tests: List should have at least 1 item"),
        ("tests:\n  - {name: a, message: {topic: t, payload: 1}}", ":2: tests[0]: name the expected outcome"),
        (
            "tests:\n  - name: a\n    message: {topic: t, payload: 1}\n    sample: []",
            ":4: tests[0].sample: is not known here; did you mean samples?",
        ),
        (
            "tests:\n  - name: a\n    mesage: {}\n    samples: []",
            "tests[0].mesage: is not known here; did you mean message",
        ),
        ("tests:\n  - {name: a, message: {topic: t}, samples: []}", ":2: 'a': message: exactly one of payload"),
        (
            "tests:\n  - {name: a, message: {topic: t, payload_file: no}, samples: []}",
            "no cannot be read: No such file",
        ),
        ("tests:\n  - {name: a, message: {topic: t, payload: 1, tme: 5}, samples: []}", "'tme' is not known"),
        (
            "tests:\n  - name: a\n    steps:\n      - {message: {topic: t, payload: 1}, rejects: [nothing]}",
            ":4: tests[0].steps[0].rejects[0].reason: 'nothing' is no reason for a reject; known are",
        ),
        ("tests:\n  - {name: a, message: {topic: t, payload: 1}, rejects: [no_rules]}", "did you mean no_rule?"),
        (
            "tests:\n  - {name: a, message: {topic: t, payload: 1}, samples: [{input: x, value: 1, time: soon}]}",
            "'soon' is neither ISO 8601 nor an epoch number",
        ),
        (
            "tests:\n  - {name: a, message: {topic: t, payload: 1}, filtered: true, rejects: [no_rule]}",
            "filtered: true means that nothing comes of the message",
        ),
        (
            "tests:\n  - {name: a, message: {topic: t, payload: {v: 123456789012345678901234567890}}, samples: []}",
            "payload cannot be JSON",
        ),
        ("tests: [", "not valid YAML"),
        ("- a", "a file of tests has tests:, a list"),
    ],
)
def test_a_mistake_in_a_test_names_line_field_and_remedy(folder: Path, text: str, words: str) -> None:
    output = run(folder, text, status=2).output
    assert "the tests cannot be run" in output
    assert words in output


def test_a_configuration_that_cannot_be_used_is_no_failed_test(folder: Path) -> None:
    (folder / "connector.yaml").write_text(CONFIG.replace("input:", "inpt:"), encoding="utf-8")
    assert "did you mean input?" in run(folder, GOOD, status=2).output


def test_without_its_schema_registry_a_test_cannot_be_run(folder: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        text = CONFIG.replace("      skip: true\n", "      format: {type: avro, registry: main}\n")
        text += f"schema_registries: {{main: {{url: 'http://127.0.0.1:{nobody.getsockname()[1]}'}}}}\n"
        (folder / "connector.yaml").write_text(text, encoding="utf-8")
        message = {"topic": "secret", "payload_base64": base64.b64encode(b"\0\0\0\0\x07\x02").decode()}
        tests = json.dumps({"tests": [{"name": "a", "message": message, "samples": []}]})
        output = " ".join(run(folder, tests, status=2).output.split())
    assert "the tests cannot be run: the schema registry main cannot be asked for" in output
    assert "Make the registry reachable from here" in output
