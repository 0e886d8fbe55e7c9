"""Conditions on what is in a payload: a JMESPath expression, or places and what they must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.mapping.rules.paths import MISSING, Path, parse_path


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `wanted` are the values that will do; None: anything that JMESPath takes for true."""

    path: Path
    wanted: tuple[object, ...] | None = None

    def holds(self, document: object) -> bool:
        """Whether the payload is like that."""
        found = self.path.find(document)
        if self.wanted is not None:
            return any(_same(found, wanted) for wanted in self.wanted)
        return not (found is MISSING or found is False or found is None or found in ("", [], {}))


def parse_conditions(written: str | Mapping[str, object]) -> tuple[Condition, ...]:
    """All of which must hold. Raises ValueError."""
    if isinstance(written, str):
        return (Condition(parse_path(written)),)
    return tuple(
        Condition(parse_path(path), tuple(wanted) if isinstance(wanted, list) else (wanted,))
        for path, wanted in written.items()
    )


def _same(found: object, wanted: object) -> bool:
    """true is not 1, as in JSON; null is also what is not there."""
    if wanted is None:
        return found is None or found is MISSING
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
