"""Everything that is wrong with the parameters of one request, collected before it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# A frame can hold hundreds of thousands of bad cells: a message names this many and counts the others.
_NAMED = 5


class Problems:
    """Messages by path; paths are relative to the parameters, such as `data.series.boiler/1`."""

    def __init__(self) -> None:
        self._messages: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, path: str, message: str) -> None:
        """Note one problem; a path may have several."""
        self._messages.setdefault(path, []).append(message)

    def add_at(self, path: str, message: str, indexes: Iterable[int]) -> None:
        """Note the same problem at several places of an array, if there are any, as one message."""
        places = list(indexes)
        if places:
            named = ", ".join(map(str, places[:_NAMED]))
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            self.add(path, f"{message} at index {named}{more}")

    @property
    def messages(self) -> Mapping[str, list[str]]:
        """Path to messages, in the order in which they were found."""
        return self._messages
