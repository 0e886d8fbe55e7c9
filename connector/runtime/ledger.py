"""The ledger: received messages and samples, and their outcomes, from the files of a running or stopped connector.

received = inserted + dead-lettered + filtered + superseded + waiting, in messages and in samples. These numbers are
counted in different places. The journal's position counts received messages. The pipeline's commits count settled
messages. Waiting messages are read from the journal and mapped once more. So a balance is a real check.

For a log outside the connector (Kafka), a ledger has the messages that this member settled. The source counts the
ranges of positions; the pipeline counts the outcomes. The ledgers of all workers of a configuration are added up, and
so are the ledgers of several configurations (replicas). Together, the ranges of all members have no gap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from connector.config.model import Config
from connector.delivery.load import PackingAccount
from connector.ledger.account import Counts, SettledRange
from connector.ledger.delays import Freshness
from connector.ledger.journal_row import JournalRow
from connector.ledger.ledger_lines import OTHER_TOPICS, line_of
from connector.ledger.statement import read_statement
from connector.mapping.mapper import Mapper
from connector.mapping.time.times import format_time
from connector.pipeline.by_integration import LINE_MARK, ByIntegration
from connector.records import of_integration
from connector.runtime.assembly import mapper_with
from connector.runtime.state_dir import DISCARDED_NOTE, FRESHNESS_NOTE, WORKER_FOLDERS, packing_note
from connector.sources.loss import readable_duration
from connector.state.state import OverwrittenInput, read_memory, read_note, read_overwritten
from connector.terminal.text import shown

_SHOWN_INPUTS: Final = 10
_WAITING: Final = "(waiting)"
"""The line of the messages that wait, where they are only counted."""


@dataclass(slots=True)
class Account:
    """One side of the ledger: messages, or samples."""

    received: int = 0
    inserted: int = 0
    dead_lettered: int = 0
    filtered: int = 0
    superseded: int = 0
    waiting: int = 0

    @property
    def balanced(self) -> bool:
        """Whether the outcomes and the waiting messages or samples add up to the received ones."""
        return self.received == (self.inserted + self.dead_lettered + self.filtered + self.superseded + self.waiting)

    def add_settled(self, counts: Counts) -> None:
        """Add counts of settled messages or samples."""
        self.received += counts.received
        self.inserted += counts.inserted
        self.dead_lettered += counts.dead_lettered
        self.filtered += counts.filtered
        self.superseded += counts.superseded

    def add_waiting(self, n: int) -> None:
        """Add `n` waiting messages or samples, which count as received, too."""
        self.received += n
        self.waiting += n

    def __iadd__(self, other: Account) -> Account:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


@dataclass(slots=True)
class TopicAccount:
    """The account of one topic."""

    messages: Account = field(default_factory=Account)
    samples: Account = field(default_factory=Account)


@dataclass(slots=True)
class PartitionAccount:
    """One partition of a log, over all members whose ledgers were read."""

    first: int = 0
    """The lowest settled position."""
    next: int = 0
    """The position after the highest settled position."""
    records: int = 0
    """Number of settled messages; a message that came twice counts twice."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """(first position, position after the last) of each range that no member in this ledger has settled."""


@dataclass(slots=True)
class SourceLedger:
    """The account of one source."""

    appended: int = 0
    """Number of messages that the source's journal ever took in, by position."""
    topics: dict[str, TopicAccount] = field(default_factory=dict)
    partitions: dict[str, PartitionAccount] = field(default_factory=dict)
    """The settled positions of a log outside the connector, by partition."""
    redelivered: int = 0
    """Number of messages that came again after the same member had settled them."""
    expired: int = 0
    """Number of messages that expired in the log before the connector could read them."""
    unread: int = 0
    """Number of messages that were deleted together with their log before the connector could read them."""
    lost: int = 0
    """Number of received messages that a damaged journal has lost, if the number is known."""
    problems: list[str] = field(default_factory=list)
    """Reasons why the account does not balance, and reports of damage, for people."""
    incidents: list[str] = field(default_factory=list)
    """Events in the life of the source's file, with their times, for people."""


