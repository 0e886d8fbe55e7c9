"""The demo's screen: it fits the terminal whatever is in it, and shows what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from connector.dead_letters.letter import letter_of
from connector.demo.observer import Rates, Reading, SignalValue, choose_signals
from connector.demo.view import DemoStage, Places, progress_line, render
from connector.pipeline.status import SentFrame
from connector.records import Reason, Reject
from connector.runtime.ledger import Account
from connector.sandbox.store import SignalRow

PLACES = Places(
    broker="mosquitto 2.0.11",
    broker_port=41883,
    protocol="5",
    hint="mosquitto_pub -h 127.0.0.1 -p 41883 -t my/topic -m 21.5",
    sandbox_url="http://127.0.0.1:48090/v1/",
    status_url="http://127.0.0.1:49464/",
    folder=Path("/tmp/clarify-demo-abcdefgh"),
    kept=False,
    config=Path("/tmp/clarify-demo-abcdefgh/connector.yaml"),
)
STAGE = DemoStage("running", 12.3, 20.0)

EMPTY = Reading(
    messages=Account(),
    samples=Account(),
    balanced=True,
    rates=Rates(),
    history=(),
    oldest_seconds=0.0,
    frames=(),
    letters=(),
    reasons={},
    signals=0,
    samples_stored=0,
    newest=(),
    requests=0,
    published=0,
    problems=(),
)
BUSY = replace(
    EMPTY,
    messages=Account(1234, 1200, 10, 4, 3, 17),
    samples=Account(5678, 5600, 5, 50, 6, 17),
    rates=Rates(46.2, 163.9, 151.0, 0.99),
    history=tuple(Rates(samples_in=float(i), samples_out=float(i % 7)) for i in range(60)),
    oldest_seconds=0.7,
    frames=tuple((i * 1.01, SentFrame(0.0, 34, 133, 331, 27_300, 0.073, 0.009)) for i in range(50)),
    letters=tuple(
        letter_of(
            "plant",
            "p",
            i,
            f"plant/hall-{i}/pump",
            [Reject(Reason.NOT_FINITE, "no number", "temperature", "nan")],
            None,
        )
        for i in range(40)
    ),
    reasons={"not_finite": 40},
    signals=146,
    samples_stored=5590,
    newest=tuple(
        SignalValue(f"pump-{i:02d} temperature", 20.5 + i, "°C", "", 1_780_000_000_000_000, (1.0, 2.0, 3.0))
        for i in range(40)
    ),
    requests=12,
    published=1234,
)
HOSTILE = replace(
    BUSY,
    messages=Account(*[10**12] * 6),
    samples=Account(*[10**15] * 6),
    rates=Rates(1e9, 1e9, 1e9, 1e9),
    oldest_seconds=1e9,
    frames=((1e9, SentFrame(0.0, 10**9, 10**9, 10**12, 10**9, 1.0, 1e6)),) * 50,
    letters=tuple(
        letter_of(
            "s",
            "p",
            1,
            "\x1b[2J\r\n\x07" + "主题/" * 200,
            [Reject(Reason.NOT_FINITE, "why\n\x1b[31m" * 99, "\x9b1m", "\0")],
            None,
        )
        for _ in range(40)
    ),
    reasons={"x" * 500: 10**9},
    signals=10**9,
    samples_stored=10**12,
    newest=(SignalValue("温度" * 80 + "\x1b[0m", 1e300, "単位" * 80, "state\n" * 40, 10**30, (float(2**60),) * 24),)
    * 40,
    requests=10**12,
    problems=("mqtt: the connection was lost\n\x1b[5m" * 20,),
)
SIZES = [(80, 24), (140, 40), (100, 30), (129, 24), (130, 24), (200, 60), (40, 10), (20, 5), (300, 20)]


def lines(reading: Reading, width: int, height: int, places: Places = PLACES) -> list[str]:
    console = Console(width=width, height=height, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(render(reading, STAGE, places, width, height))
    text = captured.get()
    assert text.endswith("\n")
    return text[:-1].split("\n")


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("reading", [EMPTY, BUSY, HOSTILE], ids=["empty", "busy", "hostile"])
def test_nothing_overflows_or_wraps(reading: Reading, width: int, height: int) -> None:
    shown = lines(reading, width, height)
    assert len(shown) <= height
    assert [line for line in shown if cell_len(line) > width] == []


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
def test_the_screen_is_used_to_its_last_line(width: int, height: int) -> None:
    assert len(lines(BUSY, width, height)) == height


@pytest.mark.parametrize("reading", [BUSY, HOSTILE], ids=["busy", "hostile"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_control_character_reaches_the_terminal(reading: Reading, width: int, height: int) -> None:
    assert all(char.isprintable() for line in lines(reading, width, height) for char in line)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
def test_everything_that_matters_is_on_the_screen(width: int, height: int) -> None:
    text = "\n".join(lines(BUSY, width, height))
    for wanted in (
        "running 0:12 of 0:20", "mosquitto 2.0.11", "46 msg/s, 164 samples/s", "151 samples/s, 1.0 frames/s",
        "LEDGER ✓", "received", "= inserted", "+ dead-lettered", "+ filtered", "+ superseded", "+ waiting",
        "1,234", "5,678", "FRAMES 12", "7.3%", "27.3 kB", "9 ms", "DEAD LETTERS 40", "not_finite", "plant/hall-0/pump",
        "temperature = nan: no number", "SANDBOX 146 signals", "5,590 samples", "pump-00 temperature", "20.5 °C",
        "mosquitto_pub -h 127.0.0.1 -p 41883 -t my/topic -m 21.5", "http://127.0.0.1:48090/ ",
        "http://127.0.0.1:49464/", "clarify-connector ledger /tmp/clarify-demo-abcdefgh/connector.yaml",
        "/tmp/clarify-demo-abcdefgh (removed at the end)", "Ctrl-C",
    ):  # fmt: skip
        assert wanted in text


def test_problems_are_shown_instead_of_the_rates() -> None:
    text = "\n".join(lines(replace(BUSY, problems=("plant: the connection was lost",)), 80, 24))
    assert "▲ plant: the connection was lost" in text


def test_a_ledger_that_does_not_balance_is_shown() -> None:
    assert "LEDGER ✗" in "\n".join(lines(replace(BUSY, balanced=False), 80, 24))
    assert "DOES NOT BALANCE" in "\n".join(lines(replace(BUSY, balanced=False), 140, 40))
    assert "DOES NOT BALANCE" in progress_line(replace(BUSY, balanced=False), STAGE)


def test_the_progress_line_has_the_account() -> None:
    line = progress_line(BUSY, STAGE)
    assert "received 1,234, inserted 1,200, dead-lettered 10, filtered 4, superseded 3, waiting 17" in line
    assert "\n" not in progress_line(HOSTILE, STAGE)


def signal(kind: str | None) -> SignalRow:
    return SignalRow("id", "input", {"labels": {"type": [kind]} if kind else {}}, {}, 0, 0)


def test_signals_are_chosen_of_each_type_in_turn_and_what_a_user_published_comes_first() -> None:
    signals = {
        "h/pump-1/flow": signal("pump"),
        "h/pump-2/flow": signal("pump"),
        "h/pump-1/pressure": signal("pump"),
        "h/meter-1/energy": signal("meter"),
        "older": signal(None),
        "my/topic": signal(None),
        "plant/hall-1/level": signal(None),
    }
    chosen = ["my/topic", "h/meter-1/energy", "h/pump-1/flow", "older", "h/pump-1/pressure", "plant/hall-1/level"]
    chosen.append("h/pump-2/flow")
    assert choose_signals(signals, 10) == chosen
    assert choose_signals(signals, 3) == chosen[:3]
    assert choose_signals({}, 3) == []
