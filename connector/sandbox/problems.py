"""Collects every mistake in the parameters of one request, before the request is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# A frame can hold hundreds of thousands of bad cells: a message names this many cells and counts the others.
_NAMED = 5


class Problems:
    """Messages by path; a path is relative to the parameters, such as `data.series.boiler/1`."""

    def __init__(self) -> None:
        self._messages: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, path: str, message: str) -> None:
        """Add one problem; a path may have several problems."""
        self._messages.setdefault(path, []).append(message)

    def add_at(self, path: str, message: str, indexes: Iterable[int]) -> None:
        """Add the same problem at several indexes of an array, as one message; without indexes, add nothing."""
        places = list(indexes)
        if places:
            named = ", ".join(map(str, places[:_NAMED]))
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            self.add(path, f"{message} at index {named}{more}")

    @property
    def messages(self) -> Mapping[str, list[str]]:
        """Path → messages, in the order in which the problems were added."""
        return self._messages
