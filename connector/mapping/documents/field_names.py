"""Field names: which fields of an object name the thing it is about, which are identifiers, and which only describe.

Payloads have no schema, so the name of a field is the only hint of its meaning. A name is read as words:
`deviceName`, `device_name` and `Device-Name` are the words *device* and *name*. The lists below hold words that
vendors use; the last word of a name counts most. All answers follow from the name alone, so that replicas, restarts
and replays agree.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+")
_LONGEST_NAME: Final = 100
_REMEMBERED: Final = 10_000


def _these(text: str) -> frozenset[str]:
    return frozenset(text.split())


IDENTIFIERS: Final = _these(
    "id ids uid uuid guid urn serial serialno serialnumber sn mac imei imsi iccid eui deveui mmsi specversion hash"
    " checksum crc"
)
"""Last words of fields whose content is no number, also where it is made of digits."""
_TEXT_IDENTIFIERS: Final = IDENTIFIERS | _these(
    "version fw firmware zip zipcode postcode phone ip ean barcode sku part batch lot order article code key name tag"
    " address addr number no nr model revision rev build release"
)
"""Last words of fields whose text is no number, though it is made of digits: `"fw": "1.4"`."""
_NAMES: Final = _these(
    "addr address alias area asset attribute axis bay bezeichnung cell ch channel circuit columns component"
    " datapoint designation dev device dsname dsnames endpoint entity equipment eui field gateway guid gw host"
    " hostname id identifier identity ids idx imei index instance inverter item kennung key keys kind label"
    " line loc location mac machine measurand measure measurement meter metric mmsi module motor n name names"
    " no node nodeid nr num number object origin param parameter path phase point port probe property pump"
    " quantity rack reg register resource robot room section segment sensor serial server ship sid signal site"
    " slave slot sn source spindle station string symbol tag tags tank thing title tool topic tracker truck"
    " type uid unitid uri url uuid valve var variable vehicle vessel zone"
)
"""Last words of fields that name the thing they stand beside, by text or by a whole number."""
_ONLY_TEXT: Final = _these(
    "n name label title type kind path topic uri url endpoint host hostname source origin location loc site area"
    " object measure quantity property attribute field section segment string line columns designation symbol phase"
    " axis tank pump motor valve key signal metric measurement measurand parameter param variable var point"
)
"""Those of `_NAMES` that name something only where they are text: a whole number under them may be a reading."""
_DESCRIPTIONS: Final = _these(
    "unit units uom status state quality qc q description desc comment message msg text info severity level priority"
    " mode result datatype valuetype dtype format encoding currency language lang version firmware fw model vendor"
    " manufacturer brand note reason error errors alarm event class category group role symbol flags flag value val v"
    " color colour symbolicname trend direction"
)
"""Last words of fields that describe the reading beside them. Their text may change, so it names nothing."""
TAG_MAPS: Final = ("tags", "labels", "attributes", "dimensions")
"""Fields whose members tell things apart together, as labels of metrics do."""


@lru_cache(_REMEMBERED)
def words(name: str) -> tuple[str, ...]:
    """The words of a field's name, in small letters: `deviceName` → `device`, `name`. A name of more than 100
    characters has none."""
    if len(name) > _LONGEST_NAME:
        return ()
    return tuple(word.casefold() for word in _WORD.findall(name))


def _whole(name: str) -> str:
    return "".join(words(name))


@lru_cache(_REMEMBERED)
def is_identifier(name: str) -> bool:
    """Whether a number under this name is an identifier and no reading: `id`, `serial_number`, `specversion`."""
    said = words(name)
    return bool(said) and (said[-1] in IDENTIFIERS or _whole(name) in IDENTIFIERS)


@lru_cache(_REMEMBERED)
def is_text_identifier(name: str) -> bool:
    """Whether text under this name is no number, though it is made of digits: `fw`, `zip`, `batch_no`."""
    said = words(name)
    return bool(said) and (said[-1] in _TEXT_IDENTIFIERS or _whole(name) in _TEXT_IDENTIFIERS)


@lru_cache(_REMEMBERED)
def names_things(name: str, *, by_number: bool = False) -> bool:
    """Whether a field of this name names the thing that the fields beside it are about; with `by_number`, whether a
    whole number under this name does, too."""
    said = words(name)
    if not said:
        return False
    for word in (said[-1], _whole(name)):
        if word in _NAMES:
            return not by_number or word not in _ONLY_TEXT
    return False


@lru_cache(_REMEMBERED)
def describes(name: str) -> bool:
    """Whether a field of this name describes the reading beside it, as units and states do."""
    said = words(name)
    return bool(said) and (said[-1] in _DESCRIPTIONS or _whole(name) in _DESCRIPTIONS)
