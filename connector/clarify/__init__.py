"""A client for the time-series API of Clarify (clarify.io).

    from connector.clarify import Client, DataFrame, Signal

    with Client("clarify-credentials.json") as clarify:
        clarify.insert(DataFrame(times=["2026-05-01T06:00:00Z"], series={"boiler/pressure": [4.1]}))
        clarify.save_signals(["boiler/pressure"], [Signal(name="Boiler pressure", eng_unit="bar")])

`Client` is for people: the class has the methods of Clarify's own Python client, with time-outs, rates, repetition and
paging. `Api` makes single calls, for a program that decides about pace and repetition.

Knows: exchange.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.clarify.names import *  # noqa: F403 - the list is there


def __getattr__(name: str) -> object:
    """Load the client when somebody asks for it: a configuration, for example, needs only `limits`."""
    if name.islower() and not name.startswith(
        "_"
    ):  # a module, such as `query`; by way of `names`, `query` would import itself
        try:
            return import_module(f"{__name__}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    names = import_module("connector.clarify.names")
    try:
        found: object = getattr(names, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return found
