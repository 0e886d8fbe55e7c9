"""Checks the arguments of the client's methods before anything is sent. ArgumentError names the wrong argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index
from typing import SupportsIndex, TypeVar

from connector.clarify import iso8601
from connector.clarify.errors import ArgumentError
from connector.clarify.iso8601 import Instant
from connector.clarify.models import Calculation, GroupAggregation, Item, ItemAggregation, ItemInfo, Signal, SignalInfo
from connector.clarify.query import DataFilter
from connector.clarify.validation import validated

ViewT = TypeVar("ViewT", bound=SignalInfo)
AggregationT = TypeVar("AggregationT", ItemAggregation, GroupAggregation, Calculation)


def text_list(name: str, given: object) -> list[str]:
    """`given` as a list. Raises ArgumentError if `given` is one text, or not iterable."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ArgumentError(f"{name} is a list, such as [{given!r}]")
    return list(given)


def number(name: str, given: object, *, least: int | None = None) -> int:
    """`given` as an int. Raises ArgumentError if `given` is not a whole number, or below `least`."""
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        raise ArgumentError(f"{name} is a whole number, not {given!r}")
    whole = index(given)  # also for the integer types of numpy
    if least is not None and whole < least:
        raise ArgumentError(f"{name} cannot be below {'zero' if least == 0 else least}")
    return whole


def data_query(
    start: int,
    end: int,
    *,
    rollup: str | None,
    last: object,
    series: Iterable[str],
    outside_points: bool,
    settings: Mapping[str, object],
) -> dict[str, object]:
    """The query for data from `start` to before `end` (µs since 1970), in the API's form.

    `settings` has the start of buckets: the time zone, the first day of a week, and the origin.
    """
    window = DataFilter(iso8601.to_datetime(start), iso8601.to_datetime(end), text_list("series", series)).to_query()
    more = {"outsidePoints": True} if outside_points else {}
    return {"filter": window, "rollup": rollup, "last": number("last", last), **settings, **more}


def origin_text(origin: Instant | None) -> str | None:
    """The time that buckets are counted from, as text for the API; None without an origin."""
    return None if origin is None else iso8601.text(iso8601.read(origin))


def aggregations(
    kind: type[AggregationT], name: str, given: Iterable[AggregationT | Mapping[str, object]]
) -> list[dict[str, object]]:
    """Aggregations or calculations in the API's form. `given` has models, or dicts of their fields.

    Raises ArgumentError if `given` is no list, or if an entry breaks a rule.
    """
    if isinstance(given, Mapping | kind):
        raise ArgumentError(f"{name} is a list of {kind.__name__}")
    models = [
        entry if isinstance(entry, kind) else validated(kind, f"{name}[{place}]", entry)
        for place, entry in enumerate(given)
    ]
    return [model.to_wire() for model in models]


def views(
    kind: type[ViewT],
    check_key: Callable[[object], str],
    keys_name: str,
    views_name: str,
    keys: Sequence[str],
    given: Sequence[SignalInfo | Mapping[str, object]],
    by_key: Mapping[str, SignalInfo | Mapping[str, object]] | None,
) -> dict[str, SignalInfo]:
    """Metadata by key, from two lists and a map.

    Raises ArgumentError, which names the key and the broken rule, or the lists if their lengths differ.
    """
    if isinstance(keys, str) or isinstance(given, SignalInfo | Mapping) or len(keys) != len(given):
        raise ArgumentError(f"{keys_name} and {views_name} must be lists of one length")
    found: dict[str, SignalInfo] = {}
    for key, view in [*(by_key or {}).items(), *zip(keys, given, strict=True)]:
        check_key(key)
        found[key] = _view(kind, key, view)
    return found


def _view(kind: type[ViewT], key: str, view: SignalInfo | Mapping[str, object]) -> SignalInfo:
    if not isinstance(view, SignalInfo):
        return validated(kind, repr(key), view)
    if kind is Signal and isinstance(view, ItemInfo):
        raise ArgumentError(f"{key!r}: an Item is published; the metadata of a signal is a Signal")
    # Once more, because the dicts and lists of a view can be changed.
    view = validated(type(view), repr(key), {name: getattr(view, name) for name in type(view).model_fields})
    return view if kind is Signal or isinstance(view, ItemInfo) else Item.of_signal(view)
