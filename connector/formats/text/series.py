"""The text of a series: a name and its labels, for formats whose values are told apart by both."""

from __future__ import annotations

from collections.abc import Mapping


def series_of(name: str, labels: Mapping[str, object]) -> str:
    """The name with all labels, sorted: `weather/id:7/station:oslo`. Different labels give different texts."""
    return "/".join([_quoted(name), *(f"{_quoted(key)}:{_quoted(str(labels[key]))}" for key in sorted(labels))])


def _quoted(part: str) -> str:
    """A part of a series; the characters that separate parts are escaped."""
    return part.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")
