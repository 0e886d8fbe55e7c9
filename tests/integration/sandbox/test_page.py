"""The sandbox's page: what its JSON says, who may see it, and how it looks and works in a real browser.

Set PAGE_SCREENSHOTS to a folder to get pictures of it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from connector.sandbox.page import PageReader, PageRequestError, page_routes
from connector.sandbox.signal_view import SignalView, default_attributes
from connector.sandbox.store import Store
from tests.browser import Browser
from tests.sandbox_server import SandboxServer
from tests.waiting import wait_until

HOSTILE = "<img src=x onerror=\"document.title='broken'\">'\"&amp;</script><script>document.title='broken'</script>"
SECOND = 1_000_000
PAGE = "/sandbox/page"


class Sandbox:
    """The page, served from a thread of this process, over a store that the test fills."""

    def __init__(self, path: Path | None) -> None:
        self.now = time.time()
        self.now_us = int(self.now) * SECOND
        self.store = Store.open(path)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        routes = page_routes(self.store, api_url="http://sandbox.example:8090/v1/")
        config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, 10, "the page is served")

    def insert(self, key: str, samples: Mapping[int, float]) -> None:
        self.store.insert(
            self.store.integration().id,
            list(samples),
            {key: list(samples.values())},
            duplicates="newest",
            nulls="ignore",
            now=self.now,
        )

    def save(self, key: str, annotations: Mapping[str, str] | None = None, **attributes: object) -> None:
        view = SignalView(default_attributes(key) | attributes, annotations or {})
        self.store.save(self.store.integration().id, {key: view}, create_only=False, now=self.now)

    def publish(self, key: str, **attributes: object) -> str:
        view = SignalView(default_attributes(key) | {"visible": True} | attributes, {})
        signal = self.id(key)
        return self.store.publish(self.store.integration().id, {signal: view}, create_only=False, now=self.now)[
            signal
        ].id

    def id(self, key: str) -> str:
        return self.store.signals()[key].id

    def get(self, path: str, host: str | None = None, **parameters: object) -> httpx.Response:
        headers = {} if host is None else {"host": host}
        return httpx.get(self.url + path, params=parameters, headers=headers, trust_env=False, verify=False, timeout=60)

    def rows(self, what: str, **parameters: object) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.get(f"{PAGE}/{what}", **parameters).raise_for_status().json()["rows"]
        return rows

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()
        self.store.close()


@pytest.fixture(params=["file", "memory"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sandbox]:
    served = Sandbox(tmp_path / "store.sqlite" if request.param == "file" else None)
    yield served
    served.close()


@pytest.fixture
def on_file(tmp_path: Path) -> Iterator[Sandbox]:
    served = Sandbox(tmp_path / "store.sqlite")
    yield served
    served.close()


# Lists


def test_signals_with_their_newest_sample_count_and_item(sandbox: Sandbox) -> None:
    sandbox.insert("a", {sandbox.now_us - 90 * SECOND: 1, sandbox.now_us - 80 * SECOND: 2.5})
    sandbox.save("b", name="Bare", engUnit="bar", labels={"hall": ["1", "2"]})
    item = sandbox.publish("a", name="Item A")
    answer = sandbox.get(f"{PAGE}/signals").json()
    assert {key: answer[key] for key in ("signals", "items", "found")} == {"signals": 2, "items": 1, "found": 2}
    assert abs(answer["now"] - time.time() * SECOND) < 60 * SECOND
    assert answer["rows"] == [
        {
            "id": sandbox.id("a"),
            "name": "a",
            "input": "a",
            "unit": "",
            "labels": {},
            "newest": [sandbox.now_us - 80 * SECOND, 2.5],
            "state": None,
            "samples": 2,
            "item": {"id": item, "name": "Item A"},
        },
        {
            "id": sandbox.id("b"),
            "name": "Bare",
            "input": "b",
            "unit": "bar",
            "labels": {"hall": ["1", "2"]},
            "newest": None,
            "state": None,
            "samples": 0,
            "item": None,
        },
    ]


def test_counts_follow_new_samples(sandbox: Sandbox) -> None:
    for number in range(1, 4):
        sandbox.insert("a", {number: number})
        wait_until(lambda number=number: sandbox.rows("signals")[0]["samples"] == number, 10, "the sample is counted")


def test_the_newest_come_first_and_what_is_live_stays_in_place(sandbox: Sandbox) -> None:
    sandbox.save("none")
    sandbox.insert("old", {sandbox.now_us - 4000 * SECOND: 1})
    sandbox.insert("older", {sandbox.now_us - 9000 * SECOND: 1})
    sandbox.insert("live b", {sandbox.now_us - 1 * SECOND: 1})
    sandbox.insert("Live a", {sandbox.now_us - 9 * SECOND: 1})
    sandbox.insert("live 10", {sandbox.now_us - 5 * SECOND: 1})
    sandbox.insert("live 9", {sandbox.now_us - 6 * SECOND: 1})
    order = ["live 9", "live 10", "Live a", "live b", "old", "older", "none"]
    assert [row["name"] for row in sandbox.rows("signals")] == order
    sandbox.insert("Live a", {sandbox.now_us + 5 * SECOND: 1})
    assert [row["name"] for row in sandbox.rows("signals")] == order
    assert [row["name"] for row in sandbox.rows("signals", limit=2)] == order[:2]
    assert sandbox.get(f"{PAGE}/signals", limit=2).json()["found"] == 7


@pytest.mark.parametrize(
    ("query", "found"),
    [("", 2), ("FLOW", 1), ("hall: 3", 1), ("plant/7", 1), ("flow 3 m3", 1), ("flow oil", 0), ("%", 0), ("ÉTÉ", 1)],
)
def test_search(sandbox: Sandbox, query: str, found: int) -> None:
    sandbox.save("plant/7", name="Flow", engUnit="m3/h", labels={"hall": ["3"]})
    sandbox.save("oil", name="été")
    assert len(sandbox.rows("signals", q=query)) == found


def test_items_with_the_newest_sample_of_their_signals(sandbox: Sandbox) -> None:
    sandbox.insert("a", {10: 1})
    sandbox.insert("b", {30: 3, 20: 2})
    item = sandbox.publish("a", name="Both", labels={"hall": ["1"]}, engUnit="°C")
    hidden = sandbox.publish("b", name="Hidden", visible=False)
    sandbox.store.connect([sandbox.id("b")], item)
    assert sandbox.rows("items") == [
        {
            "id": item,
            "name": "Both",
            "unit": "°C",
            "labels": {"hall": ["1"]},
            "newest": [30, 3.0],
            "state": None,
            "visible": True,
            "connected": 2,
        },
        {
            "id": hidden,
            "name": "Hidden",
            "unit": "",
            "labels": {},
            "newest": None,
            "state": None,
            "visible": False,
            "connected": 0,
        },
    ]


# Samples


def test_few_samples_are_given_one_by_one(sandbox: Sandbox) -> None:
    sandbox.insert("a", {-5: -1, 0: 7, 20: 1e300})
    answer = sandbox.get(f"{PAGE}/samples", signal=sandbox.id("a"), points=3).json()
    assert (answer["exact"], answer["from"], answer["to"]) == (True, -5, 21)
    assert answer["rows"] == [[-5, -1, -1, -1, 1], [0, 7, 7, 7, 1], [20, 1e300, 1e300, 1e300, 1]]
    assert answer["input"] == "a"
    answer = sandbox.get(f"{PAGE}/samples", signal=sandbox.id("a"), to=0).json()
    assert [row[0] for row in answer["rows"]] == [-5]
    answer = sandbox.get(f"{PAGE}/samples", signal=sandbox.id("a"), **{"from": 0, "to": 20}).json()
    assert [row[0] for row in answer["rows"]] == [0]


@pytest.mark.parametrize("points", [1, 7, 100, 999])
def test_many_samples_become_buckets_that_lose_no_peak(sandbox: Sandbox, points: int) -> None:
    samples = {sandbox.now_us + number * 1000 + number % 3: float(number * 7919 % 1000) for number in range(1000)}
    sandbox.insert("a", samples)
    answer = sandbox.get(f"{PAGE}/samples", signal=sandbox.id("a"), points=points).json()
    rows = answer["rows"]
    assert not answer["exact"]
    assert 0.9 * points <= len(rows) <= points
    left = sorted(samples)
    for last_us, least, greatest, last, many in rows:
        part, left = left[:many], left[many:]
        values = [samples[at] for at in part]
        assert (last_us, least, greatest, last) == (part[-1], min(values), max(values), values[-1])
    assert left == []


def test_an_empty_signal_and_an_empty_time(sandbox: Sandbox) -> None:
    sandbox.save("a")
    assert sandbox.rows("samples", signal=sandbox.id("a")) == []
    sandbox.insert("a", {10: 1})
    assert sandbox.rows("samples", signal=sandbox.id("a"), **{"from": 11, "to": 99}) == []


@pytest.mark.parametrize("points", [100, 2])
def test_where_signals_of_an_item_overlap_the_newest_signal_counts(sandbox: Sandbox, points: int) -> None:
    sandbox.insert("first", {1: 10, 2: 20, 3: 99})
    sandbox.insert("second", {3: 30, 4: 40})
    item = sandbox.publish("first")
    sandbox.store.connect([sandbox.id("second")], item)
    answer = sandbox.get(f"{PAGE}/samples", item=item, points=points).json()
    exact = [[at, 10.0 * at, 10.0 * at, 10.0 * at, 1] for at in (1, 2, 3, 4)]
    assert answer["rows"] == (exact if points == 100 else [[2, 10, 20, 20, 2], [4, 30, 40, 40, 2]])
    assert [signal["name"] for signal in answer["connected"]] == ["first", "second"]


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({}, 400, "say which: signal=ID or item=ID"),
        ({"signal": "x"}, 404, "there is no such signal"),
        ({"item": "x' OR 1"}, 404, "there is no such item"),
        ({"points": "2001"}, 400, "points must be a whole number from 1 to 2000"),
        ({"points": "0"}, 400, "points must be"),
        ({"points": "many"}, 400, "points must be"),
        ({"from": "9" * 30}, 400, "from must be"),
        ({"from": "1e3"}, 400, "from must be"),
        ({"from": "5", "to": "5"}, 400, "from must be before to"),
    ],
)
def test_bad_requests(sandbox: Sandbox, parameters: dict[str, str], status: int, message: str) -> None:
    sandbox.save("a")
    given = {"signal": sandbox.id("a")} | parameters if status == 400 and parameters else parameters
    answer = sandbox.get(f"{PAGE}/samples", **given)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_a_writer_does_not_wait_for_a_reader_of_a_file(on_file: Sandbox) -> None:
    on_file.insert("a", {1: 1})
    with PageReader(on_file.store)._connection() as database:
        rows = database.execute("SELECT time_us FROM samples UNION ALL SELECT 2")
        assert rows.fetchone() == (1,)
        on_file.insert("a", {3: 3})
        assert rows.fetchone() == (2,)
    assert on_file.store.samples("a") == [(1, 1.0), (3, 3.0)]


def test_a_query_that_takes_too_long_is_ended_and_the_connection_stays_usable(sandbox: Sandbox) -> None:
    reader = PageReader(sandbox.store)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(PageRequestError, match=r"took longer than 0\.1 s"), reader._connection(0.1) as database:
        database.execute(endless).fetchone()
    assert reader.newest() == {}
    assert sandbox.get(f"{PAGE}/signals").status_code == 200


# Who may see it


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "localhost.:80", "127.0.0.1:80", "127.9.9.9", "[::1]:80", "sandbox.example:8090"],
)
def test_own_names_are_answered(on_file: Sandbox, host: str) -> None:
    assert on_file.get("/", host=host).status_code == 200
    assert on_file.get(f"{PAGE}/signals", host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1",
     "[2001:db8::1]", "sandbox.example.evil", "0.0.0.0", "[", ":80", ""],
)  # fmt: skip
def test_other_names_are_refused_with_a_sentence(on_file: Sandbox, host: str) -> None:
    for path in ("/", f"{PAGE}/signals", f"{PAGE}/items", f"{PAGE}/samples"):
        answer = on_file.get(path, host=host)
        assert answer.status_code == 403
        assert answer.text.startswith("The sandbox answers only under this machine's own name")


def test_headers_allow_nothing_but_the_page_itself(on_file: Sandbox) -> None:
    on_file.save("a", name=HOSTILE)
    answers = [on_file.get("/"), on_file.get("/", host="evil.example")]
    answers += [on_file.get(f"{PAGE}/{what}") for what in ("signals", "items", "samples")]
    for answer in answers:
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"].startswith("'sha256-")
        assert "unsafe" not in str(policy)
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
    assert [answer.headers["content-type"].partition(";")[0] for answer in answers] == [
        "text/html",
        "text/plain",
        *["application/json"] * 3,
    ]
    assert on_file.store.signals()["a"].attributes["name"] not in answers[0].text


def test_no_secret_is_shown(on_file: Sandbox) -> None:
    on_file.insert("a", {1: 1})
    item = on_file.publish("a")
    own = on_file.store.integration()
    texts = [on_file.get("/").text, on_file.get(f"{PAGE}/signals").text, on_file.get(f"{PAGE}/items").text]
    texts += [on_file.get(f"{PAGE}/samples", signal=on_file.id("a")).text]
    texts += [on_file.get(f"{PAGE}/samples", item=item).text]
    for text in texts:
        for secret in (own.client_id, own.client_secret, own.password, own.signing_key.hex()):
            assert secret not in text


def test_the_page_names_no_other_server(on_file: Sandbox) -> None:
    html = on_file.get("/").text
    assert [word for word in html.split('"') if "://" in word and "www.w3.org/2000/svg" not in word] == []


# In a browser


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """The browser, which must not have complained at the end."""
    one_browser.open("about:blank")
    one_browser.resize(1280, 800)
    one_browser.console()
    yield one_browser
    assert one_browser.console() == []


def fill(sandbox: Sandbox) -> None:
    """Signals of all kinds, some with hostile names, and an item."""
    sandbox.insert(
        "hostile", {sandbox.now_us - 600 * SECOND + number * 20 * SECOND: number % 7 * 1.5 for number in range(30)}
    )
    sandbox.save(
        "hostile", {"<b>": "<i>"}, name=HOSTILE, engUnit="<u>", labels={"<s>": ["<em>"]}, description="</td><script>"
    )
    waves = {
        sandbox.now_us - number * SECOND // 4: 20 + (number % 997) / 50 + (50 if number == 7000 else 0)
        for number in range(14_000)
    }
    sandbox.insert("plant/press/4/oil_temperature", waves)
    sandbox.save(
        "plant/press/4/oil_temperature",
        {"docs/manual": "page 12"},
        name="Oil temperature",
        engUnit="°C",
        labels={"hall": ["3"], "machine": ["press 4"]},
        description="Measured in the return line, before the cooler.",
        sampleInterval="PT0.25S",
    )
    modes = {sandbox.now_us - number * 130 * SECOND: float(number // 2 % 4) for number in range(26)}
    sandbox.insert("plant/press/4/mode", modes)
    states = {"0": "off", "1": "set-up", "2": "automatic", "3": "fault: hydraulic pressure"}
    sandbox.save("plant/press/4/mode", name="Mode", valueType="enum", enumValues=states, labels={"hall": ["3"]})
    sandbox.insert(
        "archive/level", {1_777_636_800_000_000 + number * 3600 * SECOND: number % 24 for number in range(800)}
    )
    sandbox.save("archive/level", name="Level of the old tank", engUnit="mm")
    sandbox.save("empty", name="Never measured")
    sandbox.publish("plant/press/4/oil_temperature", name="Press 4: oil", engUnit="°C", labels={"hall": ["3"]})
    for number in range(12):
        key = f"plant/pump/{number}/flow"
        sandbox.insert(key, {sandbox.now_us - 30 * SECOND: number * 1.25, sandbox.now_us - 5 * SECOND: number * 1.5})
        sandbox.save(key, name=f"Pump {number} flow", engUnit="l/min", labels={"hall": [str(number % 3)]})


def row(sandbox: Sandbox, key: str) -> str:
    """The CSS selector of a signal's row."""
    return f'#rows a[href="#signal/{sandbox.id(key)}"]'


