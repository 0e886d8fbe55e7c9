"""Another configuration beside the running connector: compared, checked, then applied as a whole, without a loss.

Theory of operation. First everything that can fail is done while nothing has changed yet: the file is read and checked,
the rules are compiled, the files of the mapping are read, and new sources are opened. A change that a running process
cannot make (`_NEEDS_RESTART`) refuses the whole configuration. Then, in this order:

1. Removed sources are drained, as the command `drain` does: they leave what others can take over, and send what they
   have received. What is left after `delivery.flush_timeout` stays in their files.
2. Sources with a changed section are stopped after the present chunk, closed, and opened with the new section. Their
   journals and positions stay. Records under way that are not settled soon are forgotten, and come again.
3. The mapper is replaced between two records. It goes on with all that the mapper before remembers.
4. New and changed sources start.

A source whose section did not change is not touched. If a step fails after all, the sources that are gone are opened
again with their sections of before, and the whole configuration is refused.
"""

from __future__ import annotations

import gc
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import BaseModel

from connector import ConnectorError
from connector.mapping.section import MappingSection
from connector.runtime.assembly import ReadMapping, fingerprint, message_bytes, open_source
from connector.settings import same
from connector.sources.section import SourceSection
from connector.sources.source import LeavingSource, Source, UnsureSource
from connector.threads.watched import moves

if TYPE_CHECKING:
    from connector.config.model import Config
    from connector.mapping.mapper import Mapper
    from connector.runtime.connector import Connector

_NEEDS_RESTART: Final = ("clarify", "delivery", "dead_letters", "workers", "state_dir", "observe")
"""Sections that a running connector cannot change."""
_MAY_CHANGE: Final = frozenset({"observe.log_level", "observe.loss_warning"})
"""The settings in these sections that it can change."""
_STOP_SECONDS: Final = 10.0
"""The longest wait for an intake to end after its present chunk."""
_SETTLE_SECONDS: Final = 5.0
"""The longest wait for the records under way of a changed source."""
_CLOSE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
_MOST_NAMED: Final = 20

_log = structlog.get_logger(__name__)


class ReloadRefusedError(ConnectorError):
    """The configuration cannot be applied, and nothing of it was; the text says why."""

    def __init__(self, *lines: str) -> None:
        """`lines` are for people, a mistake each."""
        self.lines = lines
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Changes:
    """The differences between two configurations."""

    added: Sequence[SourceSection]
    removed: Sequence[SourceSection]
    changed: Sequence[SourceSection]
    """The new sections of sources whose sections have changed."""
    unchanged: int
    """Number of sources that are not touched."""
    mapping: bool
    """Whether the mapper is replaced."""
    settings: Sequence[str] = field(default=())
    """The changed settings, by their places in the file; no values, which may be secrets."""

    def __bool__(self) -> bool:
        return bool(self.settings or self.mapping)

    def lines(self) -> list[str]:
        """Returns the changes for people."""
        if not self:
            return ["nothing has changed"]
        found = [
            f"source {section.name}: {what}"
            for what, sections in (("added", self.added), ("removed", self.removed), ("changed", self.changed))
            for section in sections
        ]
        if self.unchanged:
            found.append(f"{self.unchanged} source{'s' * (self.unchanged > 1)} unchanged: not touched")
        return [*found, f"mapping: {'changed' if self.mapping else 'unchanged'}"]

    def as_fields(self) -> dict[str, object]:
        """Returns the changes for a line of the log."""
        lists = {"added": self.added, "removed": self.removed, "changed": self.changed}
        more = len(self.settings) - _MOST_NAMED
        return {
            **{f"sources_{what}": [section.name for section in sections] for what, sections in lists.items()},
            "sources_unchanged": self.unchanged,
            "mapping": "changed" if self.mapping else "unchanged",
            "settings": [*self.settings[:_MOST_NAMED], *([f"{more} more"] if more > 0 else [])],
        }


