"""What one rule made of one record, for whoever explains a mapping."""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """How much of a record's outcome is of one rule. A record's samples and rejects stand in the order of its shares;
    what is left behind the last of them is of no rule."""

    rule: int | None
    """The rule's place in the configuration, from 0; None for what applies where no rule is configured."""
    samples: int
    rejects: int
    filtered: int