def see(browser: Browser, script: str, what: str) -> Any:
    """Wait until this JavaScript expression is true."""
    return wait_until(lambda: browser.run(f"return {script}"), 20, what)


def picture(browser: Browser, name: str) -> None:
    folder = os.environ.get("PAGE_SCREENSHOTS")
    if folder:
        browser.screenshot(Path(folder) / f"{name}.png")


def test_a_hostile_name_is_shown_as_text_and_its_plot_has_points(on_file: Sandbox, browser: Browser) -> None:
    fill(on_file)
    browser.open(on_file.url)
    line = row(on_file, "hostile")
    see(browser, f"document.querySelector('{line}') !== null".replace('"', '\\"'), "the signal is listed")
    assert browser.run("return document.querySelector(arguments[0]).textContent", f"{line} .name") == HOSTILE
    assert browser.text(f"{line} .count") == "30 samples"
    browser.click(line)
    see(browser, "document.querySelectorAll('#plot .point').length === 30", "30 points are drawn")
    assert browser.text("#name") == HOSTILE
    assert browser.run("return document.querySelector('#plot .curve').getTotalLength()") > 300
    for text in ("<b>: <i>", "<s>: <em>", "</td><script>", "<u>", on_file.id("hostile")):
        assert text in browser.text("#metadata")
    # Neither elements nor scripts came out of the names.
    assert browser.count("img") == browser.count("em") == browser.count("u") == 0
    assert browser.count("script") == 1
    assert browser.run("return document.title") == f"{HOSTILE} · Sandbox"


