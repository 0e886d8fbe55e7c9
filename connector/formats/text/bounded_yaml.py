"""Reads YAML in bounded time and memory: a file of few lines may stand for billions of values, or nest without end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import ScalarEvent
from ruamel.yaml.nodes import MappingNode

MAX_BYTES: Final = 1024 * 1024
"""Largest size of a file in bytes. The example configurations have less than 10 KiB."""
MAX_NODES: Final = 30_000
"""Most keys and values of a file: both as written, and after the content of the anchor replaces each alias."""
MAX_DEPTH: Final = 64
"""Most levels of nesting, after the content of the anchor replaces each alias."""
_QUOTED: Final = re.compile(r"(['\"]).{2,}\1")


class BoundedYamlError(Exception):
    """The text cannot be read, or exceeds a bound. The message has no value of the file, as a value may be a secret."""

    def __init__(self, line: int | None, message: str) -> None:
        """`line` is the line in the file, counted from 1; None if the line is not known."""
        self.line = line
        super().__init__(message)


class _BoundedComposer(Composer):
    """Counts the nodes during parsing, so that reading ends at the bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        count, depth = getattr(self, "_nodes", 0) + 1, getattr(self, "_level", 0) + 1
        mark = self.parser.peek_event().start_mark
        if count > MAX_NODES:
            raise BoundedYamlError(mark.line + 1, f"the file has more than {MAX_NODES} keys and values")
        if depth > MAX_DEPTH:
            raise BoundedYamlError(mark.line + 1, f"nested too deeply: more than {MAX_DEPTH} levels")
        if isinstance(parent, MappingNode) and index is None and not self.parser.check_event(ScalarEvent):
            raise BoundedYamlError(
                mark.line + 1, "a key must be plain text"
            )  # hashing a list of aliases would visit the whole content
        self.warn_double_anchors = False  # the warning quotes the file
        self._nodes, self._level = count, depth
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


def read_yaml(path: Path) -> Any:
    """Return the document of a file, with lines and comments. Raises OSError and `BoundedYamlError`."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BoundedYamlError(None, f"the file is larger than {MAX_BYTES // 1024} KiB")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BoundedYamlError(content[: error.start].count(b"\n") + 1, "the file is not UTF-8") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> Any:
    """Return the document of a text of `MAX_BYTES` at most, with lines and comments. Raises `BoundedYamlError`."""
    yaml = YAML(typ="rt")
    yaml.Composer = _BoundedComposer
    try:
        document = yaml.load(text)
        _measure(document, {}, 1)
    except DuplicateKeyError as error:
        # The library's text quotes both values.
        raise BoundedYamlError(
            _line_of(error), "a key occurs twice in the same section; remove one of the two"
        ) from None
    except MarkedYAMLError as error:
        raise BoundedYamlError(_line_of(error), f"not valid YAML: {_reason(error.problem or str(error))}") from None
    except RecursionError:
        raise BoundedYamlError(None, "not valid YAML: nested too deeply") from None
    except (YAMLError, ValueError) as error:  # ValueError: such as a date that does not exist
        raise BoundedYamlError(None, f"not valid YAML: {_reason(str(error))}") from None
    return document


def _line_of(error: MarkedYAMLError) -> int | None:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else None


def _reason(text: str) -> str:
    """Return the first line of the library's text, without quoted parts of the file."""
    reason = _QUOTED.sub("…", text.strip().splitlines()[0] if text.strip() else "the file cannot be read")
    if "alias" in reason or "anchor" in reason or "tag" in reason:
        reason += "; a text that begins with * & or ! needs quotes"
    return reason


def _measure(node: Any, known: dict[int, tuple[int, int]], level: int) -> tuple[int, int]:
    """Return (nodes, levels) of a node with all nodes below, after the content of the anchor replaces each alias.

    Each node is visited once. Raises `BoundedYamlError` as soon as a number exceeds the bound. A node that contains
    itself nests without end, and so exceeds the bound.
    """
    if not isinstance(node, CommentedMap | CommentedSeq):
        return 1, 1
    found = known.get(id(node))
    if found is None and level <= MAX_DEPTH:
        size, depth = 1, 0
        children = [*node.keys(), *node.values()] if isinstance(node, CommentedMap) else node
        for child in children:
            below = _measure(child, known, level + 1)
            size += below[0]
            depth = max(depth, below[1])
            if size > MAX_NODES:
                raise BoundedYamlError(
                    _begin(node), f"with aliases replaced, the file has more than {MAX_NODES} keys and values"
                )
        found = known[id(node)] = size, depth + 1
    if found is None or level + found[1] - 1 > MAX_DEPTH:
        raise BoundedYamlError(_begin(node), f"with aliases replaced, nested too deeply: more than {MAX_DEPTH} levels")
    return found


def _begin(node: CommentedMap | CommentedSeq) -> int | None:
    line = node.lc.line
    return None if line is None else int(line) + 1