@dataclass(slots=True)
class Ledger:
    """The account of a whole connector."""

    sources: dict[str, SourceLedger] = field(default_factory=dict)
    packing: list[tuple[float, PackingAccount]] = field(default_factory=list)
    """For each process: the time of the report in seconds since the epoch, and the packing account since its start."""
    overwritten: dict[str, OverwrittenInput] = field(default_factory=dict)
    """Input ID → account of its values that later values of the same time replaced; for the newest inputs only."""
    freshness: dict[str, Freshness] = field(default_factory=dict)
    """Source with an objective for freshness → its account, some seconds old."""
    discarded: int = 0
    """Number of dead letters that were discarded, because their store was full."""
    known: set[str] = field(default_factory=set)
    """The names of all integrations, if there are several."""

    @property
    def total(self) -> TopicAccount:
        """The sum over all topics of all sources."""
        total = TopicAccount()
        for source in self.sources.values():
            for account in source.topics.values():
                total.messages += account.messages
                total.samples += account.samples
        return total

    @property
    def integrations(self) -> dict[str, TopicAccount]:
        """Integration → the sum over the lines that have its name; without the lines of the default integration alone.

        A message for several integrations counts in each of them.
        """
        found: dict[str, TopicAccount] = {}
        for source in self.sources.values():
            for line, account in source.topics.items():
                for name in self._named(line):
                    total = found.setdefault(name, TopicAccount())
                    total.messages += account.messages
                    total.samples += account.samples
        return found

    def _named(self, line: str) -> list[str]:
        """The integrations that a line names; none for the default one alone, and for what became no sample."""
        _, mark, text = line.rpartition(LINE_MARK)
        names = text.split(", ") if mark else []
        return names if self.known.issuperset(names) else []

    def only(self, integration: str, default: str) -> None:
        """Leave out the lines of other integrations. Lines that name none stay with `default`."""
        for source in self.sources.values():
            source.topics = {
                line: account
                for line, account in source.topics.items()
                if integration in (self._named(line) or [default])
            }
        self.packing = [(at, one) for at, one in self.packing if (one.integration or default) == integration]

    @property
    def balanced(self) -> bool:
        """Whether every message and every sample of every source is accounted for."""
        return not any(source.problems for source in self.sources.values())

    def as_json(self) -> dict[str, object]:
        """Returns the ledger as JSON data; times are text as in RFC 3339."""
        total = self.total
        return {
            "balanced": self.balanced,
            "messages": asdict(total.messages),
            "samples": asdict(total.samples),
            **({"integrations": {name: asdict(one) for name, one in self.integrations.items()}} if self.known else {}),
            "sources": {name: asdict(source) for name, source in self.sources.items()},
            "dead_letters_discarded": self.discarded,
            "freshness": {name: {**asdict(one), "share": one.share} for name, one in self.freshness.items()},
            "packing": [
                {
                    "at": format_time(round(at * 1e6)),
                    **asdict(account),
                    "factor": account.factor,
                    "samples_per_request": account.samples_per_request,
                    "density": account.density,
                }
                for at, account in self.packing
            ],
            "overwritten": [
                {
                    "input": name,
                    "topic": found.topic,
                    "values": found.values,
                    "first": format_time(int(found.first) * 1_000_000),
                    "last": format_time(int(found.last) * 1_000_000),
                }
                for name, found in self.overwritten.items()
            ],
        }


def read_ledger(*configs: Config, all_members: bool = False) -> Ledger:
    """Read the ledger of a configuration, or of several that work together: sources of the same name are added up.
    With `all_members`, a gap between what they settled is a problem. Raises sqlite3.Error if a file cannot be read."""
    return _read(configs, all_members, mapped=True)


