"""The `integration` namespace: writing samples and signal metadata."""

from __future__ import annotations

from collections.abc import Mapping

from connector.sandbox.frames import BAD_KEY, INPUT_KEY, Frame, read_frame
from connector.sandbox.method import Call, Done, Method, Parameter
from connector.sandbox.problems import Problems
from connector.sandbox.rpc import INVALID_PARAMS, PARTIAL_FAILURE, RpcError
from connector.sandbox.signal_view import SignalView, read_signal_view
from connector.sandbox.store import DuplicateSamplesError

_INTEGRATION = Parameter("integration", required=True)


def insert(call: Call) -> Done:
    """`integration.insert`: store a data frame, and create the signals that do not exist yet."""
    settings, problems = call.settings, call.problems
    frame = read_frame(call.params.get("data"), problems, ordered=settings.unordered_times == "reject")
    bad = _bad_series(frame, problems) if settings.partial_failure == "on" else frozenset[str]()
    if problems and not bad:
        raise RpcError(INVALID_PARAMS, problems=problems)
    frame = Frame(frame.times, {key: values for key, values in frame.series.items() if key not in bad})
    samples = sum(value is not None for values in frame.series.values() for value in values)
    frame = frame.without_repeats(nulls_count=settings.null_values == "erase")
    try:
        saved = call.store.insert(
            call.integration,
            frame.times,
            frame.series,
            duplicates=settings.duplicate_times,
            nulls=settings.null_values,
            now=call.now,
        )
    except DuplicateSamplesError as error:
        for key in error.inputs:
            problems.add(f"data.series.{key}", "has values at some of these times already")
        raise RpcError(INVALID_PARAMS, problems=problems) from error
    summary = {key: {"id": state.id, "created": state.created} for key, state in saved.items()}
    if bad:
        partial = {"partialResult": {"signalsByInput": summary}, "params": dict(problems.messages)}
        raise RpcError(PARTIAL_FAILURE, data=partial)
    return Done({"signalsByInput": summary}, samples)


def _bad_series(frame: Frame, problems: Problems) -> frozenset[str]:
    """Keys of the series that the problems name; empty if a problem is about anything else."""
    keys = {f"data.series.{key}": key for key in frame.series}
    return (
        frozenset(keys[path] for path in problems.messages) if problems.messages.keys() <= keys.keys() else frozenset()
    )


def save_signals(call: Call) -> Done:
    """`integration.saveSignals`: create or replace signal metadata; annotations are merged."""
    problems = call.problems
    views = _read_views(call.params.get("signalsByInput"), call)
    create_only = call.params.get("createOnly")
    if create_only is None:
        create_only = False
    if not isinstance(create_only, bool):
        problems.add("createOnly", "must be true or false")
    if problems:
        raise RpcError(INVALID_PARAMS, problems=problems)
    saved = call.store.save(call.integration, views, create_only=create_only is True, now=call.now)
    return Done(
        {
            "signalsByInput": {
                key: {"id": state.id, "created": state.created, "updated": state.updated}
                for key, state in saved.items()
            }
        }
    )


def _read_views(value: object, call: Call) -> Mapping[str, SignalView]:
    views: dict[str, SignalView] = {}
    if isinstance(value, dict):
        for key, view in value.items():
            path = f"signalsByInput.{key}"
            if not INPUT_KEY.fullmatch(key):
                call.problems.add(path, BAD_KEY)
            views[key] = read_signal_view(key, view, path, call.problems)
    elif "signalsByInput" in call.params:
        call.problems.add("signalsByInput", "must be an object")
    return views


METHODS = (
    Method(
        name="integration.insert",
        nickname="insert",
        function=insert,
        parameters=(_INTEGRATION, Parameter("data", required=True)),
    ),
    Method(
        name="integration.saveSignals",
        nickname="save",
        aliases=(("integration.signals.save", "1.2alpha1"),),
        function=save_signals,
        parameters=(
            _INTEGRATION,
            Parameter("signalsByInput", aliases=("inputs",), required=True),
            Parameter("createOnly"),
            # 1.2 knows these parameters, but no readable page describes them: they are accepted, without effect.
            Parameter("result", since="1.2alpha1"),
            Parameter("include", since="1.2alpha1"),
            Parameter("format", since="1.2alpha1"),
        ),
    ),
)