def compare(before: Config, after: Config, known: tuple[object, ...] | None = None) -> Changes:
    """Returns what `after` changes; `known` is the fingerprint of the mapping in use, if its files may have changed.

    Raises `ReloadRefusedError` if a running connector cannot change so.
    """
    settings = list(_differences(before, after))
    fixed = [one for one in settings if one.partition(".")[0] in _NEEDS_RESTART and one not in _MAY_CHANGE]
    if before.signals.guard().active != after.signals.guard().active:
        fixed.append("signals (limits for new signals, where there were none, or none any more)")
    if before.mapping.expects_signals != after.mapping.expects_signals:
        fixed.append("expect_every in mapping.rules (in the first rule with it, or in none any more)")
    if message_bytes(before) != message_bytes(after):
        fixed.append("mapping.max_payload")
    if fixed:
        raise ReloadRefusedError(
            f"{', '.join(fixed[:_MOST_NAMED])}: a running connector cannot change this; restart the connector to use "
            "the file, or undo this change to reload all the others"
        )
    old, new = ({section.name: section for section in config.sources} for config in (before, after))
    changed = [section for name, section in new.items() if name in old and not same(old[name], section)]
    return Changes(
        [section for name, section in new.items() if name not in old],
        [section for name, section in old.items() if name not in new],
        changed,
        len(new.keys() & old.keys()) - len(changed),
        not same([*fingerprint(after)], [*(fingerprint(before) if known is None else known)]),
        settings,
    )


def _differences(before: object, after: object, at: str = "") -> Iterator[str]:
    """Yields the places at which two sections differ."""
    if isinstance(before, MappingSection) and isinstance(after, MappingSection):  # its rules are more than settings
        before, after = before.model_dump(mode="json"), after.model_dump(mode="json")
    if same(before, after):
        return
    if (isinstance(before, BaseModel) and type(before) is type(after)) or (
        isinstance(before, Mapping) and isinstance(after, Mapping)
    ):
        one, other = dict(before), dict(after)
    elif at == "sources" and isinstance(before, list) and isinstance(after, list):
        one, other = ({section.name: section for section in sections} for sections in (before, after))
    else:
        yield at
        return
    for name in dict.fromkeys((*one, *other)):
        inner = f"{at}.{name}" if at else str(name)
        if name in one and name in other:
            yield from _differences(one[name], other[name], inner)
        else:
            yield inner


def apply(connector: Connector, config: Config, stopping: Callable[[], bool] = lambda: False) -> Changes:
    """Use another configuration from now on; returns the changes. Raises `ConnectorError`: then nothing has changed.

    `stopping` returns True when the connector stops: the rest of the change is then left out.
    """
    changes = compare(connector.config, config, connector.mapping.fingerprint)
    if changes:
        _Change(connector, config, changes, stopping).make()
    return changes