def test_new_samples_appear_without_a_reload_and_the_choice_stays(on_file: Sandbox, browser: Browser) -> None:
    on_file.insert("a", {on_file.now_us - 60 * SECOND: 1, on_file.now_us - 30 * SECOND: 2})
    browser.open(f"{on_file.url}/#signal/{on_file.id('a')}")
    see(browser, "document.querySelectorAll('#plot .point').length === 2", "2 points are drawn")
    browser.run("window.sameDocument = true")
    on_file.insert("a", {on_file.now_us - 10 * SECOND: 41.5})
    on_file.insert("b", {on_file.now_us - 10 * SECOND: 1})
    see(browser, "document.querySelectorAll('#plot .point').length === 3", "the new sample is drawn")
    see(browser, "document.querySelectorAll('#rows a').length === 2", "the new signal is listed")
    assert browser.text(f"{row(on_file, 'a')} .value") == "41.5"
    assert browser.run("return window.sameDocument") is True
    assert browser.text("#name") == "a"
    assert browser.count("#rows a[aria-current]") == 1


def test_what_a_client_sends_to_the_sandbox_appears(browser: Browser) -> None:
    with SandboxServer(faults=False, rate_limiter="off") as server:
        times = ["2026-05-01T12:00:00Z", "2026-05-01T12:00:01Z"]
        assert server.insert({"times": times, "series": {"a": [1, 2]}}).status_code == 200
        browser.open(server.url.removesuffix("v1/"))
        see(browser, "document.querySelectorAll('#rows a').length === 1", "the signal is listed")
        browser.click("#rows a")
        see(browser, "document.querySelectorAll('#plot .point').length === 2", "2 points are drawn")
        assert server.insert({"times": ["2026-05-01T12:00:05Z"], "series": {"a": [3]}}).status_code == 200
        see(browser, "document.querySelectorAll('#plot .point').length === 3", "the new sample is drawn")
        browser.open("about:blank")
        assert server.log() == ""


