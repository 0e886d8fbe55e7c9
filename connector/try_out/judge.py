"""Runs tests of a mapping, each test by itself with the messages in order, and returns the differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isclose

from connector.mapping.time.times import format_time
from connector.records import Mapped, Reject, Sample, SignalMetadata
from connector.try_out.cases import ExpectedReject, ExpectedSample, ExpectedSignal, Placed, Step
from connector.try_out.mapping import RuleAt, TriedMapping


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of a diff: `-` marks an expected result that is missing, `+` marks a result that was not expected."""

    sign: str
    text: str

    def __str__(self) -> str:
        return f"{self.sign} {self.text}"


@dataclass(slots=True)
class Failure:
    """The differences for one message, or for one signal of a test."""

    where: str
    rules: list[RuleAt]
    """The rules that took the message; empty for a signal."""
    differences: list[Difference]


@dataclass(slots=True)
class CaseResult:
    """The result of one test."""

    placed: Placed
    failures: list[Failure] = field(default_factory=list)
    rules: set[int] = field(default_factory=set)
    """The numbers of the rules that took messages of the test, counted from 1."""

    @property
    def passed(self) -> bool:
        """Whether all results were as expected."""
        return not self.failures


def run_case(mapping: TriedMapping, placed: Placed) -> CaseResult:
    """Runs one test and returns the result. `mapping` must be new. Raises `SchemaUnavailableError`."""
    result = CaseResult(placed)
    several = len(placed.case.steps) > 1
    for number, (step, captured) in enumerate(zip(placed.case.steps, placed.records, strict=True), 1):
        source = mapping.source_for(captured.source)
        mapped = mapping.map(source, captured.record)
        rules = [rule for rule, _ in mapping.shares(source, captured.record, mapped) if rule is not None]
        result.rules.update(rule.number for rule in rules)
        if differences := _differences(step, mapped):
            where = (
                f"message {number} on topic {captured.record.topic!r}"
                if several
                else f"topic {captured.record.topic!r}"
            )
            result.failures.append(Failure(where, rules, differences))
    for input_id, expected in placed.case.signals.items():
        if differences := _metadata(input_id, expected, mapping.metadata.get(input_id)):
            result.failures.append(Failure(f"signal {input_id!r}", [], differences))
    return result


def _differences(step: Step, mapped: Mapped) -> list[Difference]:
    if step.filtered is not None:
        left_out = not mapped.samples and not mapped.rejects
        if step.filtered != left_out:
            expected = Difference("-", "filtered: nothing comes of the message" if step.filtered else "not filtered")
            return [expected, *_all(mapped)]
    found = _samples(step, mapped.samples) + _rejects(step.rejects or [], mapped.rejects)
    if step.filtered_values is not None and step.filtered_values != mapped.filtered:
        found.append(Difference("-", f"{step.filtered_values} values filtered"))
        found.append(Difference("+", f"{mapped.filtered} values filtered"))
    return found


def _samples(step: Step, samples: list[Sample]) -> list[Difference]:
    if step.samples is None and (step.other_samples or step.filtered is False):
        return []
    left = list(samples)
    found = []
    for expected in step.samples or []:
        match = next((sample for sample in left if _is(expected, sample)), None)
        if match is None:
            found.append(Difference("-", _expected(expected)))
        else:
            left.remove(match)
    if step.other_samples:
        named = {expected.input for expected in step.samples or []}
        left = [sample for sample in left if found and sample[0] in named]
    return found + [Difference("+", _sample(sample)) for sample in left]


def _is(expected: ExpectedSample, sample: Sample) -> bool:
    return (
        expected.input == sample[0]
        and expected.time_us in (None, sample[1])
        and isclose(expected.value, sample[2], rel_tol=1e-12)
    )


def _rejects(expected: list[ExpectedReject], rejects: list[Reject]) -> list[Difference]:
    left = list(rejects)
    found = []
    for one in expected:
        match = next((reject for reject in left if _is_reject(one, reject)), None)
        if match is None:
            path = f" of value {one.path}" if one.path else ""
            said = f": …{one.message}…" if one.message else ""
            found.append(Difference("-", f"reject {one.reason}{path}{said}"))
        else:
            left.remove(match)
    return found + [Difference("+", _reject(reject)) for reject in left]


def _is_reject(expected: ExpectedReject, reject: Reject) -> bool:
    return (
        expected.reason == reject.reason
        and expected.path in (None, reject.path)
        and (expected.message or "") in reject.message
    )


def _metadata(input_id: str, expected: ExpectedSignal, metadata: SignalMetadata | None) -> list[Difference]:
    if metadata is None:
        return [
            Difference("-", f"metadata of {input_id}"),
            Difference("+", "the mapping has no metadata for this signal, or no message has a value for this signal"),
        ]
    came: dict[str, object] = {
        "name": metadata.name,
        "description": metadata.description,
        "unit": metadata.unit,
        "type": metadata.value_type,
        "enum_values": dict(metadata.enum_values),
    }
    found = []
    for name, wanted in expected.model_dump(exclude_none=True).items():
        if name == "labels":
            found += _labels(wanted, dict(metadata.labels))
        elif wanted != came[name]:
            found += [Difference("-", f"{name}: {wanted}"), Difference("+", f"{name}: {came[name]}")]
    return found


def _labels(expected: Mapping[str, str | list[str]], labels: Mapping[str, tuple[str, ...]]) -> list[Difference]:
    """Returns the differences of the labels that `expected` names; other labels are not compared."""
    found = []
    for key, wanted in expected.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        came = list(labels.get(key, ()))
        if values != came:
            found.append(Difference("-", f"label {key}: {', '.join(values)}"))
            found.append(Difference("+", f"label {key}: {', '.join(came) or '(none)'}"))
    return found


def _all(mapped: Mapped) -> list[Difference]:
    found = [Difference("+", _sample(sample)) for sample in mapped.samples]
    found += [Difference("+", _reject(reject)) for reject in mapped.rejects]
    return found or [Difference("+", "nothing comes of the message")]


def _sample(sample: Sample) -> str:
    return f"{sample[0]}  {format_time(sample[1])}  {_number(sample[2])}"


def _expected(expected: ExpectedSample) -> str:
    time = "(any time)" if expected.time_us is None else format_time(expected.time_us)
    return f"{expected.input}  {time}  {_number(expected.value)}"


def _number(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _reject(reject: Reject) -> str:
    return f"reject {reject.reason}{f' of value {reject.path}' if reject.path else ''}: {reject.message}"
