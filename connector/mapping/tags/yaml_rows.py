"""A tag list in YAML → rows. Only the form of a tag list is read: no aliases, no tags, no deeper nesting.

The events of the parser are taken one by one, so a file of few lines cannot stand for billions of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceStartEvent

from connector.mapping.tags.cells import Row
from connector.mapping.tags.tag import LABEL
from connector.mapping.tags.text import TextError

_FORM: Final = "write KEY: {name: …, unit: …}"
_NULLS: Final = ("", "~", "null", "Null", "NULL")


def yaml_rows(text: str) -> Iterator[Row]:
    """Yields the rows of a list; the names of columns are as in the file. Raises `TextError`."""
    yaml = YAML(typ="safe", pure=True)
    try:
        yield from _rows(iter(yaml.parse(text)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise TextError(mark.line + 1 if mark else None, f"not valid YAML: {error.problem or error.context}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, TextError):
            raise
        raise TextError(None, f"not valid YAML: {str(error).splitlines()[0] if str(error) else 'unreadable'}") from None


def _rows(events: Iterator[Any]) -> Iterator[Row]:
    for event in events:
        if isinstance(event, MappingStartEvent):
            break
        if isinstance(event, ScalarEvent | SequenceStartEvent | AliasEvent):
            if isinstance(event, ScalarEvent) and event.value in _NULLS:
                return
            raise TextError(_line(event), f"a tag list in YAML has a section for each key; {_FORM}")
    for key in events:
        if isinstance(key, MappingEndEvent):
            break
        if not isinstance(key, ScalarEvent):
            if isinstance(key, MappingStartEvent | SequenceStartEvent | AliasEvent):
                raise TextError(_line(key), "a key must be plain text")
            break  # the end of an empty file
        yield Row(_line(key), {"key": key.value.strip(), **_attributes(next(events), events)})
    for event in events:
        if isinstance(event, MappingStartEvent | ScalarEvent | SequenceStartEvent):
            raise TextError(_line(event), "a tag list has one document")


def _attributes(event: Any, events: Iterator[Any]) -> dict[str, str]:
    if isinstance(event, ScalarEvent) and event.value in _NULLS:
        return {}
    if not isinstance(event, MappingStartEvent):
        raise TextError(_line(event), f"must be a section; {_FORM}")
    found: dict[str, str] = {}
    for name, value in _pairs(events):
        if isinstance(value, ScalarEvent):
            cells = [(name.value, _text(value))]
        elif isinstance(value, MappingStartEvent) and name.value in ("labels", "states"):
            inner = [(key.value.strip(), _scalar(each)) for key, each in _pairs(events)]
            if name.value == "labels":
                cells = [(LABEL + key, text) for key, text in inner]
            else:
                cells = [("states", "\n".join(f"{key}={text}" for key, text in inner))]
        else:
            raise TextError(_line(value), f"{name.value} must be one text or number")
        for column, text in cells:
            if column in found:
                raise TextError(_line(name), f"{column} is there twice")
            found[column] = text
    return found


def _pairs(events: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    for key in events:
        if isinstance(key, MappingEndEvent):
            return
        if not isinstance(key, ScalarEvent):
            raise TextError(_line(key), "the name of an attribute must be plain text")
        yield key, next(events)


def _scalar(event: Any) -> str:
    if not isinstance(event, ScalarEvent):
        raise TextError(_line(event), "must be one text or number")
    return _text(event)


def _text(event: ScalarEvent) -> str:
    return "" if event.value in _NULLS and not event.style else str(event.value).strip()


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
