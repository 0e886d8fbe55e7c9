"""Reads the data of items: as stored, rolled up, or evaluated; in windows of time and pages of items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from connector.clarify import arguments, paging
from connector.clarify.answers import DataSelection, Response, read_answer
from connector.clarify.calls import Calls, ProgressCallback
from connector.clarify.data_frame import DataFrame
from connector.clarify.errors import ArgumentError, TooLarge
from connector.clarify.gathering import gather
from connector.clarify.iso8601 import Instant
from connector.clarify.limits import CALCULATIONS, DATA_FRAME_ITEMS, EVALUATED_ITEMS
from connector.clarify.models import Calculation, GroupAggregation, ItemAggregation
from connector.clarify.selecting import Selector
from connector.clarify.selection import Selection

_DATA_FRAME: Final = "clarify.dataFrame"
_EVALUATE: Final = "clarify.evaluate"
_AS_FRAME: Final = {"dataAsArray": False, "groupIncludedByType": True}
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """The data that a call reads, as the caller of `Client.data_frame` gave the arguments. Nothing is checked yet."""

    gte: Instant | None
    lt: Instant | None
    rollup: str | timedelta | None
    time_zone: str | None
    first_day: int | None
    origin: Instant | None
    last: int
    window_size: str | timedelta | None
    series: Sequence[str]
    outside_points: bool

    def read_rollup(self) -> paging.Rollup | None:
        """The rollup with the edges of its buckets; None without a rollup. Raises ArgumentError for a wrong rollup."""
        return paging.read_rollup(self.rollup, time_zone=self.time_zone, first_day=self.first_day, origin=self.origin)

    def windows(self, rollup: paging.Rollup | None, now: datetime, *, data_frame: bool) -> list[tuple[int, int]]:
        """The windows of time in µs since 1970, each short enough for one call. Raises ArgumentError."""
        start, end = paging.bounds(self.gte, self.lt, now)
        return list(paging.windows(start, end, rollup, data_frame=data_frame, size=self.window_size))

    def query(
        self, start: int, end: int, rollup: paging.Rollup | None, settings: Mapping[str, object]
    ) -> dict[str, object]:
        """The query for one window in µs since 1970, in the API's form; `settings` has the start of buckets."""
        return arguments.data_query(
            start, end, rollup=rollup.text if rollup else None, last=self.last, series=self.series,
            outside_points=self.outside_points, settings=settings,
        )  # fmt: skip


