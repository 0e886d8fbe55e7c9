"""Field names: the fields that name the thing of an object, the fields that are identifiers, and descriptions.

Payloads have no schema, so the name of a field is the only hint of its meaning. A name is read as words:
`deviceName`, `device_name` and `Device-Name` are the words *device* and *name*. The lists below hold words that
vendors use; the last word of a name counts most. All answers follow from the name alone, so that replicas, restarts
and replays agree.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+")
_LONGEST_NAME: Final = 100
_REMEMBERED: Final = 10_000


def _these(text: str) -> frozenset[str]:
    return frozenset(text.split())


IDENTIFIERS: Final = _these(
    "id ids uid uuid guid urn serial serialno serialnumber sn mac imei imsi iccid eui deveui mmsi specversion hash"
    " checksum crc"
)
"""Last words of fields whose value is no number, even if it has only digits."""
_TEXT_IDENTIFIERS: Final = IDENTIFIERS | _these(
    "version fw firmware zip zipcode postcode phone ip ean barcode sku part batch lot order article key name tag no nr"
    " address addr model revision rev build release"
)
"""Last words of fields whose text is no number, even if it has only digits: `"fw": "1.4"`."""
_NUMBERED: Final = _these("serial part batch lot order article phone model version invoice customer product material")
"""First words that make `number` and `code` an identifier: `"part_number": "0815"`."""
_NAMES: Final = _these(
    "addr address area asset attribute axis bay bezeichnung cell ch channel circuit columns component datapoint"
    " designation dev device dsname dsnames endpoint entity equipment eui field gateway guid gw host hostname id"
    " identifier identity ids imei instance inverter item kennung key keys line loc location mac machine measurand"
    " measurement meter metric mmsi module motor n name names node nodeid object origin param parameter path phase"
    " point port probe property pump rack reg register resource robot room section segment sensor serial server ship"
    " sid signal site slave slot sn source spindle station string symbol tag tags tank thing tool topic tracker truck"
    " uid unitid uri url uuid valve var variable vehicle vessel zone"
)
"""Last words of fields that name the thing of the fields beside them, by text or by a whole number."""
_WEAK_NAMES: Final = _these("alias index idx kind label measure no nr num number pos position quantity title type")
"""Last words of fields that name the thing only if there is no field of `_NAMES` beside them."""
_ONLY_TEXT: Final = _these(
    "area attribute axis bezeichnung columns designation endpoint field host hostname key kind label line loc location"
    " measurand measure measurement meter metric motor n name names object origin param parameter path phase point"
    " position property pump quantity section segment sensor signal site source string symbol tags tank title topic"
    " type uri url valve var variable"
)
"""Words of both lists that name a thing only by text: a whole number in such a field may be a reading."""
_READINGS_AS_TEXT: Final = _these(
    "axis measurand measure measurement meter metric motor number phase point pump quantity sensor signal tank valve"
)
"""Words of both lists whose fields may have a reading that is written as text."""
_OF_A_MESSAGE: Final = _these(
    "batch correlation cycle downlink event frame job message msg order packet rec record request run schema seq"
    " sequence session span trace transaction uplink"
)
"""First words that make an `id` the identifier of one message: it differs in each message, so it names no thing."""
_DESCRIPTIONS: Final = _these(
    "unit units uom status state quality qc q description desc comment message msg text info severity level priority"
    " mode result datatype valuetype dtype format encoding currency language lang version firmware fw model vendor"
    " manufacturer brand note reason error errors alarm event class category group role flags flag value val v code"
    " color colour trend direction"
)
"""Last words of fields that describe the reading beside them. Their text may change, so it names no thing."""
_DESCRIBING: Final = _these("unit units uom status state quality error alarm")
"""First words with the same meaning: `unitName`, `status_text`."""
TAG_MAPS: Final = ("tags", "labels", "attributes", "dimensions")
"""Fields whose members together tell things apart, like the labels of metrics."""


class Meaning(NamedTuple):
    """The meaning of a field, from its name."""

    names: bool
    """Whether a text in the field names the thing of the fields beside it."""
    weak: bool
    """Whether the field names the thing only if no other field does."""
    names_by_number: bool
    """Whether a whole number in the field names the thing, too."""
    names_by_digits: bool
    """Whether a text of digits in the field names the thing, too."""
    describes: bool
    """Whether the field describes the reading beside it, like units and states."""
    identifier: bool
    """Whether a number in the field is an identifier and no reading: `id`, `serial_number`, `specversion`."""
    text_identifier: bool
    """Whether a text of digits in the field is no number: `fw`, `zip`, `batch_no`."""


@lru_cache(_REMEMBERED)
def words(name: str) -> tuple[str, ...]:
    """Returns the words of a field's name in small letters: `deviceName` → `device`, `name`.

    The result is empty for a name of more than 100 characters.
    """
    if len(name) > _LONGEST_NAME:
        return ()
    return tuple(word.casefold() for word in _WORD.findall(name))


@lru_cache(_REMEMBERED)
def meaning(name: str) -> Meaning:
    """Returns the meaning of a field with this name, by its last word or by all of its words together."""
    said = words(name)
    if not said:
        return Meaning(False, False, False, False, False, False, False)
    first, last, whole = said[0], said[-1], "".join(said)
    numbered = len(said) > 1 and first in _NUMBERED and last in ("number", "code")
    of_a_message = len(said) > 1 and first in _OF_A_MESSAGE and last in IDENTIFIERS
    describes = whole not in _NAMES and (
        last in _DESCRIPTIONS or whole in _DESCRIPTIONS or (len(said) > 1 and first in _DESCRIBING) or of_a_message
    )
    word = whole if whole in _NAMES else last
    strong = word in _NAMES
    names = not describes and (strong or word in _WEAK_NAMES)
    return Meaning(
        names,
        names and not strong,
        names and word not in _ONLY_TEXT,
        names and word not in _READINGS_AS_TEXT,
        describes,
        numbered or last in IDENTIFIERS or whole in IDENTIFIERS,
        numbered or last in _TEXT_IDENTIFIERS or whole in IDENTIFIERS,
    )


@lru_cache(_REMEMBERED)
def is_plural(name: str) -> bool:
    """Whether a field with this name usually has a list: `meters`, `vals`."""
    said = words(name)
    return bool(said) and len(said[-1]) > 2 and said[-1].endswith("s") and not said[-1].endswith(("ss", "us", "is"))