def test_hovering_shows_value_and_time(on_file: Sandbox, browser: Browser) -> None:
    on_file.insert("a", {1_777_636_800_000_000: 3, 1_777_636_810_000_001: 4.25, 1_777_636_820_000_000: 5})
    on_file.save("a", engUnit="bar")
    browser.open(f"{on_file.url}/#signal/{on_file.id('a')}")
    see(browser, "document.querySelectorAll('#plot .point').length === 3", "the points are drawn")
    assert browser.run("return document.getElementById('tip').hidden") is True
    browser.hover("#plot", 20, 30)
    value, moment = browser.text("#tip").splitlines()
    assert value == "4.25 bar"
    shown = browser.run("return new Date(1777636810000).getTimezoneOffset()")
    if shown == 0:
        assert moment == "2026-05-01 12:00:10.000001 UTC"
    browser.type("#plot", "\ue014")  # arrow right, to the next sample
    assert browser.text("#tip").splitlines()[0] == "5 bar"


def test_many_samples_are_drawn_as_an_envelope_that_shows_a_peak(on_file: Sandbox, browser: Browser) -> None:
    fill(on_file)
    browser.open(f"{on_file.url}/#signal/{on_file.id('plant/press/4/oil_temperature')}")
    see(browser, "document.querySelectorAll('#plot .band').length === 1", "the envelope is drawn")
    assert browser.count("#plot .point") == 0
    assert "14\u202f000 samples in 7" in browser.text("#caption")
    box = browser.run("const b = document.querySelector('#plot .band').getBBox(); return [b.width, b.height]")
    assert box[0] > 500
    assert box[1] > 200
    picture(browser, "desktop")
    browser.resize(1280, 800, dark=True)
    browser.hover("#plot", 100, 0)
    picture(browser, "desktop-dark")
    for seconds in (86_400, 0, 604_800):
        browser.click(f"[data-range='{seconds}']")
        see(browser, f"state.shown.range === {seconds}", "the range is drawn")
        assert browser.run("return [...document.querySelectorAll('[aria-pressed=true][data-range]')].length") == 1
        assert "14\u202f000 samples in" in browser.text("#caption")
    begin = browser.run("return state.shown.from")
    assert abs(on_file.now_us - 604_800 * SECOND - begin) < 600 * SECOND
    picture(browser, "desktop-week")


