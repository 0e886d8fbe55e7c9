"""The one way to a terminal for text from outside: topics, keys, paths, names, payloads, answers of servers.

A publisher or a server may put control characters into its texts. Raw, such a text could move the cursor, forge a row
or an error, set the terminal's title, or show a line in another order than it is read. So every command prints with the
functions of this module.
"""

from __future__ import annotations

import json
import sys
from typing import Final, TextIO

import click

_SHORT: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def shown(text: str) -> str:
    """The text as one line that changes nothing on a terminal.

    Every character that is not printable is replaced by its escape sequence of Python, such as `\\x1b` or `\\u202e`:
    control characters (C0, DEL, C1), line and paragraph separators, all bidirectional controls and other invisible
    format characters, spaces other than U+0020, lone surrogates. A backslash stays as it is, so a second call changes
    nothing; who needs the exact text asks for JSON.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def harmless_json(text: str) -> str:
    """The same JSON document, with a JSON escape for every character that is not printable.

    JSON itself asks only for the escapes of C0. A terminal also follows C1, such as U+009B, and bidirectional controls.
    Line feeds stay: JSON allows them only between its values.
    """
    return "".join(char if char.isprintable() or char == "\n" else _json_escape(char) for char in text)


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1]


def say(text: str, *, err: bool = False) -> None:
    """Print one line, whatever is in the text; with `err` on the standard error."""
    _print(shown(text) + "\n", err=err)


def say_text(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print a text of several lines that we made: texts from outside in it went through `shown` before."""
    _print("\n".join(map(shown, text.split("\n"))) + end, err=err)


def say_json(value: object) -> None:
    """Print one line of JSON, in printable ASCII."""
    _print(json.dumps(value) + "\n", err=False)


def _print(text: str, *, err: bool) -> None:
    # The stream is named because click would replace one that has no UTF-8.
    click.echo(text, file=sys.stderr if err else sys.stdout, nl=False)


def write_line(out: TextIO, text: str) -> None:
    """Write one line to `out`, whatever is in the text."""
    out.write(shown(text) + "\n")


def survive_any_encoding() -> None:
    """Let a terminal or pipe that has no UTF-8 show an escape for a character that it does not have, and no error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a test or an embedding program may have put another there
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
