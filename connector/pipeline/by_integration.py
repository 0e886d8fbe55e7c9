"""Divides the parts of a chunk by integration, and names the line of each record in the ledger.

The mapping writes the name of the integration before an input ID (`at_integration`). A row is made by one rule, so all
its inputs go to one integration; the samples of one record may go to several. Pure: no lock, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector.records import Chunk, Mapped, Part, Rows, of_integration

_MOST_KNOWN: Final = 100_000
"""Input IDs, and groups of input IDs, whose parts are remembered; above, all are forgotten and found again."""
LINE_MARK: Final = " → "
"""Stands in a line of the ledger between a topic and the integrations of its samples."""


class ByIntegration:
    """Divides parts by integration. For one thread at a time."""

    def __init__(self, default: str = "default") -> None:
        """`default` is the name of the default integration for people."""
        self._default = default
        self._known: dict[str, tuple[str, str]] = {}
        self._inputs: dict[tuple[str, ...], tuple[str, ...]] = {}

    def _of(self, written: str) -> tuple[str, str]:
        found = self._known.get(written)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
                self._inputs.clear()
            found = self._known[written] = of_integration(written)
        return found

    def divided(self, parts: Sequence[Part]) -> dict[str, list[Part]]:
        """Returns integration → its part of these parts; parts without samples are left out."""
        found: dict[str, list[Part]] = {}
        for index, part in parts:
            if type(part) is Rows:
                found.setdefault(self._of(part.inputs[0])[0], []).append((index, part))
            elif part.samples:
                of_record: dict[str, Mapped] = {}
                for sample in part.samples:
                    name = self._of(sample[0])[0]
                    if name not in of_record:
                        of_record[name] = Mapped([])
                    of_record[name].samples.append(sample)
                for name, mapped in of_record.items():
                    found.setdefault(name, []).append((index, mapped))
        return found

    def plain(self, parts: list[Part]) -> list[Part]:
        """Returns the parts of one integration with the input IDs as Clarify knows them."""
        found: list[Part] = []
        for index, part in parts:
            if type(part) is Rows:
                inputs = self._inputs.get(part.inputs)
                if inputs is None:
                    if len(self._inputs) >= _MOST_KNOWN:
                        self._inputs.clear()
                    inputs = self._inputs[part.inputs] = tuple(self._of(written)[1] for written in part.inputs)
                rows = Rows(inputs, part.filtered)
                rows.indexes, rows.times, rows.packed = part.indexes, part.times, part.packed
                found.append((index, rows))
            else:
                found.append(
                    (index, Mapped([(self._of(one)[1], time_us, value) for one, time_us, value in part.samples]))
                )
        return found

    def lines(self, chunk: Chunk, parts: Sequence[Part]) -> list[str] | None:
        """Returns the line of each record in the ledger; None if each line is the topic of the record."""
        integrations: dict[int, tuple[str, ...]] = {}
        for index, part in parts:
            if type(part) is Rows:
                name = self._of(part.inputs[0])[0]
                if name:
                    integrations.update(dict.fromkeys(part.indexes, (name,)))
            elif part.samples:
                names = {self._of(sample[0])[0] for sample in part.samples}
                if names != {""}:
                    integrations[index] = tuple(names)
        if not integrations:
            return None
        return [self.line(topic, integrations.get(i, ())) for i, topic in enumerate(chunk.topics())]

    def line(self, topic: str, integrations: Sequence[str]) -> str:
        """Returns the line of a record in the ledger: its topic, and its integrations if one is not the default one."""
        if not any(integrations):
            return topic
        return topic + LINE_MARK + ", ".join(sorted(name or self._default for name in integrations))
