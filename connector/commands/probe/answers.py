"""What a question is, and what its answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connector.commands.probe.run import Probe

ADMIN = "grant the integration the namespace `admin` in Clarify's admin panel"
READING = "grant the integration the namespaces `admin` and `clarify` in Clarify's admin panel"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question: a sentence, and what follows from it.

    `sandbox` has switches of the sandbox, `connector` dotted settings of a configuration. An answer with `needs` is not
    settled, or only in part: `needs` says what would settle the question.
    """

    text: str
    sandbox: Mapping[str, object] = field(default_factory=dict)
    connector: Mapping[str, object] = field(default_factory=dict)
    detail: Mapping[str, object] = field(default_factory=dict)
    needs: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left open."""
        return not self.needs


@dataclass(frozen=True, slots=True)
class Question:
    """One question: `asks` is the question, and `how` says what is sent.

    `requests` is the greatest number of requests, `bytes` the greatest size of them if they are not small, `inputs` the
    ends of the inputs of its signals.
    """

    name: str
    asks: str
    how: str
    ask: Callable[[Probe], Answer]
    requests: int
    inputs: tuple[str, ...] = ()
    bytes: int = 0


def unsettled(text: str, needs: str) -> Answer:
    """An answer that leaves the whole question open."""
    return Answer(text, needs=needs)
