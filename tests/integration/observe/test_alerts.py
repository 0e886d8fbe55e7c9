"""deploy/: alerts that fire when they should and only then, and a dashboard whose queries find something.

Prometheus' own tool evaluates both, on the pages of metrics of a connector in staged faults (staged.py).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from connector.observe.of_workers import merged_metrics
from tests.integration.observe.staged import PREFIX, staged
from tests.kafka_brokers import KafkaBroker, need_real
from tests.promtool import SCRAPE_MINUTES, TARGET, Page, history, need_promtool, promtool, run_tests, series

ROOT: Final = Path(__file__).parents[3]
ALERTS: Final = ROOT / "deploy" / "alerts.yaml"
DASHBOARD: Final = json.loads((ROOT / "deploy" / "grafana" / "clarify-connector.json").read_text())
NAME: Final = "ClarifyConnector"
BEFORE: Final = 10
"""The minutes before a fault."""
DURING: Final = 24
"""The minutes of a fault."""

AWAY: Final = {"ClarifyAway", "JournalFilling", "LossAhead", "NotReady"}
FULL: Final = {"DeadLettersAlmostFull"}
"""What fires from the time on at which dead letters are discarded."""
AT_LAST: Final = FULL | {"TagListRefused", "Notice"}
STAGES: Final[Mapping[str, tuple[str, set[str]]]] = {
    "healthy": ("start", set()),
    "Clarify is away": ("healthy", AWAY),
    "Clarify is back": ("healthy", {"KafkaRecordsExpired"}),
    "metadata is refused": ("Clarify is back", {"MetadataHeld", "MetadataWaits"}),
    "inserts are refused": ("metadata is saved", {"InsertsHeld", "NotReady"}),
    "the broker is gone": ("inserts are taken", {"LossAhead", "NotReady", "SourceInTrouble"}),
    "the session is gone": ("inserts are taken", {"MqttSessionLost"}),
    "dead letters": ("the session is gone", {"DeadLetters", "ManyDeadLetters"}),
    "many dead letters": ("the session is gone", FULL | {"DeadLetters", "ManyDeadLetters", "DeadLettersDiscarded"}),
    "Sparkplug messages are missing": ("many dead letters", FULL | {"SparkplugMessagesLost"}),
    "values are late for their window": ("Sparkplug messages are missing", FULL | {"WindowValuesLate"}),
    "data is old": ("values are late for their window", FULL | {"FreshnessMissed"}),
    "a tag list is refused": ("data is old", FULL | {"TagListRefused"}),
    "notices": ("a tag list is refused", AT_LAST),  # its two late samples are too few for FreshnessMissed
    "signals are held": ("notices", AT_LAST | {"DeadLettersDiscarded", "SignalsHeld"}),
    "dead letters are blocked": ("signals are held", AT_LAST | {"SignalsHeld", "DeadLettersBlocked", "NotReady"}),
    "silence": ("dead letters are written", AT_LAST | {"SignalsHeld", "SignalsSilent", "SubscriptionSilent"}),
}
"""Stage → the stage before it, and all alerts that fire during the stage."""

EDITED: Final[Mapping[str, tuple[str, Mapping[str, str], float]]] = {
    "ThreadInTrouble": ("threads_in_trouble", {}, 1),
    "FileDescriptors": ("process_open_fds", {}, 1e9),
    "DiskAlmostFull": ("disk_free_bytes", {}, 1e6),
    "MetadataForgotten": ("metadata_forgotten_total", {"integration": "a"}, 1),
    "MetadataFailed": ("items_failed", {"integration": "a"}, 1),
    "LoadNotSustainable": ("load_sustainable", {"integration": "b"}, 0),
    "CertificateExpires": ("certificate_expires_seconds", {"setting": "clarify.ca_file"}, 86400),
    "TelemetryNotSent": ("telemetry_failures_total", {"signal": "logs"}, 5),
    "DataLate": ("oldest_sample_seconds", {"integration": "b"}, 400),
    "MqttReconnects": ("mqtt_connections_total", {"source": "plant"}, 30),
    "MqttProtocolErrors": ("mqtt_protocol_errors_total", {"source": "plant"}, 1),
    "KafkaNoPartitions": ("kafka_assigned_partitions", {"source": "lake"}, 0),
    "KafkaRebalances": ("kafka_rebalances_total", {"source": "lake"}, 40),
}
"""Alert → the metric, its labels and its value that make the alert fire, and no other alert; all else is healthy."""
LEFT_OUT: Final[Mapping[str, str]] = {
    "align_greatest_shift_seconds": "of interest while a rule is written: the ledger has it",
    "delay_seconds_sum": "a mean hides the late ones",
    "delay_seconds_count": "the number of samples has its own graph",
    "process_virtual_memory_bytes": "says nothing about a Python program",
}
"""Metric that the dashboard leaves out → why."""


def rules() -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(ALERTS)["groups"] for rule in group["rules"]]


def changed(page: str, name: str, labels: Mapping[str, str], value: float) -> str:
    """The page with another value of one series, which must be there."""
    full = name if name.startswith("process_") else f"{PREFIX}{name}"
    text = ",".join(f'{key}="{one}"' for key, one in sorted(labels.items()))
    found, n = re.subn(
        rf"^{re.escape(f'{full}{{{text}}}' if text else full)} .*$", f"{full}{{{text}}} {value}", page, flags=re.M
    )
    assert n == 1, f"{full} {labels} is on the page"
    return found


@pytest.fixture(scope="module")
def pages(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Stage → page; the stages are over."""
    need_promtool()
    with staged(need_real(kafka), tmp_path_factory.mktemp("staged")) as it:
        yield it.pages


