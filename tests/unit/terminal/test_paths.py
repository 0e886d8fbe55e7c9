"""Paths on the command line: `~` is the home folder wherever a command takes a path."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from connector.commands.cli import _COMMANDS


def parameters(command: click.Command, name: str) -> Iterator[tuple[str, click.Parameter]]:
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            yield f"{name} {parameter.name}", parameter
    if isinstance(command, click.Group):
        for inner, deeper in command.commands.items():
            yield from parameters(deeper, f"{name} {inner}")


PATHS = dict(
    found
    for name, place in _COMMANDS.items()
    for found in parameters(getattr(importlib.import_module(place.partition(":")[0]), place.partition(":")[2]), name)
)


@pytest.mark.parametrize("parameter", PATHS.values(), ids=list(PATHS))
def test_the_home_folder_is_found(parameter: click.Parameter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    kind = parameter.type
    assert isinstance(kind, click.Path)
    there = tmp_path / "there"
    if kind.file_okay:
        there.touch()
    else:
        there.mkdir()
    many = parameter.nargs != 1 or parameter.multiple
    context = click.Context(click.Command("x"))
    found = parameter.type_cast_value(context, ["~/there"] if many else "~/there")
    assert [Path(path) for path in (found if many else [found])] == [there]


def test_there_are_many_paths() -> None:
    assert len(PATHS) > 20