def read_kept(config: Config, most_topics: int) -> Ledger:
    """Read the ledger of a configuration without its messages: they are neither read nor mapped, so that the work does
    not grow with the backlog. Messages that wait are in the line `(waiting)`, without their samples. A source has about
    `most_topics` lines, those with the most messages; further topics share a line. Raises sqlite3.Error if a file
    cannot be read."""
    ledger = _read((config,), False, mapped=False)
    for source in ledger.sources.values():
        lines = sorted(source.topics.items(), key=lambda item: item[1].messages.received, reverse=True)
        source.topics = dict(lines[:most_topics])
        for _, account in lines[most_topics:]:
            other = source.topics.setdefault(OTHER_TOPICS, TopicAccount())
            other.messages += account.messages
            other.samples += account.samples
    return ledger


def _read(configs: Sequence[Config], all_members: bool, *, mapped: bool) -> Ledger:
    ledger = Ledger()
    ranges: dict[str, list[SettledRange]] = {}
    for config in configs:
        for folder in [config.state_dir, *sorted(config.state_dir.glob(WORKER_FOLDERS))]:
            mapper = mapper_with(config, read_memory(folder / "state.sqlite")) if mapped else None
            divide = ByIntegration(config.clarify.name)
            if config.clarify.integrations:
                ledger.known.update(config.clarify.names)
            for integration in config.clarify.names.values():
                ledger.packing.extend(_packing(folder / "state.sqlite", integration))
            for name, found in read_overwritten(folder / "state.sqlite").items():
                ledger.overwritten[name] = _joined(ledger.overwritten.get(name, found._replace(values=0)), found)
            ledger.discarded += read_discarded(folder / "state.sqlite")
            for name, account in read_freshness(folder / "state.sqlite").items():
                _add_freshness(ledger.freshness, name, account)
            for section in config.sources:
                path = folder / f"{section.name}.sqlite"
                source = ledger.sources.setdefault(section.name, SourceLedger())
                if path.exists():
                    ranges.setdefault(section.name, []).extend(
                        _read_source(source, section.name, path, mapper, config.observe.ledger_topics, divide)
                    )
    for name, settled in ranges.items():
        source = ledger.sources[name]
        source.partitions = _by_partition(settled)
        _find_problems(source, all_members)
    return ledger


def read_freshness(state_file: Path) -> dict[str, Freshness]:
    """Returns source → its account of freshness in a state file; empty without any. Raises sqlite3.Error."""
    note = read_note(state_file, FRESHNESS_NOTE)
    return {} if note is None else {name: Freshness(**found) for name, found in json.loads(note.text).items()}


def read_discarded(state_file: Path) -> int:
    """Returns the number of dead letters that were ever discarded, as a state file has it. Raises sqlite3.Error."""
    note = read_note(state_file, DISCARDED_NOTE)
    return 0 if note is None else int(note.text)


def _add_freshness(accounts: dict[str, Freshness], source: str, found: Freshness) -> None:
    """Add the account of one process; accounts of other objectives cannot be added: the largest one stays."""
    known = accounts.setdefault(source, found)
    if known is found:
        return
    if known.objective == found.objective:
        accounts[source] = Freshness(found.objective, known.kept + found.kept, known.missed + found.missed)
    elif found.kept + found.missed > known.kept + known.missed:
        accounts[source] = found


def _packing(path: Path, integration: str) -> Iterator[tuple[float, PackingAccount]]:
    note = read_note(path, packing_note(integration)) if path.exists() else None
    if note is not None:
        at, text = note
        yield at, PackingAccount(**json.loads(text))


def _joined(one: OverwrittenInput, other: OverwrittenInput) -> OverwrittenInput:
    """Returns the account of one input, joined from the accounts of two processes."""
    newest = max(one, other, key=lambda found: found.last)
    return OverwrittenInput(
        newest.topic, one.values + other.values, min(one.first, other.first), max(one.last, other.last)
    )


