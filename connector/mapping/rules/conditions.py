"""Conditions on a payload: a JMESPath expression that must be true, or paths with the values that they must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.mapping.rules.paths import MISSING, Path, parse_path


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `wanted` has the allowed values; None allows each value that is true in JMESPath."""

    path: Path
    wanted: tuple[object, ...] | None = None

    def holds(self, document: object) -> bool:
        """Whether the document fulfils the condition."""
        found = self.path.find(document)
        if self.wanted is not None:
            return any(_same(found, wanted) for wanted in self.wanted)
        return not (found is MISSING or found is False or found is None or found in ("", [], {}))


def parse_conditions(written: str | Mapping[str, object]) -> tuple[Condition, ...]:
    """Returns the conditions of a setting `when`, which must all hold. Raises ValueError."""
    if isinstance(written, str):
        return (Condition(parse_path(written)),)
    return tuple(
        Condition(parse_path(path), tuple(wanted) if isinstance(wanted, list) else (wanted,))
        for path, wanted in written.items()
    )


def _same(found: object, wanted: object) -> bool:
    """Whether two values are equal: as in JSON, true is not 1; a missing value equals null."""
    if wanted is None:
        return found is None or found is MISSING
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
