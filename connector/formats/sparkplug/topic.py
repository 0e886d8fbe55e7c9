"""Sparkplug's topic namespace: `spBv1.0/GROUP/KIND/NODE[/DEVICE]`, and `spBv1.0/STATE/HOST`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NAMESPACE: Final = "spBv1.0"
OLD_STATE: Final = "STATE"
"""Before version 3.0 hosts published their state in `STATE/HOST`."""


class Kind(StrEnum):
    """What a message is."""

    NODE_BIRTH = "NBIRTH"
    NODE_DATA = "NDATA"
    NODE_DEATH = "NDEATH"
    NODE_COMMAND = "NCMD"
    DEVICE_BIRTH = "DBIRTH"
    DEVICE_DATA = "DDATA"
    DEVICE_DEATH = "DDEATH"
    DEVICE_COMMAND = "DCMD"
    STATE = "STATE"


COMMANDS: Final = frozenset({Kind.NODE_COMMAND, Kind.DEVICE_COMMAND})
_KINDS: Final = {kind.value: kind for kind in Kind}


class TopicError(ValueError):
    """No topic of Sparkplug; the text says why."""


@dataclass(frozen=True, slots=True)
class Topic:
    """Who says what: `device` is empty for a node's own messages, and a host's state has only `node`, the host."""

    kind: Kind
    group: str
    node: str
    device: str = ""

    @property
    def descriptor(self) -> str:
        """The specification's name for a node (`group/node`) or device (`group/node/device`)."""
        return describe(self.group, self.node, self.device)

    @property
    def data_topic(self) -> str:
        """Where this node or device publishes its data: one name for its births, data and deaths."""
        return data_topic(self.group, self.node, self.device)


def describe(group: str, node: str, device: str = "") -> str:
    """`group/node` or `group/node/device`."""
    return f"{group}/{node}/{device}" if device else f"{group}/{node}"


def data_topic(group: str, node: str, device: str = "") -> str:
    """The topic of NDATA, or of a device's DDATA."""
    if device:
        return f"{NAMESPACE}/{group}/{Kind.DEVICE_DATA}/{node}/{device}"
    return f"{NAMESPACE}/{group}/{Kind.NODE_DATA}/{node}"


def command_topic(group: str, node: str) -> str:
    """The topic of commands for a node."""
    return f"{NAMESPACE}/{group}/{Kind.NODE_COMMAND}/{node}"


def parse_topic(text: str) -> Topic:
    """Read a topic; raises `TopicError`."""
    levels = text.split("/")
    if levels[0] == OLD_STATE and len(levels) == 2:
        return Topic(Kind.STATE, "", levels[1])
    if levels[0] != NAMESPACE:
        raise TopicError(f"topics of Sparkplug B begin with {NAMESPACE}/, this one with {levels[0][:40]!r}")
    if len(levels) == 3 and levels[1] == Kind.STATE:
        return Topic(Kind.STATE, "", levels[2])
    if len(levels) < 4:
        raise TopicError(f"too few levels: {NAMESPACE}/GROUP/KIND/NODE[/DEVICE] is expected")
    kind = _KINDS.get(levels[2])
    if kind is None or kind is Kind.STATE:
        known = ", ".join(kind.value for kind in Kind if kind is not Kind.STATE)
        raise TopicError(f"{levels[2][:40]!r} is no kind of message; known are {known}")
    of_device = kind.value.startswith("D")
    if len(levels) != (5 if of_device else 4):
        what = "a device after the node" if of_device else "nothing after the node"
        raise TopicError(f"{kind} must have {what}")
    if not all(levels[1:]):
        raise TopicError("an empty level: group, node and device need names")
    return Topic(kind, levels[1], levels[3], levels[4] if of_device else "")
