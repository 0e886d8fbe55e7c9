"""Input IDs: legal for Clarify, stable over restarts, and never shared by two origins by accident.

An *origin* is where a value comes from: (source, topic, path, and key or headers where they count). Its wanted
ID is a template's text. Where
that text is legal it is the ID. Where it had to be changed (illegal characters, more than 128) the ID ends
in a hash of the original text, so that two texts that differ only in what was replaced stay apart, on every
replica and in any order of arrival. Where two origins want the very same text, the later one gets a hash of
its origin and the collision is reported; who came first is remembered in the claims.

The claims are bounded, in number and in bytes: beyond, an origin that is new gets an `Unclaimed` ID, which nobody
remembers and under which no sample may leave.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from connector.clarify.limits import INPUT_ID, INPUT_ID_LENGTH
from connector.mapping.documents.places import shown

_ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9\-_:.#+/]")
_HASH_LENGTH: Final = 10
CLAIM_BYTES: Final = 512
"""What a claim may have on average: topic, path and whatever tells records apart, in characters."""


class Unclaimed(str):
    """An input ID that was not given out, since there is no room to remember whose it is."""

    __slots__ = ()


class Origin(NamedTuple):
    """Where a value comes from."""

    source: str
    topic: str
    path: str
    record: str = ""
    """Where the mapping tells records of one topic apart: their key and headers, as JSON."""

    def __str__(self) -> str:
        more = f", record {self.record}" if self.record else ""
        return f"topic {self.topic!r} (value {shown(self.path)!r}{more})"


@dataclass(frozen=True, slots=True)
class Collision:
    """Two origins wanted one input ID; the later one got `given`."""

    wanted: str
    owner: Origin
    later: Origin
    given: str

    def __str__(self) -> str:
        return (
            f"input ID {self.wanted!r} is that of {self.owner}; {self.later} wanted it too and now has {self.given!r}. "
            "Give them different names in the mapping, or set shared_inputs: true if they are one signal."
        )


@dataclass(frozen=True, slots=True)
class Rename:
    """An origin that had an ID in an earlier run has another one now: to Clarify that is a new signal."""

    before: str
    now: str
    origin: Origin

    def __str__(self) -> str:
        return (
            f"{self.origin} was input {self.before!r} and is {self.now!r} now, since the mapping has changed: a new "
            f"signal, which is billed, without the history of the old one. If that was not meant, let the mapping give "
            f"it its old input ID again."
        )


def legal_id(text: str) -> str:
    """The input ID for a wanted text: the text itself if it is legal, else cleaned, with a hash of it."""
    if INPUT_ID.match(text):
        return text
    return _with_hash(_ILLEGAL.sub("_", text[:INPUT_ID_LENGTH]), text)  # the hash is of all of it


def _with_hash(clean: str, identity: str) -> str:
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return _before_hash(clean) + digest


def _before_hash(clean: str) -> str:
    return clean[: INPUT_ID_LENGTH - _HASH_LENGTH - 1] + "-"


class InputIds:
    """Who owns which input ID. `claims` is what earlier runs remembered: ID → origin.

    `wanted_today` gives the texts that an origin wants, none if it is not mapped any more: the mapping may
    have changed since the claim was made.
    """

    def __init__(
        self,
        claims: Mapping[str, Origin],
        wanted_today: Callable[[Origin], Collection[str]],
        most: int | None = None,
    ) -> None:
        """At most `most` claims are made, of `CLAIM_BYTES` on average; None: as many as there are origins."""
        self._claims = dict(claims)
        self._most = most
        self._size = sum(map(_size, claims.values()))
        self._wanted_today = wanted_today
        self._earlier: dict[tuple[str, str, str], list[str]] = {}
        """What earlier runs gave to the values at one place, whatever their records."""
        for input_id, origin in claims.items():
            self._earlier.setdefault(origin[:3], []).append(input_id)
        self.renames: list[Rename] = []
        self.new_claims: list[tuple[str, Origin]] = []
        """Claims since the caller last took them: to be remembered before a sample leaves."""
        self.collisions: list[Collision] = []

    def __len__(self) -> int:
        return len(self._claims)

    def assign(self, origin: Origin, text: str, *, shared: bool = False) -> str:
        """The input ID for this origin; an `Unclaimed` one if it is new and there is no room. With `shared`, several
        origins may have one on purpose."""
        wanted = legal_id(text)
        if shared:
            return wanted
        owner = self._claims.get(wanted)
        if owner is None or (owner != origin and not self._still_owns(owner, wanted)):
            return self._claim(wanted, origin)
        if owner == origin:
            return wanted
        identity = "\x1f".join(origin if origin.record else origin[:3])
        given = _with_hash(wanted, identity)
        while self._claims.get(given, origin) != origin:  # somebody chose a topic that looks like our hash
            identity += "\x1f"
            given = _with_hash(wanted, identity)
        if given in self._claims:
            return given
        claimed = self._claim(given, origin)
        if type(claimed) is not Unclaimed:
            self.collisions.append(Collision(wanted, owner, origin, given))
        return claimed

    def _still_owns(self, owner: Origin, input_id: str) -> bool:
        """Whether the owner uses this ID today: as one that it wants, or as one given to it in a collision."""
        return any(
            input_id == wanted or input_id[:-_HASH_LENGTH] == _before_hash(wanted)
            for wanted in map(legal_id, self._wanted_today(owner))
        )

    def _has_room(self, origin: Origin) -> bool:
        most = self._most
        return most is None or (len(self._claims) < most and self._size + _size(origin) <= most * CLAIM_BYTES)

    def _claim(self, input_id: str, origin: Origin) -> str:
        if not self._has_room(origin):
            return Unclaimed(input_id)
        for earlier in self._earlier.get(origin[:3], ()):
            owner = self._claims.get(earlier)
            same = owner is not None and owner[:3] == origin[:3]
            # where records were told apart and still are, another record's ID is none of ours
            related = (
                same and owner is not None and (owner.record == origin.record or not (owner.record and origin.record))
            )
            if related and owner is not None and not self._still_owns(owner, earlier):
                self.renames.append(Rename(earlier, input_id, origin))
                self._earlier[origin[:3]].remove(earlier)
                break
        before = self._claims.get(input_id)
        self._size += _size(origin) - (0 if before is None else _size(before))
        self._claims[input_id] = origin
        self.new_claims.append((input_id, origin))
        return input_id


def _size(origin: Origin) -> int:
    return len(origin.topic) + len(origin.path) + len(origin.record)
