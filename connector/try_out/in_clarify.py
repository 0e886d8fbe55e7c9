"""The signals of a preview, compared with Clarify: signals that would be new, and signals that would change."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from connector.clarify import (
    NO_RETRIES,
    ClarifyError,
    Client,
    Credentials,
    NotAllowed,
    SignalInfo,
    SignalResource,
    Timeouts,
)
from connector.clarify.query import Filter, In
from connector.config.model import Config
from connector.metadata.book import read_saved_signals
from connector.metadata.signals import as_saved, save_changes
from connector.records import SignalMetadata, at_integration, of_integration

_PER_QUERY: Final = 500


@dataclass(frozen=True, slots=True)
class Change:
    """One attribute that a save would change."""

    attribute: str
    before: object
    after: object


@dataclass(slots=True)
class InClarify:
    """The result of the comparison. Without an answer of Clarify, only `not_asked` (a reason) and `invalid` are set."""

    not_asked: str | None = None
    asked: str = ""
    """The address and the integration that were asked."""
    created: list[str] = field(default_factory=list)
    changed: dict[str, list[Change]] = field(default_factory=dict)
    unchanged: int = 0
    invalid: dict[str, str] = field(default_factory=dict)
    """Input ID → the documented rule that the metadata breaks; such metadata would not be saved."""


def compare_with_clarify(config: Config, inputs: Collection[str], metadata: Mapping[str, SignalMetadata]) -> InClarify:
    """Compares the signals of `inputs` with Clarify, and returns the result.

    The input IDs are written as by `at_integration`; each integration is asked about its own. A fault that a person can
    mend raises no error: `not_asked` of the result then names the fault.
    """
    asked: dict[str, list[str]] = {}
    for written in inputs:
        asked.setdefault(of_integration(written)[0], []).append(written)
    answer = InClarify()
    for name, own in (asked or {"": []}).items():
        plain = {of_integration(written)[1]: metadata.get(written) for written in own}
        found = _compare(config, name, plain)
        if found.not_asked:
            answer.not_asked = f"{name}: {found.not_asked}" if name else found.not_asked
        answer.asked = "; ".join(filter(None, (answer.asked, found.asked)))
        answer.unchanged += found.unchanged
        answer.created += [at_integration(name, one) for one in found.created]
        answer.changed.update({at_integration(name, one): changes for one, changes in found.changed.items()})
        answer.invalid.update({at_integration(name, one): why for one, why in found.invalid.items()})
    return answer


def _compare(config: Config, name: str, signals: Mapping[str, SignalMetadata | None]) -> InClarify:
    """Compares the signals of one integration, given as input ID → metadata."""
    invalid: dict[str, str] = {}
    wanted: dict[str, tuple[SignalInfo, str]] = {}
    for input_id, said in signals.items():
        if said is None or not said.saved:
            continue
        try:
            wanted[input_id] = as_saved(input_id, said)
        except ValueError as error:
            invalid[input_id] = str(error)
    section = config.clarify.of(name)
    if not section.credentials.is_file():
        return InClarify(f"there is no credentials file {section.credentials}", invalid=invalid)
    try:
        credentials = Credentials.load(section.credentials, allow_insecure=section.allow_insecure)
        timeouts = Timeouts(connect=5, read=section.timeout, write=section.timeout)
        with Client(credentials, timeout=timeouts, retries=NO_RETRIES, verify=section.ca_file) as client:
            found = _signals(client, signals)
    except NotAllowed as error:
        reason = f"{error}; reading signals needs access to the admin namespace in the integration's settings"
        return InClarify(reason, invalid=invalid)
    except (ClarifyError, OSError) as error:
        return InClarify(str(error), invalid=invalid)
    saved = _already_saved(config, credentials.integration)
    answer = InClarify(asked=f"{credentials.api_url}, integration {credentials.integration}", invalid=invalid)
    for input_id in signals:
        if input_id not in found:
            answer.created.append(input_id)
        elif input_id not in wanted or saved.get(input_id) == wanted[input_id][1]:
            answer.unchanged += 1  # also after an edit in Clarify: only new metadata of the mapping is saved again
        elif changes := _changes(found[input_id], wanted[input_id][0]):
            answer.changed[input_id] = changes
        else:
            answer.unchanged += 1
    return answer


def _signals(client: Client, inputs: Collection[str]) -> dict[str, SignalResource]:
    found: dict[str, SignalResource] = {}
    listed = list(inputs)
    for start in range(0, len(listed), _PER_QUERY):
        for signal in client.iter_signals(Filter(fields={"input": In(value=listed[start : start + _PER_QUERY])})):
            found[signal.attributes.input] = signal
    return found


def _already_saved(config: Config, integration: str) -> Mapping[str, str]:
    """Returns input ID → the digest of the metadata that a connector on this machine has saved."""
    path = config.state_dir / "state.sqlite"
    try:
        return read_saved_signals(path, integration) if path.is_file() else {}
    except sqlite3.Error:
        return {}


def _changes(signal: SignalResource, wanted: SignalInfo) -> list[Change]:
    changed = save_changes(signal.attributes.to_wire(), wanted)
    return [Change(name, before, after) for name, (before, after) in changed.items()]
