"""Down-sampled signals: the windows that collect values, and the samples of closed windows until they are inserted.

A window's values stay unsettled until the window's sample is inserted, so that a crash repeats the whole window.
Therefore the end of each input's last inserted window is remembered before a record of this window is committed. All
calls to this module hold the lock of `UnderWay`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from connector.ledger.account import Outcome
from connector.ledger.progress import Progress
from connector.mapping.thinning.thinning import Thinning
from connector.mapping.thinning.windows import Closed, Windows
from connector.packing.frame import Frame
from connector.records import Mapped, Part


class WindowBook:
    """Closes windows, and adds one sample for each closed window, with a token that stands for all its values."""

    def __init__(
        self,
        how: Mapping[str, Thinning],
        done: Mapping[str, int],
        progress: Progress,
        add: Callable[[int, list[Part], float], None],
    ) -> None:
        """`how` has the down-sampled inputs, and may grow. `add` adds parts with a token, at a time in seconds.

        `done` comes from earlier runs: input ID → time in µs up to which the windows of this input are inserted.
        """
        self._windows = Windows(how, done)
        self._progress = progress
        self._add_parts = add
        self._leaving: dict[int, tuple[str, int]] = {}
        """Token of a window's sample that is not inserted yet → the input ID, and the window's start in µs."""

    @property
    def held(self) -> int:
        """Values in windows that are open."""
        return self._windows.held

    @property
    def late(self) -> int:
        """Number of values, since the start, that came after their window was closed."""
        return self._windows.late

    def take(self, token: int, parts: list[Part], window_now: float, now: float) -> list[Part]:
        """Move the values of down-sampled inputs into windows; returns the parts with the other samples.

        `token` is the token of the chunk's first record. `window_now` is the time on the clock of the windows, `now`
        the time on the clock of the pipeline, both in seconds.
        """
        parts, late, closed = self._windows.take(token, parts, window_now)
        self._progress.settle(late, Outcome.FILTERED)
        self._add(closed, now)
        return parts

    def close_due(self, window_now: float, now: float) -> None:
        """Close every window whose end has come."""
        self._add(self._windows.due(window_now), now)

    def close_all(self, now: float) -> None:
        """Close every window, because no further value will come."""
        self._add(self._windows.end(), now)

    def _add(self, closed: list[Closed], now: float) -> None:
        for window in closed:
            token = self._progress.bundle(window.tokens, window.last)
            self._leaving[token] = (window.input_id, window.start_us)
            self._add_parts(token, [(0, Mapped([(window.input_id, window.start_us, window.value)]))], now)

    def arrived(self, frame: Frame) -> dict[str, int]:
        """Returns input ID → µs up to which all its windows are inserted, for each input with a window in `frame`.

        Clarify has stored the frame. The caller must write the result durably before the caller settles the frame.
        """
        leaving = self._leaving
        if not leaving:
            return {}
        done = {
            leaving.pop(token)[0]: 0 for token in (*frame.inserted, *frame.superseded) if token < 0 and token in leaving
        }
        for input_id in done:
            done[input_id] = self._windows.done(input_id)
        for input_id, start_us in leaving.values():  # after a crash, a window that is not inserted must be repeated
            if input_id in done:
                done[input_id] = min(done[input_id], start_us)
        return done

    def forget(self, is_abandoned: Callable[[int], bool]) -> None:
        """Drop all values and samples of the records that another member of the group reads again."""
        self._progress.dropped(self._windows.forget(is_abandoned))
        for token in [token for token in self._leaving if is_abandoned(token)]:
            self._windows.reopen(*self._leaving.pop(token))

    def tokens(self) -> Iterator[int]:
        """Yields the tokens of all values in open windows."""
        yield from self._windows.tokens()
