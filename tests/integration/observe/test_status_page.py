"""The status page in a real browser, of a real connector: 100,000 topics, hostile texts, the token, the keyboard.

Set PAGE_SCREENSHOTS to a folder to get pictures of the page.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.ledger.ledger_lines import ADD_TO_LINE
from connector.ledger.schema import COLUMNS
from connector.ledger.source_file import SourceFile
from connector.mapping.signals.input_ids import Origin
from connector.state.state import State
from tests.brokers import Mosquitto
from tests.browser import Browser
from tests.connector_process import ConnectorProcess
from tests.publisher import Publisher
from tests.sandbox_server import SandboxServer
from tests.secrets_used import fresh
from tests.waiting import wait_until

HOSTILE = "<img src=x onerror=\"document.title='broken'\">'\"&amp;</script><script>document.title='broken'</script>"
TURNED = "plant/\u202egnp.evil"
TOPICS = 100_000
MAPPING = """
mapping:
  rules:
    - {topic: "plant/{line}/{machine}", input: "{line}.{machine}.{field}", expect_every: 1s}
    - {topic: "#"}
signals: {max: 200000}
delivery: {max_delay: 200ms, requests_per_second: 20}
"""
ARROW_RIGHT, ARROW_DOWN, ENTER, END, CONTROL = "\ue014", "\ue015", "\ue007", "\ue010", "\ue009"


def fill_state(folder: Path) -> None:
    """The state of a connector that has carried 100,000 topics."""
    folder.mkdir()
    topics = [f"site{n % 40}/line{n // 40 % 50}/m{n}" for n in range(TOPICS)]
    SourceFile.open(folder / "plant.sqlite").close()
    line = [10 if name.endswith(("received", "inserted")) else 0 for name in COLUMNS]
    with closing(sqlite3.connect(folder / "plant.sqlite", isolation_level=None)) as file:
        file.execute("BEGIN")
        file.executemany(ADD_TO_LINE, ((topic, *line) for topic in topics))
        file.execute("UPDATE meta SET value = value + ? WHERE key IN ('next_position', 'settled_to')", (10 * TOPICS,))
        file.execute("COMMIT")
    state = State(folder / "state.sqlite")
    state.add_claims((f"{topic}:v", Origin("plant", topic, "v")) for topic in topics)
    state.close()


class Plant:
    """A connector with a broker, its publisher, and a Clarify."""

    def __init__(self, connector: ConnectorProcess, publisher: Publisher, token: str) -> None:
        self.connector = connector
        self.publisher = publisher
        self.token = token
        self.url = f"http://127.0.0.1:{connector.observe_port}"

    def get(self, path: str, **parameters: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.get(self.url + path, params=parameters, headers=headers, trust_env=False, verify=False, timeout=30)

    def json(self, path: str, **parameters: object) -> Any:
        """The data; on a slow machine, many visits in a row have to wait."""
        found: list[httpx.Response] = []
        wait_until(
            lambda: found.append(self.get(path, **parameters)) or found[-1].status_code != 503, 60, "time for it"
        )
        answer = found[-1]
        return answer.raise_for_status().json()


@pytest.fixture(scope="module")
def coming_browser() -> Iterator[Future[Browser]]:
    """The browser, which starts beside everything else."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(Browser)
        yield coming
    if coming.exception() is None:
        coming.result().close()


