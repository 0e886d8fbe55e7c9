"""Input IDs: legal for Clarify, stable over restarts, and never shared by two origins by accident.

The *origin* of a value is its source, topic and path, and its key or headers if the rule uses them. An origin wants the
text of a template as its input ID. If this text is legal, it is the ID. If the text must be changed (illegal
characters, more than 128 characters), the ID ends in a hash of the original text. So two different texts never get the
same ID, on every replica and in any order of arrival. If two origins want the same text, the later origin gets an ID
with a hash of the origin, and the collision is reported. The claims remember the first origin of each ID.

The claims are bounded in number and in bytes. Above the bound, a new origin gets an `Unclaimed` ID: nobody remembers
such an ID, and no sample with it may be sent.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from connector.clarify.limits import INPUT_ID, INPUT_ID_LENGTH
from connector.mapping.documents.places import shown
from connector.records import at_integration

_ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9\-_:.#+/]")
_HASH_LENGTH: Final = 10
CLAIM_BYTES: Final = 512
"""The most characters of a claim on average: its topic, its path, and the texts that tell records apart."""


class Unclaimed(str):
    """An input ID that was not given out, since there is no room to remember its owner."""

    __slots__ = ()


class Origin(NamedTuple):
    """The place that a value comes from."""

    source: str
    topic: str
    path: str
    record: str = ""
    """The texts that tell the records of one topic apart, such as the key, as JSON; empty if the mapping uses none."""

    def __str__(self) -> str:
        more = f", record {self.record}" if self.record else ""
        return f"topic {self.topic!r} (value {shown(self.path)!r}{more})"


@dataclass(frozen=True, slots=True)
class Collision:
    """Two origins wanted the same input ID; the later origin got the ID `given`."""

    wanted: str
    owner: Origin
    later: Origin
    given: str

    def __str__(self) -> str:
        return (
            f"input ID {self.wanted!r} belongs to {self.owner}; {self.later} wanted this ID, too, and now has "
            f"{self.given!r}. Give them different names in the mapping, or set shared_inputs: true if they are one "
            "signal."
        )


@dataclass(frozen=True, slots=True)
class Rename:
    """An origin has another input ID than in an earlier run: this makes a new signal in Clarify."""

    before: str
    now: str
    origin: Origin

    def __str__(self) -> str:
        return f"{self.origin} was input {self.before!r} and is {self.now!r} now"


def legal_id(text: str) -> str:
    """Returns the input ID for a wanted text: a legal text itself, or else a cleaned text with a hash of the text."""
    if INPUT_ID.match(text):
        return text
    return _with_hash(_ILLEGAL.sub("_", text[:INPUT_ID_LENGTH]), text)  # the hash is of all of it


def _with_hash(clean: str, identity: str) -> str:
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return _before_hash(clean) + digest


def _before_hash(clean: str) -> str:
    return clean[: INPUT_ID_LENGTH - _HASH_LENGTH - 1] + "-"


def is_given(input_id: str, wanted: str) -> bool:
    """Whether an origin that wants the ID `wanted` uses `input_id`: the ID itself, or what it gets in a collision."""
    return input_id == wanted or input_id[:-_HASH_LENGTH] == _before_hash(wanted)


class InputIds:
    """The owners of input IDs. `claims` comes from earlier runs: input ID → its origin.

    `wanted_today` returns the input IDs that an origin wants today. The result is empty if the origin is not mapped any
    more: the mapping may have changed since the claim was made.

    Each integration has input IDs of its own: a claim has the name of the integration before the ID (`at_integration`).
    """

    def __init__(
        self,
        claims: Mapping[str, Origin],
        wanted_today: Callable[[Origin], Collection[str]],
        most: int | None = None,
        before: InputIds | None = None,
    ) -> None:
        """At most `most` claims are made, with `CLAIM_BYTES` characters on average; None: the number is not bounded.

        The new object takes the place of `before`, in place of `claims`: the mapping has changed beside a running
        connector.
        """
        if before is not None:
            claims = before._claims
        self._claims: dict[str, Origin] = dict(claims)
        self._most = most
        self._size = sum(map(_size, claims.values()))
        self._wanted_today = wanted_today
        self._earlier: dict[tuple[str, str, str], dict[str, deque[str]]] = {}
        """(source, topic, path) → record → the input IDs that earlier runs gave out there, and that may be in no use
        today. Each of them is looked at once, so that a new claim costs no more with many claims of earlier runs."""
        for input_id, origin in claims.items():
            self._earlier.setdefault(origin[:3], {}).setdefault(origin.record, deque()).append(input_id)
        self.renames: list[Rename] = [] if before is None else before.renames
        self.new_claims: list[tuple[str, Origin]] = [] if before is None else before.new_claims
        """Claims since the caller last took them. The caller must store them before it sends their samples."""
        self.collisions: list[Collision] = [] if before is None else before.collisions

    def __len__(self) -> int:
        return len(self._claims)

    def claims(self) -> list[tuple[str, Origin]]:
        """Returns (input ID, its origin) for every claim, the oldest first."""
        return list(self._claims.items())

    def assign(self, origin: Origin, text: str, *, shared: bool = False, integration: str = "") -> str:
        """Returns the input ID of an origin that wants `text`; an `Unclaimed` ID for a new origin without room.

        With `shared`, several origins may have the same ID on purpose. The ID is one of `integration`.
        """
        wanted = at_integration(integration, legal_id(text))
        if shared:
            return wanted
        owner = self._claims.get(wanted)
        if owner is None or (owner != origin and not self._still_owns(owner, wanted)):
            return self._claim(wanted, origin)
        if owner == origin:
            return wanted
        identity = "\x1f".join(origin if origin.record else origin[:3])
        given = _with_hash(wanted, identity)
        while self._claims.get(given, origin) != origin:  # the text of another origin looks like this ID with a hash
            identity += "\x1f"
            given = _with_hash(wanted, identity)
        if given in self._claims:
            return given
        claimed = self._claim(given, origin)
        if type(claimed) is not Unclaimed:
            self.collisions.append(Collision(wanted, owner, origin, given))
        return claimed

    def was_at(self, source: str, topic: str, path: str) -> bool:
        """Whether an earlier run gave out an input ID at this place."""
        return (source, topic, path) in self._earlier

    def _still_owns(self, owner: Origin, input_id: str) -> bool:
        """Whether the owner uses this ID today."""
        return any(is_given(input_id, wanted) for wanted in self._wanted_today(owner))

    def _has_room(self, origin: Origin) -> bool:
        most = self._most
        return most is None or (len(self._claims) < most and self._size + _size(origin) <= most * CLAIM_BYTES)

    def _claim(self, input_id: str, origin: Origin) -> str:
        if not self._has_room(origin):
            return Unclaimed(input_id)
        earlier = self._no_longer_used(origin)
        if earlier is not None:
            self.renames.append(Rename(earlier, input_id, origin))
        before = self._claims.get(input_id)
        self._size += _size(origin) - (0 if before is None else _size(before))
        self._claims[input_id] = origin
        self.new_claims.append((input_id, origin))
        return input_id

    def _no_longer_used(self, origin: Origin) -> str | None:
        """Returns an input ID that the place of this origin had in an earlier run and does not want today, or None."""
        by_record = self._earlier.get(origin[:3], {})
        # if records were told apart before and still are, the ID of another record is no earlier ID of this one
        for record in (origin.record, "") if origin.record else tuple(by_record):
            found = by_record.get(record)
            while found:
                earlier = found.popleft()
                owner = self._claims.get(earlier)
                if owner is not None and owner[:4] == (*origin[:3], record) and not self._still_owns(owner, earlier):
                    return earlier
            by_record.pop(record, None)
        return None


def _size(origin: Origin) -> int:
    return len(origin.topic) + len(origin.path) + len(origin.record)