def test_states_are_steps_with_names(on_file: Sandbox, browser: Browser) -> None:
    fill(on_file)
    browser.open(f"{on_file.url}/#signal/{on_file.id('plant/press/4/mode')}")
    see(browser, "document.querySelectorAll('#plot .curve').length === 1", "the steps are drawn")
    path = browser.run("return document.querySelector('#plot .curve').getAttribute('d')")
    assert "H" in path
    assert "L" not in path
    texts = browser.run("return [...document.querySelectorAll('#plot text')].map(text => text.textContent)")
    assert texts[:4] == ["off", "set-up", "automatic", "fault: hydrauli…"]
    browser.hover("#plot", 300, 0)
    assert browser.text("#tip").splitlines()[0] in ("off", "set-up", "automatic", "fault: hydraulic pressure")
    picture(browser, "states")


def test_ranges_and_samples_of_long_ago(on_file: Sandbox, browser: Browser) -> None:
    fill(on_file)
    browser.open(f"{on_file.url}/#signal/{on_file.id('archive/level')}")
    see(browser, "document.querySelectorAll('#plot .curve').length === 1", "what is there is drawn without a choice")
    assert browser.text("button[aria-pressed=true][data-range]") == "All"
    picture(browser, "archive")
    browser.click("[data-range='3600']")
    see(browser, "document.getElementById('over').textContent === 'No samples in this time.'", "the hour is empty")