@pytest.fixture(scope="module")
def plant(coming_browser: Future[Browser], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    del coming_browser  # it starts meanwhile
    folder = tmp_path_factory.mktemp("status")
    fill_state(folder / "state")
    token = fresh("status-page")
    with SandboxServer(faults=False) as sandbox, Mosquitto() as broker:
        source = f'  - {{type: mqtt, name: plant, url: "mqtt://127.0.0.1:{broker.port}", client_id: c, topics: ["#"]}}'
        observe = f'  token: "{token}"\n  ledger_topics: 200000\n'
        connector = ConnectorProcess(folder, sandbox.credentials_path, source, MAPPING, observe=observe)
        with connector, Publisher(broker.port) as publisher:
            connector.start(ready=False)
            one = Plant(connector, publisher, token)
            wait_until(lambda: answers(one), 60, lambda: f"ready; {connector.log()}", every=0.1)
            now = time.time()
            for n in range(6):
                publisher.raw(
                    f"plant/l{n % 2}/press", json.dumps({"ts": now - 10 + n, "oil": 40.5 + n, HOSTILE[:20]: n})
                )
            publisher.raw(HOSTILE.replace("/", "|"), json.dumps({"v": 1}))
            publisher.raw(TURNED, json.dumps({"v": 7}))
            publisher.raw("plant/l0/broken", HOSTILE + ' "password": "hunter2" \u202e')
            publisher.raw("plant/l0/raw", b"\xff\xfe\x00")
            wait_until(lambda: settled(one) == 10, 60, "all is settled", every=0.1)
            yield one
        assert "Traceback" not in connector.log()


def answers(plant: Plant) -> bool:
    try:
        return plant.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def settled(plant: Plant) -> int:
    (process,) = plant.json("/status.json")["processes"]
    messages = process["messages"]
    return int(messages["inserted"] + messages["dead_lettered"])


# The data


def test_the_page_has_no_data_and_everything_else_needs_the_token(plant: Plant) -> None:
    page = httpx.get(plant.url + "/", trust_env=False, verify=False)
    assert page.status_code == 200
    assert plant.token not in page.text
    assert [word for word in page.text.split('"') if "://" in word and "www.w3.org/2000/svg" not in word] == []
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"].startswith("'sha256-")
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    for path in ("/status.json", "/topics.json", "/signals.json", "/dead-letters.json", "/readyz"):
        assert httpx.get(plant.url + path, trust_env=False, verify=False).status_code == 401
        assert plant.token not in plant.get(path).text


def test_topics_signals_and_why(plant: Plant) -> None:
    top = plant.json("/topics.json", source="plant")
    names = {level["level"]: level for level in top["levels"]}
    assert names["site7/"]["topics"] == TOPICS // 40
    assert names["plant/"]["topics"] == 5
    assert names["plant/"]["messages"]["dead_lettered"] == 2
    page = plant.json("/topics.json", source="plant", under="site0/line0/")
    assert len(page["levels"]) == 50
    found = plant.json("/topics.json", source="plant", text="m777")
    assert "site17/line19/m777" in [level["topic"] for level in found["levels"]]
    assert plant.get("/topics.json", source="other").status_code == 400
    signals = plant.json("/signals.json", source="plant", topic="plant/l0/press")["signals"]
    (oil,) = [one for one in signals if one["id"] == "l0.press.oil"]
    assert oil["last"]["value"] == 44.5
    assert (oil["why"]["rule"], oil["why"]["template"]) == (0, "{line}.{machine}.{field}")
    assert ["{machine}", "press"] in oil["why"]["parts"]
    (same,) = plant.json("/signals.json", id="l0.press.oil")["signals"]
    assert same == oil
    (earlier,) = plant.json("/signals.json", source="plant", topic="site0/line0/m0")["signals"]
    assert (earlier["id"], earlier["last"], earlier["why"]["rule"]) == ("site0/line0/m0:v", None, 1)
    assert [one["id"] for one in plant.json("/signals.json", text="M99999")["signals"]] == ["site39/line49/m99999:v"]
    silent = plant.json("/signals.json", silent="1")
    assert silent["never"] == TOPICS
    assert len(silent["examples"]) == 200
    assert "l0.press.oil" in [one["id"] for one in silent["signals"]]


def test_dead_letters_by_reason(plant: Plant) -> None:
    (process,) = plant.json("/status.json")["processes"]
    assert sum(process["dead_letters"]["since_start"].values()) == 2
    letters = plant.json("/dead-letters.json")["letters"]
    assert {letter["topic"] for letter in letters} == {"plant/l0/broken", "plant/l0/raw"}
    (reason,) = next(letter["reasons"] for letter in letters if letter["topic"] == "plant/l0/broken")
    (letter,) = plant.json("/dead-letters.json", reason=reason)["letters"]
    opened = plant.get("/dead-letters.json", id=letter["id"])
    assert "hunter2" not in opened.text
    assert HOSTILE in opened.json()["payload"]["text"]
    assert opened.json()["rejects"][0]["remedy"]
    assert plant.get("/dead-letters.json", id="x").status_code == 404


def test_a_hundred_thousand_topics_cost_little(plant: Plant) -> None:
    memory, seconds = plant.connector.rss_bytes(), cpu_seconds(plant.connector.pid)
    for _ in range(2):
        plant.json("/topics.json", source="plant")
        plant.json("/signals.json", silent="1")
        plant.json("/signals.json", text="m9999")
        plant.json("/status.json")
    assert cpu_seconds(plant.connector.pid) - seconds < 6, "less than a second for each page"
    assert plant.connector.rss_bytes() - memory < 100 * 1024**2


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# In a browser


@pytest.fixture(scope="module")
def one_browser(coming_browser: Future[Browser]) -> Browser:
    return coming_browser.result()


@pytest.fixture
def browser(plant: Plant, one_browser: Browser) -> Iterator[Browser]:
    """The browser with the page and the token, which must not have complained at the end."""
    one_browser.open("about:blank")
    one_browser.console()
    one_browser.resize(1280, 800)
    one_browser.open(plant.url)
    see(one_browser, "!document.getElementById('login').hidden", "the page asks for the token")
    one_browser.type("#token", plant.token + ENTER)
    see(one_browser, "document.getElementById('live').textContent === 'live'", "the page is live")
    yield one_browser
    assert one_browser.run("return performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)")
    others = f"performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('{plant.url}/')).length"
    assert one_browser.run(f"return {others}") == 0
    assert one_browser.console() == []
    assert one_browser.count("script") == 1
    assert one_browser.count("img") == 0
    assert "broken" not in one_browser.run("return document.title")
    stored = "localStorage.length + sessionStorage.length + document.cookie.length"
    assert one_browser.run(f"return {stored}") == 0


def see(browser: Browser, script: str, what: str) -> Any:
    """Wait until this JavaScript expression is true."""
    return wait_until(lambda: browser.run(f"return {script}"), 20, what, every=0.05)


def picture(browser: Browser, name: str) -> None:
    folder = os.environ.get("PAGE_SCREENSHOTS")
    if folder:
        browser.screenshot(Path(folder) / f"{name}.png")


def an_hour(browser: Browser) -> None:
    """Show an hour of made-up numbers in the place of the minute that the connector has run."""
    see(browser, "!refreshing", "no answer is on its way")
    browser.run(
        """
        clearTimeout(timer);
        const answer = structuredClone(state.status), { history } = answer.processes[0];
        const end = Math.floor(state.now / 10) * 10, counts = [0, 0, 0, 0, 0];
        history.rows = Array.from({ length: 361 }, (_, n) => {
          const away = n > 200 && n < 240, behind = n >= 240 && n < 300, come = 9000 + 3000 * Math.sin(n / 30) + n % 97;
          const left = away ? 0 : come * 4 * (behind ? 1.6 : 1);
          [come, come * 4, left, 0, away ? 0 : 10].forEach((more, place) => counts[place] += more);
          const waiting = away ? (n - 200) * 9000 : behind ? (300 - n) * 6000 : 40 + n % 17;
          return [end - 3600 + n * 10, ...counts, waiting, waiting * 4, { plant: counts[0] }];
        });
        showNow(answer);
        """
    )


def focused(browser: Browser) -> str:
    return str(browser.run("return document.activeElement.textContent"))


def test_a_wrong_token_is_said_and_the_right_one_stays_in_memory(plant: Plant, one_browser: Browser) -> None:
    one_browser.open(plant.url)
    see(one_browser, "!document.getElementById('login').hidden", "the page asks for the token")
    one_browser.type("#token", "wrong" + ENTER)
    see(one_browser, "document.getElementById('login-note').textContent !== ''", "the page says that it is wrong")
    assert one_browser.run("return document.getElementById('view-now').hidden") is True
    one_browser.type("#token", plant.token + ENTER)
    see(one_browser, "document.getElementById('live').textContent === 'live'", "the page is live")
    assert plant.token not in one_browser.run("return location.href + document.documentElement.outerHTML")
    one_browser.open("about:blank")
    one_browser.open(plant.url)
    see(one_browser, "!document.getElementById('login').hidden", "a new page asks again")


def test_what_comes_in_waits_and_leaves(browser: Browser) -> None:
    see(browser, "document.querySelectorAll('.source').length === 1", "the source is shown")
    assert "Source plant" in browser.text("#sources h2")
    assert "measured to stored: mostly" in browser.text("#sources")
    assert "Clarify takes samples" in browser.text("#integrations")
    assert browser.text("#verdict-text") == "Data flows; a person should look"
    assert "the first dead letter" in browser.text("#notices")
    browser.click(".integration summary")
    assert browser.count(".integration details[open] tbody tr") >= 1
    an_hour(browser)
    assert browser.run("return document.querySelector('#in-line .curve').getTotalLength()") > 200
    browser.type("#in-line", END)
    assert "messages/s" in browser.text("#in-line + .tip")
    assert browser.count(".integration details[open]") == 1, "what is open stays open when the numbers change"


def test_the_tree_with_the_keyboard(browser: Browser) -> None:
    browser.run("location.hash = '#topics'")
    see(browser, "document.querySelectorAll('#tree > .item').length === 42", "the first level is shown")
    browser.run("document.querySelector('#tree .node').focus()")
    browser.type("#tree .node:focus", END)
    assert focused(browser).startswith("site9/")
    browser.type("#tree .node:focus", ARROW_RIGHT)
    see(browser, "document.querySelectorAll('.inner .node').length === 50", "the lines of the site")
    browser.type("#tree .node:focus", ARROW_RIGHT)
    assert focused(browser).startswith("line0/")
    browser.type("#tree .node:focus", ENTER)
    see(browser, "document.querySelectorAll('.inner .inner .node').length > 10", "the machines of the line")
    browser.type("#tree .node:focus", ARROW_DOWN)
    browser.type("#tree .node:focus", ENTER)
    see(browser, "document.querySelectorAll('.signal').length === 1", "the signal of the machine")
    assert "no value since the start" in browser.text(".signal")
    assert "Rule 2" in browser.text(".signal .why")
    browser.type("#tree-text", "press")
    see(browser, "document.querySelectorAll('#tree > .item').length === 2", "the topics with the text")
    browser.click("#tree .node")
    see(browser, "document.querySelectorAll('.signal').length === 2", "two values")
    assert "l0.press.oil" in browser.text("#tree .inner")
    assert "44.5" in browser.text("#tree .inner")


def test_hostile_topics_payloads_and_ids_are_text(browser: Browser) -> None:
    browser.run("location.hash = '#topics'")
    see(browser, "document.querySelectorAll('#tree > .item').length === 42", "the first level is shown")
    hostile = HOSTILE.replace("/", "|")
    texts = browser.run("return [...document.querySelectorAll('#tree .name')].map(name => name.textContent)")
    assert hostile in texts
    browser.type("#tree-text", "gnp.evil")
    see(browser, "document.querySelectorAll('#tree > .item').length === 1", "the topic is found")
    assert "plant/\\u202egnp.evil" in browser.text("#tree .name"), "nothing turns the letters around"
    browser.run("location.hash = '#dead-letters'")
    see(browser, "document.querySelectorAll('#letters .node').length === 2", "both letters")
    browser.click("#reasons button:nth-child(2)")
    see(browser, "document.querySelectorAll('#letters .node').length === 1", "the letter of a reason")
    browser.type("#letters .node", ENTER)
    see(browser, "document.querySelector('#letter pre') !== null", "the letter is open")
    assert HOSTILE in browser.text("#letter pre")
    assert "hunter2" not in browser.text("#letter")
    assert "\\u202e" in browser.text("#letter pre")


def test_silent_signals_and_a_search(browser: Browser) -> None:
    browser.run("location.hash = '#signals'")
    see(browser, "document.querySelectorAll('.signal').length > 50", "the silent ones")
    see(
        browser,
        "document.getElementById('signals').textContent.includes('Silent: 4 of 4 watched')",
        "those that stopped",
    )
    assert "silent since" in browser.text("#signals .signal")
    assert "100\u202f000 signals of earlier runs" in browser.text("#signals")
    browser.type("#signal-text", "press oil l1")
    see(browser, "document.querySelectorAll('.signal').length === 1", "one signal is found")
    browser.click(".signal summary")
    see(browser, "document.querySelector('.signal .made') !== null", "why it has its ID")
    assert "Rule 1" in browser.text(".signal")
    assert browser.text(".signal .made").split("\n")[:2] == ["l1", "{line}"]


def in_the_workbench(plant: Plant, browser: Browser) -> None:
    """Come from the tree of topics, with messages that arrive meanwhile."""
    browser.run("location.hash = '#topics'")
    see(browser, "document.querySelectorAll('#tree .node').length > 0", "the tree is shown")
    browser.run(
        "const text = document.getElementById('tree-text'); text.value = 'l1/press';"
        " text.dispatchEvent(new Event('input'))"
    )
    see(browser, "document.querySelectorAll('#tree > .item').length === 1", "the topic is found")
    browser.type("#tree .node", ENTER)
    see(browser, "document.querySelector('#tree .bench') !== null", "the button is there")
    browser.type("#tree .bench", ENTER)
    see(browser, "document.getElementById('bench-text').value.includes('{line}.{machine}')", "the rule in use")
    for n in range(3):
        document = {"ts": time.time(), "oil": 60 + n, "note": HOSTILE}
        plant.publisher.raw("plant/l1/press", json.dumps(document))
    see(browser, "document.querySelectorAll('#bench-messages details').length >= 3", "the messages are there")


AGAIN = (
    "(document.querySelector('#bench-problems li') !== null"
    " && document.getElementById('bench-form').requestSubmit(), false)"
)
"""Tries once more after a refusal: on a busy machine, a trial may take too long."""


def retype(browser: Browser, text: str) -> None:
    browser.run("document.getElementById('bench-text').value = ''")
    browser.type("#bench-text", text)


def test_a_changed_mapping_is_tried_with_the_keyboard(plant: Plant, browser: Browser) -> None:
    in_the_workbench(plant, browser)
    browser.click("#bench-messages summary")
    assert "onerror" in browser.text("#bench-messages pre")
    retype(browser, f'topic: "plant/{{line}}/{{machine}}"\nskale: "{HOSTILE[:30]}')
    browser.click("#bench-form [type=submit]")
    see(browser, "document.getElementById('bench-problems').textContent !== ''", "the mistake is said")
    assert "Line" in browser.text("#bench-problems")
    retype(
        browser,
        'topic: "plant/{line}/{machine}"\ninput: "{line}/{field}"\nvalues: {oil: {scale: 2}}' + CONTROL + ENTER,
    )
    see(browser, f"document.querySelector('#bench-result .pair') !== null || {AGAIN}", "before and after")
    shown = browser.text("#bench-result")
    assert "l1.press.oil" in shown
    assert "l1/oil" in shown
    assert "new, billable" in shown
    assert "- name:" in shown
    assert browser.text("#bench-problems") == ""
    browser.click("#bench-result .copy")
    see(browser, "document.querySelector('#bench-result .copy').textContent !== 'Copy'", "it is copied")
    signals = plant.json("/signals.json", source="plant", topic="plant/l1/press")["signals"]
    assert "l1/oil" not in [one["id"] for one in signals], "nothing is applied"


@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_sticks_out(plant: Plant, browser: Browser, width: int) -> None:
    browser.resize(width, 900)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    places = [
        ("now", ".source"),
        ("topics", "#tree .node"),
        ("signals", ".signal"),
        ("dead-letters", "#letters .node"),
        ("workbench", "textarea"),
    ]
    for view, wanted in places:
        browser.run(f"location.hash = '#{view}'")
        see(browser, f"document.querySelector('#view-{view} {wanted}') !== null", "the view is filled")
        if view == "now":
            an_hour(browser)
        if view == "topics":
            browser.type("#tree-text", "press")
            see(browser, "document.querySelectorAll('#tree > .item').length === 2", "the topics with the text")
            browser.click("#tree .node")
            see(browser, "document.querySelectorAll('#tree .signal').length === 2", "two values")
        if view == "dead-letters":
            browser.click("#letters .node")
            see(browser, "document.querySelector('#letter pre') !== null", "the letter is open")
        if view == "workbench":
            in_the_workbench(plant, browser)
            retype(browser, '{topic: "plant/{line}/{machine}", input: "{field}", values: {oil: {scale: 2}}}')
            browser.click("#bench-form [type=submit]")
            see(browser, "document.querySelector('#bench-result .pair, #bench-problems li') !== null", "an answer")
        assert browser.run(f"return {overflow}") == 0, view
        picture(browser, f"{view}-{width}-light")
        browser.resize(width, 900, dark=True)
        picture(browser, f"{view}-{width}-dark")
        background = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(15, 20, 27)", "dark where the system is dark"
        browser.resize(width, 900)
