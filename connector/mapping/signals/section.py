"""The section `signals`: the limits for new signals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from connector.mapping.signals.signal_guard import GuardSettings
from connector.settings import Section


class SignalsSection(Section):
    """The guard against the bill: Clarify charges for signals, and one wildcard can make ten thousand. Signals that
    have had samples before are never touched."""

    max: int | None = Field(
        default=100_000,
        ge=1,
        description="At most so many signals; new ones above it are held. It bounds memory and state, too: whoever may "
        "publish could make signals without end. null: any number.",
        examples=[5000],
    )
    on_new: Literal["allow", "hold", "reject"] = Field(
        default="allow",
        description="A signal that is seen for the first time: let it in (`allow`), keep its samples as dead letters "
        "until somebody approves it with `clarify-connector new-signals` (`hold`), or keep them as dead letters "
        "(`reject`).",
    )

    on_identity: Literal["warn", "hold", "reject"] = Field(
        default="warn",
        description='Messages of one topic are about several things (`{"device": "pump-7", …}`), and no rule tells '
        "them apart: say so, and store their values as one signal (`warn`); or keep further values as dead letters "
        "until a rule tells them apart (`hold`: reason `signal_held`; `reject`: reason `no_identity`). The rule to "
        "write is in the log and in `/readyz`.",
    )

    def guard(self) -> GuardSettings:
        """Returns the settings of the guard."""
        return GuardSettings(self.max, self.on_new)
