"""The section `signals`: the limits for new signals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from connector.mapping.signals.signal_guard import GuardSettings
from connector.settings import Section


class SignalsSection(Section):
    """The guard against a high bill: Clarify charges for signals, and one wildcard can make ten thousand. Signals that
    have had samples before always pass."""

    max: int | None = Field(
        default=100_000,
        ge=1,
        description="The most signals; above this number, new signals are held. The number also bounds memory and "
        "state: without it, a publisher could make signals without end. null: any number.",
        examples=[5000],
    )
    on_new: Literal["allow", "hold", "reject"] = Field(
        default="allow",
        description="The treatment of a new signal: let it in (`allow`); keep its samples as dead letters until "
        "somebody approves the signal with `clarify-connector new-signals` (`hold`); or keep its samples as dead "
        "letters (`reject`).",
    )

    on_identity: Literal["warn", "hold", "reject"] = Field(
        default="warn",
        description='The treatment of a topic whose messages are about several things (`{"device": "pump-7", …}`), if '
        "no rule tells these things apart: report the topic, and store the values as one signal (`warn`); or keep "
        "further values as dead letters until a rule tells the things apart (`hold`: reason `signal_held`; `reject`: "
        "reason `no_identity`). The rule to write is in the log and in `/readyz`.",
    )

    def guard(self) -> GuardSettings:
        """Returns the settings of the guard."""
        return GuardSettings(self.max, self.on_new)