def _read_source(
    source: SourceLedger, name: str, path: Path, mapper: Mapper | None, most_topics: int, divide: ByIntegration
) -> list[SettledRange]:
    """Add the account in a source's file; without a mapper, messages that wait are only counted."""
    statement = read_statement(
        path,
        None if mapper is None else lambda row: _add_waiting(source.topics, name, row, mapper, most_topics, divide),
    )
    if statement.waiting:
        source.topics.setdefault(_WAITING, TopicAccount()).messages.add_waiting(statement.waiting)
    source.appended += statement.appended
    source.redelivered += statement.redelivered
    source.expired += statement.expired
    source.unread += statement.unread
    for topic, tally in statement.settled.items():
        account = source.topics.setdefault(topic, TopicAccount())
        account.messages.add_settled(tally.messages)
        account.samples.add_settled(tally.samples)
    source.lost += statement.lost
    source.problems.extend(f"LOST: {loss}" for loss in statement.losses if loss.acknowledged is None)
    source.incidents.extend(
        f"{loss.at} lost: {loss} (acknowledged: {loss.acknowledged})" for loss in statement.losses if loss.acknowledged
    )
    if statement.damaged_rows:
        source.problems.append(f"{statement.damaged_rows} rows of the journal are damaged")
    source.incidents.extend(statement.incidents)
    return statement.ranges


def _find_problems(source: SourceLedger, all_members: bool) -> None:
    counted = sum(account.messages.received for account in source.topics.values())
    off = source.appended - counted - source.lost
    if off:
        source.problems.insert(
            0,
            f"{source.appended} messages came in, but {counted} are accounted for"
            f"{f' and {source.lost} are known to be lost' if source.lost else ''}: "
            f"{abs(off)} are {'missing' if off > 0 else 'too many'}",
        )
    source.problems.extend(
        f"topic {topic!r} does not balance: {account}"
        for topic, account in source.topics.items()
        if not (account.messages.balanced and account.samples.balanced)
    )
    missing = sum(end - start for partition in source.partitions.values() for start, end in partition.gaps)
    if all_members and missing > source.expired:
        source.problems.append(
            f"no member has settled {missing - source.expired} positions between settled positions: "
            + ", ".join(
                f"{name} from {start} to before {end}"
                for name, partition in source.partitions.items()
                for start, end in partition.gaps
            )
        )
    if source.problems:
        source.problems.extend(source.incidents)


def _by_partition(ranges: list[SettledRange]) -> dict[str, PartitionAccount]:
    """Partition → its account. A partition with several logs, such as a topic that was made anew, has one for each.

    Where only one log has a name, ranges without the name of a log are taken for this log's.
    """
    logs: dict[str, set[str]] = {}
    for found in ranges:
        logs.setdefault(found.partition, set()).update({found.log} - {""})
    partitions: dict[str, PartitionAccount] = {}
    several = {partition for partition, names in logs.items() if len(names) > 1}
    for found in sorted(
        ranges, key=lambda found: (found.partition, found.log if found.partition in several else "", found.first)
    ):
        name = found.partition
        if name in several:
            name = f"{name} in log {found.log or 'unknown'}"
        partition = partitions.get(name)
        if partition is None:
            partition = partitions[name] = PartitionAccount(found.first, found.first)
        if found.first > partition.next:
            partition.gaps.append((partition.next, found.first))
        partition.next = max(partition.next, found.next)
        partition.records += found.records
    return partitions


def _add_waiting(
    topics: dict[str, TopicAccount], name: str, row: JournalRow, mapper: Mapper, most_topics: int, divide: ByIntegration
) -> None:
    for record in row.records:
        mapped = mapper.map(name, record)
        integrations = {of_integration(sample[0])[0] for sample in mapped.samples}
        line = line_of(divide.line(record.topic, tuple(integrations)), topics, len(topics), most_topics)
        account = topics.get(line)
        if account is None:
            account = topics[line] = TopicAccount()
        values = sum(1 for reject in mapped.rejects if reject.path is not None)
        account.messages.add_waiting(1)
        account.samples.add_waiting(len(mapped.samples) + values + mapped.filtered)