def test_search_items_and_keys(on_file: Sandbox, browser: Browser) -> None:
    fill(on_file)
    browser.open(on_file.url)
    see(browser, "document.querySelectorAll('#rows a').length === 17", "all signals are listed")
    browser.type("#search", "press 4")
    see(browser, "document.querySelectorAll('#rows a').length === 2", "two signals match")
    browser.type("#search", "\ue004")  # Tab
    browser.run("document.querySelector('#rows a').focus()")
    browser.type("#rows a", "\ue015")  # arrow down
    assert browser.run("return document.activeElement.querySelector('.name').textContent") == "Oil temperature"
    browser.type("#rows a:focus", "\ue007")  # Enter
    see(browser, "document.getElementById('name').textContent === 'Oil temperature'", "the signal is shown")
    browser.click("[data-list=items]")
    see(browser, "document.querySelectorAll('#rows a').length === 1", "the item is listed")
    browser.click("#rows a")
    see(browser, "document.getElementById('name').textContent === 'Press 4: oil'", "the item is shown")
    see(browser, "document.querySelectorAll('#plot .curve').length === 1", "the item's samples are drawn")
    picture(browser, "item")


@pytest.mark.parametrize(("width", "height"), [(360, 640), (390, 844), (761, 600), (1920, 1080)])
def test_nothing_sticks_out_at_any_width(on_file: Sandbox, browser: Browser, width: int, height: int) -> None:
    fill(on_file)
    browser.resize(width, height)
    browser.open(on_file.url)
    see(browser, "document.querySelectorAll('#rows a').length === 17", "all signals are listed")
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.run(f"return {overflow}") == 0
    picture(browser, f"list-{width}")
    for key in ("hostile", "plant/press/4/oil_temperature", "plant/press/4/mode"):
        browser.open(f"{on_file.url}/#signal/{on_file.id(key)}")
        see(browser, f"location.hash.endsWith('{on_file.id(key)}') && state.shown?.input === '{key}'", "it is shown")
        assert browser.run(f"return {overflow}") == 0
        assert browser.run(
            "return document.getElementById('detail').scrollWidth <= document.getElementById('detail').clientWidth"
        )
        picture(browser, f"{key.split('/')[-1]}-{width}")
    if width <= 760:
        assert browser.run("return document.getElementById('rows').offsetParent") is None
        browser.click("#back")
        see(browser, "document.getElementById('rows').offsetParent !== null", "the list is back")


def test_a_lost_sandbox_is_said_and_found_again(tmp_path: Path, one_browser: Browser) -> None:
    served = Sandbox(tmp_path / "store.sqlite")
    served.insert("a", {served.now_us: 1})
    one_browser.open(f"{served.url}/#signal/{served.id('a')}")
    see(one_browser, "document.getElementById('state').textContent === 'live'", "the page is live")
    served.close()
    see(one_browser, "document.getElementById('state').textContent.includes('does not answer')", "the page says so")
    assert one_browser.text("#name") == "a"
    one_browser.open("about:blank")
    one_browser.console()
