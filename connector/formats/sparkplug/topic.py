"""The topics of Sparkplug: `spBv1.0/GROUP/TYPE/NODE[/DEVICE]`, and `spBv1.0/STATE/HOST`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

NAMESPACE: Final = "spBv1.0"
OLD_STATE: Final = "STATE"
"""Before version 3.0, hosts published their state in `STATE/HOST`."""


class MessageType(StrEnum):
    """The type of a message, as in its topic."""

    NODE_BIRTH = "NBIRTH"
    NODE_DATA = "NDATA"
    NODE_DEATH = "NDEATH"
    NODE_COMMAND = "NCMD"
    DEVICE_BIRTH = "DBIRTH"
    DEVICE_DATA = "DDATA"
    DEVICE_DEATH = "DDEATH"
    DEVICE_COMMAND = "DCMD"
    STATE = "STATE"


COMMANDS: Final = (MessageType.NODE_COMMAND, MessageType.DEVICE_COMMAND)
BIRTHS: Final = (MessageType.NODE_BIRTH, MessageType.DEVICE_BIRTH)
_MESSAGE_TYPES: Final = {found.value: found for found in MessageType}


class Owner(NamedTuple):
    """The sender of births, deaths and metrics: an edge node, or a device behind an edge node."""

    group: str
    node: str
    device: str = ""
    """Empty for the node itself."""


class TopicError(ValueError):
    """A topic is not a topic of Sparkplug; the text says why."""


@dataclass(frozen=True, slots=True)
class Topic:
    """The type and the sender of a message.

    `device` is empty for messages of the node itself. In the state of a host, `node` is the host and `group` is empty.
    """

    message_type: MessageType
    group: str
    node: str
    device: str = ""

    @property
    def descriptor(self) -> str:
        """The specification's name for a node (`group/node`) or device (`group/node/device`)."""
        return describe(self.group, self.node, self.device)

    @property
    def data_topic(self) -> str:
        """The topic of the data of this node or device. It also stands for the node's or device's births and deaths."""
        return data_topic(self.group, self.node, self.device)


def describe(group: str, node: str, device: str = "") -> str:
    """`group/node` or `group/node/device`."""
    return f"{group}/{node}/{device}" if device else f"{group}/{node}"


def data_topic(group: str, node: str, device: str = "") -> str:
    """The topic of NDATA of a node, or of DDATA of a device."""
    if device:
        return f"{NAMESPACE}/{group}/{MessageType.DEVICE_DATA}/{node}/{device}"
    return f"{NAMESPACE}/{group}/{MessageType.NODE_DATA}/{node}"


def command_topic(group: str, node: str) -> str:
    """The topic of commands for a node."""
    return f"{NAMESPACE}/{group}/{MessageType.NODE_COMMAND}/{node}"


def parse_topic(text: str) -> Topic:
    """The parts of a topic. Raises `TopicError`."""
    levels = text.split("/")
    if levels[0] == OLD_STATE and len(levels) == 2:
        return Topic(MessageType.STATE, "", levels[1])
    if levels[0] != NAMESPACE:
        raise TopicError(f"topics of Sparkplug B begin with {NAMESPACE}/, this one with {levels[0][:40]!r}")
    if len(levels) == 3 and levels[1] == MessageType.STATE:
        return Topic(MessageType.STATE, "", levels[2])
    if len(levels) < 4:
        raise TopicError(f"too few levels: {NAMESPACE}/GROUP/KIND/NODE[/DEVICE] is expected")
    message_type = _MESSAGE_TYPES.get(levels[2])
    if message_type is None or message_type is MessageType.STATE:
        known = ", ".join(found for found in _MESSAGE_TYPES if found != MessageType.STATE)
        raise TopicError(f"{levels[2][:40]!r} is no kind of message; known are {known}")
    of_device = message_type.value.startswith("D")
    if len(levels) != (5 if of_device else 4):
        what = "a device after the node" if of_device else "nothing after the node"
        raise TopicError(f"{message_type} must have {what}")
    if not all(levels[1:]):
        raise TopicError("an empty level: group, node and device need names")
    return Topic(message_type, levels[1], levels[3], levels[4] if of_device else "")