def fires(name: str, alerts: set[str], before: Page, *during: tuple[int, Page]) -> dict[str, Any]:
    """A test for promtool: exactly these alerts fire in `during`, and their texts name labels that they have."""
    minutes = sum(minutes for minutes, _ in during)
    at = f"{BEFORE + minutes - SCRAPE_MINUTES}m"
    firing = 'ALERTS{alertstate="firing"%s}'
    expected = [{"labels": f'{{alertname="{NAME}{alert}"}}', "value": 1} for alert in sorted(alerts)]
    tests = [
        {
            "expr": f"group by (alertname) (count_over_time({firing % ''}[{minutes}m]))",
            "eval_time": at,
            "exp_samples": expected,
        }
    ]
    for rule in rules():
        named = set(re.findall(r"{{ \$labels\.(\w+)", json.dumps(rule["annotations"]))) - {"instance"}
        if rule["alert"].removeprefix(NAME) in alerts and named:
            has = "".join(f', {label}!=""' for label in sorted(named))
            of = f', alertname="{rule["alert"]}", severity="{rule["labels"]["severity"]}"'
            tests.append(
                {
                    "expr": f"count(count_over_time({firing % (of + has)}[{minutes}m])) > bool 0",
                    "eval_time": at,
                    "exp_samples": [{"labels": "{}", "value": 1}],
                }
            )
    return {
        "name": name,
        "input_series": history([(BEFORE, before), *during], ALERTS.read_text()),
        "promql_expr_test": tests,
    }


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", ALERTS)


def test_alerts_fire_in_staged_faults_and_no_other_alert_does(pages: dict[str, str], tmp_path: Path) -> None:
    run_tests(
        ALERTS,
        tmp_path,
        [fires(stage, alerts, pages[before], (DURING, pages[stage])) for stage, (before, alerts) in STAGES.items()],
    )


def test_alerts_fire_for_a_single_metric_and_no_other_alert_does(pages: dict[str, str], tmp_path: Path) -> None:
    healthy = pages["healthy"]
    run_tests(
        ALERTS,
        tmp_path,
        [fires(alert, {alert}, healthy, (DURING, changed(healthy, *edit))) for alert, edit in EDITED.items()],
    )


def test_alerts_fire_when_a_connector_or_a_worker_is_gone_or_falls_behind(
    pages: dict[str, str], tmp_path: Path
) -> None:
    healthy = pages["healthy"]
    both, one = (merged_metrics({1: healthy, 2: page}).decode() for page in (healthy, None))
    one_long_ago = changed(healthy, "last_insert_timestamp_seconds", {"integration": "a"}, -1800)
    both_long_ago = changed(one_long_ago, "last_insert_timestamp_seconds", {"integration": "b"}, -1800)
    starts = [(6, changed(healthy, "process_start_time_seconds", {}, n)) for n in range(1, 8)]
    run_tests(
        ALERTS,
        tmp_path,
        [
            fires("gone", {"Down"}, healthy, (DURING, None)),
            fires("one integration stores nothing", set(), pages["start"], (DURING, one_long_ago)),
            fires(
                "nothing is stored",
                {"NothingStored"},
                pages["start"],
                (DURING, both_long_ago),
            ),
            fires("a worker is gone", {"WorkerDown"}, both, (DURING, one)),
            fires("starts again and again", {"Restarts"}, healthy, *starts),
            fires("lag grows", AWAY | {"KafkaLagGrows"}, healthy, (100, (pages["lag"], pages["more lag"]))),
            {**fires("absent", {"Absent"}, None, (DURING, None)), "input_series": []},
        ],
    )


