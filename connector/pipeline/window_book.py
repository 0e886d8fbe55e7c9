"""Down-sampled signals: the windows whose values are collected, and the samples of windows that are on their way.

A window's value stays open until the window's sample is inserted, so a crash repeats the whole window. For that, the
end of the last inserted window is remembered for each input before anything of the window is committed. Everything here
is called under the lock of `UnderWay`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from connector.ledger.account import Outcome
from connector.ledger.progress import Progress
from connector.mapping.thinning.thinning import Thinning
from connector.mapping.thinning.windows import Closed, Windows
from connector.packing.frame import Frame
from connector.packing.pending import Pending
from connector.records import Mapped, Part


class WindowBook:
    """Closes windows, and hands their samples on under a token that stands for all of their values."""

    def __init__(
        self, how: Mapping[str, Thinning], done: Mapping[str, int], progress: Progress, pending: Pending
    ) -> None:
        """`how` says which inputs are down-sampled, and may grow; `done` is what earlier runs remembered: input ID → µs
        up to which its windows are inserted."""
        self._windows = Windows(how, done)
        self._progress = progress
        self._pending = pending
        self._leaving: dict[int, tuple[str, int]] = {}
        """Token of a window's sample that is not inserted yet → its input ID, and the window's start in µs."""

    @property
    def held(self) -> int:
        """Values in windows that are open."""
        return self._windows.held

    @property
    def late(self) -> int:
        """Values that came after their window was closed, since the start."""
        return self._windows.late

    def take(self, token: int, parts: list[Part], window_now: float, now: float) -> list[Part]:
        """Take values of down-sampled inputs out of the parts of a chunk, and return the parts with the samples that
        are left. `token` is that of the chunk's first record. `window_now` is the clock of the windows, `now` that of
        the pipeline, both in seconds."""
        parts, late, closed = self._windows.take(token, parts, window_now)
        self._progress.settle(late, Outcome.FILTERED)
        self._add(closed, now)
        return parts

    def close_due(self, window_now: float, now: float) -> None:
        """Close the windows whose time is up."""
        self._add(self._windows.due(window_now), now)

    def close_all(self, now: float) -> None:
        """Close every window: no value will come any more."""
        self._add(self._windows.end(), now)

    def _add(self, closed: list[Closed], now: float) -> None:
        for window in closed:
            token = self._progress.bundle(window.tokens, window.last)
            self._leaving[token] = (window.input_id, window.start_us)
            self._pending.add(token, [(0, Mapped([(window.input_id, window.start_us, window.value)]))], now)

    def arrived(self, frame: Frame) -> dict[str, int]:
        """Input ID → µs up to which all its windows are inserted, for the inputs with a window sample in this frame.

        Clarify has stored the frame. The caller must remember the result durably before it settles the frame.
        """
        leaving = self._leaving
        if not leaving:
            return {}
        done = {
            leaving.pop(token)[0]: 0 for token in (*frame.inserted, *frame.superseded) if token < 0 and token in leaving
        }
        for input_id in done:
            done[input_id] = self._windows.done(input_id)
        for input_id, start_us in leaving.values():  # a window that is still on its way must stay repeatable
            if input_id in done:
                done[input_id] = min(done[input_id], start_us)
        return done

    def forget(self, is_abandoned: Callable[[int], bool]) -> None:
        """Drop the values and the samples of records that another member reads again."""
        self._progress.dropped(self._windows.forget(is_abandoned))
        for token in [token for token in self._leaving if is_abandoned(token)]:
            self._windows.reopen(*self._leaving.pop(token))

    def tokens(self) -> Iterator[int]:
        """The tokens of all values in open windows."""
        yield from self._windows.tokens()
