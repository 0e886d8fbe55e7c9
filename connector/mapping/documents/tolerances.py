"""Tolerances: faults of payloads that decoders overlook; each is counted, and said once for each source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from json import dumps
from typing import Final

from connector.formats.format import TOLERATED
from connector.mapping.observations import Observation, Observations

_LONGEST_TOPIC: Final = 200


class Tolerances:
    """Counts the messages in which a fault was overlooked. For one thread at a time."""

    def __init__(self, observations: Observations) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """(source, key of `TOLERATED`) → number of messages since the start."""
        self._observations = observations

    def note(self, source: str, topic: str, kinds: Iterable[str]) -> None:
        """Count a message of this topic with these faults; the first message with a fault becomes an observation."""
        for kind in kinds:
            self.counts[source, kind] += 1
            if self.counts[source, kind] == 1:
                self._observations.add(
                    Observation(
                        "payload_tolerated",
                        source,
                        kind,
                        f"a message on topic {dumps(topic[:_LONGEST_TOPIC], ensure_ascii=False)}, the first of its "
                        f"kind, has {TOLERATED[kind]}; everything else in it is read",
                        "no action is needed if the values are right; otherwise mend the sender. The metric "
                        "clarify_connector_tolerated_messages_total counts such messages",
                    )
                )