def as_table(ledger: Ledger) -> str:
    """Returns the ledger as text for people: one line for each topic, with messages and samples side by side."""
    names = ("received", "inserted", "dead-lettered", "filtered", "superseded", "waiting")
    lines = []
    for source_name, source in ledger.sources.items():
        rows = [(shown(topic), account) for topic, account in sorted(source.topics.items())]
        total = TopicAccount()
        for _, account in rows:
            total.messages += account.messages
            total.samples += account.samples
        rows.append(("total", total))
        width = max(len(topic) for topic, _ in rows)
        lines.append(f"source {source_name}: {source.appended} messages came in (messages/samples)")
        lines.append("  " + "topic".ljust(width) + "".join(name.rjust(18) for name in names))
        for topic, account in rows:
            messages: Mapping[str, int] = asdict(account.messages)
            samples: Mapping[str, int] = asdict(account.samples)
            cells = (f"{messages[key]}/{samples[key]}" for key in (name.replace("-", "_") for name in names))
            lines.append("  " + topic.ljust(width) + "".join(cell.rjust(18) for cell in cells))
        for name, partition in sorted(source.partitions.items()):
            gaps = "".join(f", but not {start} to {end - 1}" for start, end in partition.gaps)
            lines.append(f"  {shown(name)}: offsets {partition.first} to {partition.next - 1} settled{gaps}")
        if source.redelivered:
            lines.append(f"  {source.redelivered} of the messages came again after they had been settled")
        if source.expired:
            lines.append(f"  {source.expired} messages had expired before they could be read")
        if source.unread:
            lines.append(f"  {source.unread} messages were deleted with their topic before they could be read")
        if source.lost:
            lines.append(f"  {source.lost} messages are lost; see clarify-connector journal acknowledge")
        lines.extend(f"  PROBLEM: {shown(problem)}" for problem in source.problems)
    for name, account in sorted(ledger.integrations.items()):
        counts = ", ".join(f"{n} {key.replace('_', '-')}" for key, n in asdict(account.samples).items())
        lines.append(f"integration {shown(name)}: {account.messages.received} messages; samples: {counts}")
    if ledger.discarded:
        lines.append(
            f"dead letters: {ledger.discarded:,} were discarded, because their store was full: their messages are lost"
        )
    lines.extend(_freshness_line(name, one) for name, one in sorted(ledger.freshness.items()))
    most = sorted(ledger.overwritten.items(), key=lambda item: -item[1].values)
    for name, overwritten in most[:_SHOWN_INPUTS]:
        lines.append(
            f"overwritten: {overwritten.values} values of input {shown(name)}, by others of the same time; the last "
            f"was noted at {format_time(int(overwritten.last) * 1_000_000)}, of topic {shown(overwritten.topic)}"
        )
    if len(most) > _SHOWN_INPUTS:
        lines.append(f"overwritten: values of {len(most) - _SHOWN_INPUTS} more inputs; --json has them")
    lines.extend(_packing_line(at, account) for at, account in ledger.packing)
    lines.append("The ledger balances." if ledger.balanced else "THE LEDGER DOES NOT BALANCE.")
    return "\n".join(lines)


def _freshness_line(source: str, found: Freshness) -> str:
    share = "" if found.share is None else f"{math.floor(found.share * 1e6) / 1e4:g} % of "
    return (
        f"freshness of {source}: {share}{found.kept + found.missed:,} samples were stored within "
        f"{readable_duration(found.objective)} of their time, {found.missed:,} were not"
    )


def _packing_line(at: float, packing: PackingAccount) -> str:
    line = (
        f"packing{f' of {packing.integration}' if packing.integration else ''} at "
        f"{format_time(int(at) * 1_000_000)}: {packing.requests} requests, "
        f"{packing.samples_per_request:,.0f} samples each, density {packing.density:.1%}; "
        f"{packing.inflow:,.0f} samples/s come in, a backlog of {packing.backlog_seconds:,.0f} s waits"
    )
    if packing.factor is not None:
        line += f"; {min(packing.factor, 1000):,.2g} times as much could be carried"
    if packing.full_requests:
        line += (
            f"; alignment to whole seconds would have saved {packing.aligned_saves:,.0f} of {packing.full_requests} "
            "full requests"
        )
    if packing.aligned or packing.not_aligned:
        line += (
            f"; {packing.aligned:,} samples were moved by up to {packing.greatest_shift_us / 1e6:g} s, with "
            f"{packing.collisions:,} collisions; {packing.not_aligned:,} would have been moved too far"
        )
    return line