class Reader:
    """Reads for a `Client`. The methods of `Client` with the same names document the arguments."""

    def __init__(self, calls: Calls, selector: Selector, now: Callable[[], datetime]) -> None:
        self._calls = calls
        self._selector = selector
        self._now = now

    def data_frame(
        self, selection: Selection, request: DataRequest, progress: ProgressCallback | None
    ) -> Response[DataSelection]:
        """The data of the selected items in one response."""
        return self._together(self.iter_data_frames(selection, request, progress), request.last)

    def iter_data_frames(
        self, selection: Selection, request: DataRequest, progress: ProgressCallback | None
    ) -> Iterator[DataSelection]:
        """The data of the selected items piece by piece. Raises ClarifyError if a piece cannot be fetched."""
        rollup = request.read_rollup()
        windows = request.windows(rollup, self._now(), data_frame=True)
        settings: dict[str, object] = {
            "timeZone": request.time_zone or "UTC",
            "firstDayOfWeek": request.first_day or 1,
            "origin": arguments.origin_text(request.origin),
        }
        if arguments.number("skip", selection.skip) < 0:
            selection = replace(selection, skip=0)  # as Clarify's own client
        skip, limit = selection.bounds()
        one_page = limit is not None and limit <= DATA_FRAME_ITEMS
        done = 0
        for page, (page_skip, size) in enumerate(paging.pages(skip, limit, DATA_FRAME_ITEMS)):
            # a data frame does not have the number of items that matched
            if page > 0 and not self._selector.any_item(selection, page_skip):
                return

            def ask(start: int, end: int, page_skip: int = page_skip, size: int = size) -> dict[str, object]:
                return {
                    "query": selection.query(page_skip, size),
                    "data": request.query(start, end, rollup, settings),
                    "include": selection.included(),
                    "format": _AS_FRAME,
                }

            for piece in self._each_window(_DATA_FRAME, windows, rollup, ask):
                yield piece
                done += 1
                if progress is not None:
                    progress(done, len(windows) if one_page else None)

    def evaluate(
        self,
        items: Sequence[ItemAggregation | Mapping[str, object]],
        groups: Sequence[GroupAggregation | Mapping[str, object]],
        calculations: Sequence[Calculation | Mapping[str, object]],
        include: Sequence[str],
        request: DataRequest,
        progress: ProgressCallback | None,
    ) -> Response[DataSelection]:
        """Aggregates and formulas in one response."""
        if groups:
            self._calls.need_1_2("groups in clarify.evaluate")
        chosen = arguments.aggregations(ItemAggregation, "items", items)
        grouped = arguments.aggregations(GroupAggregation, "groups", groups)
        formulas = arguments.aggregations(Calculation, "calculations", calculations)
        if any("engUnit" in entry for entry in (*chosen, *formulas)):
            self._calls.need_1_2("engUnit in clarify.evaluate")
        if len({entry["id"] for entry in chosen}) > EVALUATED_ITEMS or len(formulas) > CALCULATIONS:
            raise ArgumentError(
                f"at most {EVALUATED_ITEMS} different items and {CALCULATIONS} calculations in one call"
            )
        rollup = request.read_rollup()
        if rollup is None:
            raise ArgumentError("evaluate needs a rollup: a duration such as PT5M, months such as P1M, or window")
        windows = request.windows(rollup, self._now(), data_frame=False)
        settings: dict[str, object] = {"origin": arguments.origin_text(request.origin)}
        if request.time_zone is not None:
            settings["timeZone"] = request.time_zone
        if request.first_day is not None:
            settings["firstDayOfWeek"] = request.first_day

        def ask(start: int, end: int) -> dict[str, object]:
            params: dict[str, object] = {
                "items": chosen,
                "calculations": formulas,
                "data": request.query(start, end, rollup, settings),
                "include": arguments.text_list("include", include),
                "format": _AS_FRAME,
            }
            return {**params, "groups": grouped} if grouped else params

        def pieces() -> Iterator[DataSelection]:
            for done, piece in enumerate(self._each_window(_EVALUATE, windows, rollup, ask), 1):
                yield piece
                if progress is not None:
                    progress(done, len(windows))

        return self._together(pieces(), request.last)

    def _each_window(
        self,
        method: str,
        windows: list[tuple[int, int]],
        rollup: paging.Rollup | None,
        ask: Callable[[int, int], dict[str, object]],
    ) -> Iterator[DataSelection]:
        """The answers for all windows. If an answer is too long, its window and all later windows are cut in two.

        `windows` is changed in place, so that the next page of items begins with the shorter windows.
        """
        index = 0
        while index < len(windows):
            try:
                answer = self._calls.call(method, ask(*windows[index]))
            except TooLarge as error:
                smaller = paging.halved(windows[index:], rollup)
                if error.code != _OK or smaller == windows[index:]:  # the request is too large, not the answer
                    raise
                windows[index:] = smaller
                continue
            index += 1
            yield read_answer(DataSelection, answer, method)

    def _together(self, pieces: Iterator[DataSelection], last: int) -> Response[DataSelection]:
        """All pieces as one response. If a piece fails, `result` has the pieces before it."""
        found = gather(pieces)
        if found.is_nothing:
            return self._calls.response(None, found.failure)
        frames = [piece.data for piece in found.parts]
        frame = frames[0] if len(frames) == 1 else DataFrame.merge(frames)
        if last > 0 and len(frames) > 1:
            frame = frame.last(last)
        return self._calls.response(DataSelection(meta=found.meta, data=frame, included=found.included), found.failure)
