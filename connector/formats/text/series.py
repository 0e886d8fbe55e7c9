"""The text of a series: a name and its labels, for formats whose values are told apart by both."""

from __future__ import annotations

from collections.abc import Mapping


def series_of(name: str, labels: Mapping[str, object]) -> str:
    """The name with all labels, sorted: `weather/id:7/station:oslo`. Different labels give different texts."""
    return "/".join((_quoted(name), *map(_pair, sorted(labels.items()))))


def labels_text(labels: Mapping[str, object]) -> str:
    """The labels alone, as in `series_of`: `id:7/station:oslo`."""
    return "/".join(map(_pair, sorted(labels.items())))


def _pair(label: tuple[str, object]) -> str:
    return f"{_quoted(label[0])}:{_quoted(str(label[1]))}"


def _quoted(part: str) -> str:
    """A part of a series; the characters that separate parts are escaped."""
    return part.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")