class _Change:
    """One change of a running connector."""

    def __init__(self, connector: Connector, config: Config, changes: Changes, stopping: Callable[[], bool]) -> None:
        self._connector = connector
        self._pipeline = connector.pipeline
        self._before = {section.name: section for section in connector.config.sources}
        self._config = config
        self._changes = changes
        self._stopping = stopping
        self._gone: dict[str, SourceSection] = {}
        """The sources that were taken away, with their sections of before."""

    def make(self) -> None:
        """Make the change, as a whole or not at all. Raises `ConnectorError`."""
        changes, connector = self._changes, self._connector
        mapping = ReadMapping(self._config) if changes.mapping else None
        _check((*changes.added, *changes.changed))
        with ExitStack() as opened, self._pipeline.kept_open():
            sources = [self._open(section, opened) for section in changes.added]
            try:
                self._drain_removed()
                self._take_away_changed()
                sources += [self._open(section, opened) for section in changes.changed]
                self._leave_out_if_stopping()
                if mapping is not None:
                    self._use(mapping)
            except BaseException:
                opened.close()
                self._bring_back()
                raise
            opened.pop_all()
            connector.config = self._config
            self._start(sources)
        connector.use_sources(self._config)
        gc.collect()  # the mapper before has cycles, and the collector looks for them seldom

    def _leave_out_if_stopping(self) -> None:
        if self._stopping():
            raise ReloadRefusedError("the connector stops; the next start uses the file")

    # -- sources ----------------------------------------------------------------------------------

    def _open(self, section: SourceSection, opened: ExitStack) -> Source:
        try:
            source = open_source(self._config, section)
        except ConnectorError:
            raise
        except (OSError, ValueError, sqlite3.Error) as error:
            raise ReloadRefusedError(f"sources.{section.name} cannot be opened: {error}") from None
        opened.callback(source.close, _CLOSE_SECONDS)
        return source

    def _drain_removed(self) -> None:
        names = [section.name for section in self._changes.removed]
        until = time.monotonic() + self._connector.config.delivery.flush_timeout
        intakes = self._pipeline.intakes
        leaving = {name: one for name in names if isinstance(one := intakes.sources[name], LeavingSource)}
        for one in leaving.values():
            one.leave(end_session=False)
        self._wait(until, lambda: all(one.leaving() is None for one in leaving.values()))
        for name in names:
            intakes.drain(name)
        self._wait(until, lambda: all(map(intakes.is_over, names)))
        for name in names:
            source = intakes.sources[name]
            unsure = [*source.unsure()] if isinstance(source, UnsureSource) else []
            if name in leaving and (what := leaving[name].leaving()):
                unsure.append(f"not left: {what}")
            left = self._take_away(name, max(0.0, until - time.monotonic()))
            _log.info(
                "source_removed",
                source=name,
                messages_left=left,
                **({"unsure": unsure} if unsure else {}),
                **({"effect": "the rest stays in state_dir, and is sent if the source comes back"} if left else {}),
            )

    def _wait(self, until: float, done: Callable[[], bool]) -> None:
        while not done() and time.monotonic() < until and not self._stopping():
            moves()
            time.sleep(_LOOK_SECONDS)

    def _take_away_changed(self) -> None:
        names = [section.name for section in self._changes.changed]
        for name in names:
            self._stop(name)
        for name in names:
            self._take_away(name, _SETTLE_SECONDS)

    def _stop(self, name: str) -> None:
        moves()
        if not self._pipeline.intakes.stop(name, _STOP_SECONDS):
            for section in self._changes.changed:
                self._pipeline.intakes.resume(section.name)
            raise ReloadRefusedError(
                f"sources.{name}: the source did not stop within {_STOP_SECONDS:g} s, so its section cannot change "
                "now; reload again when /readyz shows no problem of it, or restart the connector"
            )

    def _take_away(self, name: str, timeout: float) -> int:
        """Take a source away, and close it; returns the number of messages that it has, and that are not settled."""
        moves()
        self._stop(name)
        if self._stopping():
            timeout = 0.0
        source, left = self._pipeline.take_away(name, timeout)
        left += source.unread()
        self._gone[name] = self._before[name]
        source.close(_CLOSE_SECONDS)
        return left

    def _start(self, sources: Sequence[Source]) -> None:
        for source in sources:
            self._pipeline.intakes.add(source)
            self._pipeline.intakes.start(source.name, self._pipeline)
            event = "source_restarted" if source.name in self._gone else "source_added"
            _log.info(event, source=source.name)

    def _bring_back(self) -> None:
        """Open the sources that are gone again, with their sections of before."""
        if self._stopping():
            return
        with ExitStack() as opened:
            sources = []
            for section in self._gone.values():
                sources.append(open_source(self._connector.config, section))
                opened.callback(sources[-1].close, _CLOSE_SECONDS)
            opened.pop_all()
        self._start(sources)
        self._connector.use_sources(self._connector.config)

    # -- the mapping ------------------------------------------------------------------------------

    def _use(self, mapping: ReadMapping) -> None:
        connector = self._connector
        said: set[tuple[str, str, str]] = set()

        def make(before: Mapper) -> Mapper:
            said.update(before.observations.said)
            described = connector.state.descriptions() if mapping.describes else ()
            mapper = mapping.mapper({}, descriptions=described, before=before)
            connector.watch_signals_of(mapper)
            return mapper

        connector.pipeline.mapping.replace(make)
        for kind, source, subject in said:  # the new mapper says what still holds
            connector.present.over(kind, source, subject)
        connector.mapping = mapping
        connector.tags.watch(connector.mapper.tag_lists, connector.mapper.use_tags)
        connector.carrying.use_mapper(connector.mapper)
        connector.dead_letters.configuration = self._config.mapping.digest
        if connector.new_signals is not None:
            connector.new_signals.use(self._config.signals.guard())


def _check(sections: Sequence[SourceSection]) -> None:
    """Let the libraries of these sources check their settings. Raises `ReloadRefusedError`."""
    for section in sections:
        try:
            section.check()
        except ValueError as error:
            raise ReloadRefusedError(f"sources.{section.name}: {error}") from None
