"""The `admin` namespace: selecting signals, publishing signals as items, connecting signals to items."""

from __future__ import annotations

from connector.sandbox.method import RESOURCE_ID, Call, Done, Method, Parameter
from connector.sandbox.queries import laid_out, read_format, read_include, read_query, refuse_if_wrong, selection
from connector.sandbox.resources import item_resource, signal_resource
from connector.sandbox.rpc import INVALID_PARAMS, RpcError
from connector.sandbox.signal_view import SignalView, read_item_view
from connector.sandbox.store import SignalRow

_MOST = 1000
_DEFAULT = 20
_INTEGRATION = Parameter("integration", required=True)
_QUERY = Parameter("query")
_INCLUDE = Parameter("include")
_FORMAT = Parameter("format")
_NEW = "1.2alpha1"
_HALF_AN_HOUR_AND_ONE = "PT1H30M"


def select_signals(call: Call) -> Done:
    """`admin.selectSignals`: the selected signals of the integration; on request, also their items."""
    query = read_query(call, default=_DEFAULT, most=_MOST)
    include = _read_include(call)
    layout = read_format(call, as_list=True)
    refuse_if_wrong(call)
    rows, total = query.select(list(call.store.signals().values()))
    included = None
    if include:
        items = call.store.items()
        wanted = dict.fromkeys(row.item for row in rows if row.item is not None)
        included = [item_resource(items[item]) for item in wanted]
    data = laid_out([signal_resource(row, call.integration) for row in rows], layout)
    return Done(selection(call, layout, data, included, total=total))


def _read_include(call: Call) -> bool:
    if call.params.get("include") and call.settings.include_item == "refuse":
        call.problems.add("include.0", "no enum values registered")
        return False
    return read_include(call, ("item",))


def publish_signals(call: Call) -> Done:
    """`admin.publishSignals`: create or update the items of signals."""
    problems = call.problems
    given = call.params.get("itemsBySignal")
    create_only = call.params.get("createOnly")
    if create_only not in (None, True, False):
        problems.add("createOnly", "must be true or false")
    views: dict[str, SignalView] = {}
    names = {row.id: row.attributes["name"] for row in call.store.signals().values()}
    if isinstance(given, dict):
        for signal, value in given.items():
            path = f"itemsBySignal.{signal}"
            if not RESOURCE_ID.fullmatch(signal):
                problems.add(path, "not a valid signal ID")
            elif signal not in names:
                problems.add(path, "no such signal")
            view = read_item_view(str(names.get(signal, signal)), value, path, problems)
            views[signal] = _with_gap_detection(call, view)
    elif "itemsBySignal" in call.params:
        problems.add("itemsBySignal", "must be an object")
    refuse_if_wrong(call)
    try:
        saved = call.store.publish(call.integration, views, create_only=create_only is True, now=call.now)
    except KeyError as error:  # the signal existed a moment ago
        problems.add(f"itemsBySignal.{error.args[0]}", "no such signal")
        raise RpcError(INVALID_PARAMS, problems=problems) from None
    summary = {
        signal: {"id": state.id, "created": state.created, "updated": state.updated} for signal, state in saved.items()
    }
    return Done({"itemsBySignal": summary})


def _with_gap_detection(call: Call, view: SignalView) -> SignalView:
    """The view, with a gap detection of one and a half hours if the view has none and the settings ask for one.

    The setting `by-version` asks for one from API 1.2 on.
    """
    wanted = call.settings.gap_detection
    sets = wanted == _HALF_AN_HOUR_AND_ONE or (wanted == "by-version" and call.version.at_least(_NEW))
    if view.attributes["gapDetection"] is not None or not sets:
        return view
    return SignalView({**view.attributes, "gapDetection": _HALF_AN_HOUR_AND_ONE}, view.annotations)


def connect_signals(call: Call) -> Done:
    """`admin.signals.connect`: connect the selected signals to an item, which then shows their data."""
    item = call.params.get("item")
    if not isinstance(item, str) or not RESOURCE_ID.fullmatch(item):
        call.problems.add("item", "not a valid item ID")
    elif item not in call.store.items():
        call.problems.add("item", "no such item")
    return _connect(call, str(item))


def disconnect_signals(call: Call) -> Done:
    """`admin.signals.disconnect`: separate the selected signals from their items."""
    return _connect(call, None)


def _connect(call: Call, item: str | None) -> Done:
    query = read_query(call, default=_DEFAULT, most=_MOST)
    include = _read_include(call)
    layout = read_format(call, as_list=True)
    dry_run = call.params.get("dryRun")
    if dry_run not in (None, True, False):
        call.problems.add("dryRun", "must be true or false")
    refuse_if_wrong(call)
    rows, total = query.select(list(call.store.signals().values()))
    affected = [row for row in rows if row.item != item]
    if dry_run is not True:
        call.store.connect([row.id for row in affected], item)
    after = [SignalRow(r.id, r.input, r.attributes, r.annotations, r.created_us, r.updated_us, item) for r in affected]
    data = laid_out([signal_resource(row, call.integration) for row in after], layout)
    included = [item_resource(call.store.items()[item])] if include and item is not None and after else None
    return Done(selection(call, layout, data, included, total=total))


_CONNECTING = (_QUERY, Parameter("dryRun"), _INCLUDE, _FORMAT)
METHODS = (
    Method(
        name="admin.selectSignals",
        nickname="select_signals",
        aliases=(("admin.signals.select", _NEW),),
        function=select_signals,
        parameters=(_INTEGRATION, _QUERY, _INCLUDE, _FORMAT),
        rate=10.0,
    ),
    Method(
        name="admin.publishSignals",
        nickname="publish",
        aliases=(("admin.signals.publish", _NEW),),
        function=publish_signals,
        parameters=(
            _INTEGRATION,
            Parameter("itemsBySignal", required=True),
            Parameter("createOnly"),
            # 1.2 knows these parameters, but no readable page describes them: they are accepted, without effect.
            Parameter("result", since=_NEW),
            Parameter("include", since=_NEW),
            Parameter("format", since=_NEW),
        ),
        rate=5.0,
    ),
    Method(
        name="admin.signals.connect",
        nickname="connect",
        aliases=(("admin.connectSignals", _NEW),),
        since=_NEW,
        function=connect_signals,
        parameters=(_INTEGRATION, Parameter("item", required=True), *_CONNECTING),
    ),
    Method(
        name="admin.signals.disconnect",
        nickname="disconnect",
        aliases=(("admin.disconnectSignals", _NEW),),
        since=_NEW,
        function=disconnect_signals,
        parameters=(_INTEGRATION, *_CONNECTING),
    ),
)
