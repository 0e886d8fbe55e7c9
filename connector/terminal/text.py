"""The only way to a terminal for text from outside: topics, keys, paths, names, payloads, answers of servers.

A publisher or a server may put control characters into its texts. Raw, such a text could move the cursor, forge a row
or an error, set the terminal's title, or change the order of the characters on a line. So every command prints with the
functions of this module.
"""

from __future__ import annotations

import json
import sys
from typing import Final, TextIO

import click

_SHORT: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}


def shown(text: str) -> str:
    """Return the text as one line without any control of a terminal.

    Every character that is not printable is replaced by its escape sequence of Python, such as `\\x1b` or `\\u202e`:
    control characters (C0, DEL, C1), line and paragraph separators, all bidirectional controls and other invisible
    format characters, spaces other than U+0020, lone surrogates. A backslash stays as it is, so a second call changes
    nothing. The exact text is in the JSON output of a command.
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
    """Return the same JSON document, with a JSON escape for every character that is not printable.

    JSON requires only the escapes of C0. A terminal also follows C1, such as U+009B, and bidirectional controls.
    Line feeds stay: JSON allows them only between its values.
    """
    return "".join(char if char.isprintable() or char == "\n" else _json_escape(char) for char in text)


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1]


def say(text: str, *, err: bool = False) -> None:
    """Print the text as one line, with escapes for control characters; with `err`, on the standard error."""
    _print(shown(text) + "\n", err=err)


def say_text(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print a text of several lines; the caller has passed each text from outside through `shown`."""
    _print("\n".join(map(shown, text.split("\n"))) + end, err=err)


def say_json(value: object) -> None:
    """Print one line of JSON, in printable ASCII."""
    _print(json.dumps(value) + "\n", err=False)


def _print(text: str, *, err: bool) -> None:
    # `file` is given, as click would otherwise replace a stream that is not UTF-8.
    click.echo(text, file=sys.stderr if err else sys.stdout, nl=False)


def write_line(out: TextIO, text: str) -> None:
    """Write the text to `out` as one line, with escapes for control characters."""
    out.write(shown(text) + "\n")


def survive_any_encoding() -> None:
    """Let the standard streams write an escape for a character outside of their encoding, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(
            stream, "reconfigure", None
        )  # a test or an embedding program may have replaced the stream
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
