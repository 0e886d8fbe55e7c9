"""Pages with a query take a fifth of the time at most, and a person never notices."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping

import pytest

from connector.observe import sparing
from connector.observe.http import Said, json_page
from connector.observe.sparing import Sparing
from tests.scripted import Clock


def test_a_flood_of_visitors_gets_a_fifth_of_the_time() -> None:
    clock, used = Clock(0.0), Clock(0.0)
    made = 0

    def costly(_asked: Mapping[str, str]) -> Said:
        nonlocal made
        made += 1
        clock.now += 0.5
        used.now += 0.5
        return json_page(200, {})

    page = Sparing(clock, used, clock.sleep).page(costly)
    refused = 0
    while clock.now < 600:
        status, _, body, *_ = page({})
        if status == 503:
            refused += 1
            assert "data has precedence" in json.loads(body)["error"]
            clock.now += 0.1
    assert 600 * 0.19 < used.now < 600 * 0.21 + 4
    assert refused
    clock.now += 60
    assert [page({})[0] for _ in range(6)] == [200] * 6, "after a quiet time, a person waits for nothing"


def test_a_page_that_fails_costs_its_time_and_leaves_the_way_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_asked: Mapping[str, str]) -> Said:
        raise RuntimeError("bug")

    pages = Sparing().pages({"/broken": broken, "/good": lambda _: json_page(200, {})})
    with pytest.raises(RuntimeError, match="bug"):
        pages["/broken"]({})
    assert pages["/good"]({})[0] == 200
    monkeypatch.setattr(sparing, "_PATIENCE", 0.05)
    go_on, begun = threading.Event(), threading.Event()

    def slow(_asked: Mapping[str, str]) -> Said:
        begun.set()
        go_on.wait(60)
        return json_page(200, {})

    both = Sparing()
    thread = threading.Thread(target=both.page(slow), args=({},))
    thread.start()
    assert begun.wait(60)
    assert both.page(lambda _: json_page(200, {}))({})[0] == 503
    go_on.set()
    thread.join(60)