def test_each_alert_fires_in_a_test() -> None:
    fired = {"Down", "NothingStored", "WorkerDown", "Restarts", "KafkaLagGrows", "Absent", *EDITED}
    fired |= {alert for _, alerts in STAGES.values() for alert in alerts}
    assert {rule["alert"].removeprefix(NAME) for rule in rules()} == fired


def test_each_alert_says_what_it_means_and_what_to_do() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert headings == list(dict.fromkeys(rule["alert"] for rule in rules())), "in the order of the alerts"
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, rule
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def queries() -> dict[str, str]:
    """Title of the panel and name of the query → the query, for all connectors, sources and integrations."""
    found = {f"{panel['title']} {one['refId']}": one["expr"] for panel in panels() for one in panel["targets"]}
    found |= {one["name"]: one["expr"] for one in DASHBOARD["annotations"]["list"]}
    replaced = {"$__rate_interval": "8m", "$__interval": "8m", "$instance": ".*", "$source": ".*", "$integration": ".*"}
    for variable, value in replaced.items():
        found = {title: query.replace(variable, value) for title, query in found.items()}
    return found


def panels() -> list[dict[str, Any]]:
    """The panels with queries."""
    return [panel for panel in (*shown(), *hidden()) if panel["type"] != "row"]


def shown() -> list[dict[str, Any]]:
    """The rows, and the panels of the rows that are open at first."""
    return list(DASHBOARD["panels"])


def hidden() -> list[dict[str, Any]]:
    """The panels of the rows that are closed at first."""
    return [panel for row in shown() for panel in row.get("panels", ())]


def named(query: str) -> set[str]:
    """The metrics in a query."""
    return set(re.findall(r"\b(?:clarify_connector|process)_\w+", query))


def test_each_query_of_the_dashboard_finds_something(pages: dict[str, str], tmp_path: Path) -> None:
    found = queries()
    assert "$" not in "".join(found.values())
    again = changed(pages["silence"], "process_start_time_seconds", {}, time.time())
    shown = [(6, page) for page in (*pages.values(), again, merged_metrics({1: again, 2: None}).decode())]
    minutes = 6 * len(shown)
    tests = [
        {
            "expr": f"count(count_over_time(({query})[{minutes}m:2m])) > bool 0 # {title}",
            "eval_time": f"{minutes - SCRAPE_MINUTES}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for title, query in found.items()
    ]
    together = history(shown, " ".join(found.values()) + ALERTS.read_text())
    run_tests(ALERTS, tmp_path, [{"name": "dashboard", "input_series": together, "promql_expr_test": tests}])


def test_each_metric_is_in_the_dashboard_and_has_the_labels_that_it_names(pages: dict[str, str]) -> None:
    labels: dict[str, set[str]] = {}
    for page in pages.values():
        for name, found in series(page):
            labels.setdefault(name, {*TARGET, "worker"}).update(key for key, _ in found)
    labels[f"{PREFIX}worker_up"] = {*TARGET, "worker"}
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            known = {"alertname", "alertstate", "severity", *TARGET}.union(*(labels[name] for name in named(query)))
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) | set(re.findall(r"(\w+)!?[=~]+\"", query))
            for grouped in re.findall(r"\bby \(([^)]+)\)", query):
                wanted |= set(re.split(r",\s*", grouped))
            assert wanted <= known, f"{panel['title']}: {query}"
    used = set().union(*(named(query) for query in queries().values()))
    ours = {name for name in labels if name.startswith((PREFIX, "process_"))}
    short = {name.removeprefix(PREFIX) for name in ours - used}
    assert short == set(LEFT_OUT)


def test_the_dashboard_is_laid_out_and_bound_to_no_data_source() -> None:
    for together in (shown(), *(row["panels"] for row in shown() if row["type"] == "row")):
        taken: set[tuple[int, int]] = set()
        for panel in together:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert max(x for x, _ in cells) < 24, panel["title"]
            assert not cells & taken, f"{panel['title']} lies on another panel"
            taken |= cells
    assert len({panel["id"] for panel in (*shown(), *hidden())}) == len(shown()) + len(hidden())
    text = json.dumps(DASHBOARD)
    assert set(re.findall(r'"uid": "([^"]+)"', text)) == {"${datasource}", DASHBOARD["uid"]}
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "instance", "source", "integration"}
