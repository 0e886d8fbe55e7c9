"""Metrics → values: a fast path for plain numbers, and a slow path for everything else.

Members of templates, elements of arrays and cells of data sets become values of their own. The path of such a value has
the name of the metric and the names below it (member, index, row, column) with slashes between. If a data set has one
column of times, each row has the time from this column. Then the rows are readings of the same columns at different
times, and the row is no part of the path.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from connector.formats.format import PayloadError
from connector.formats.sparkplug.births import LONGEST_PATH, KnownMetric, MetricBirth, MetricTable, is_control
from connector.formats.sparkplug.datatypes import (
    ARRAYS,
    SCALARS,
    BadValueError,
    DataType,
    PlainValue,
    array,
    decoded_text,
    scalar,
    type_of,
    untyped,
)
from connector.formats.sparkplug.messages import DataSet, Metric
from connector.formats.sparkplug.properties import quality_code
from connector.records import Reason

_NO_TABLE: Final = MetricTable(())
_SHOWN_PATH: Final = 200
_INTEGERS: Final = ("int_value", "long_value")


class MetricValue(msgspec.Struct, gc=False):
    """One value of a message."""

    path: str
    """The metric's name; for a part of a metric, the name of the part follows after a slash."""
    value: float | bool | str
    time_us: int
    birth: MetricBirth | None = None
    """The definition of the metric, or of this part of it, in the birth; None if no birth is known."""
    quality: int | None = None
    historical: bool = False


class MetricProblem(NamedTuple):
    """A value that cannot be read, with the reason. `path` is None for the whole message."""

    reason: Reason
    message: str
    path: str | None = None
    value: str | None = None


class MetricReader:
    """Reads the metrics of one message with the table of the birth in force."""

    __slots__ = ("_limit", "_table", "_time_us", "filtered", "problems", "unknown", "values")

    def __init__(self, table: MetricTable | None, time_us: int, limit: int) -> None:
        """`time_us` is the time of metrics without a time; `limit` is the most values of the message."""
        self._table = table if table is not None else _NO_TABLE
        self._time_us = time_us
        self._limit = limit
        self.values: list[MetricValue] = []
        self.problems: list[MetricProblem] = []
        self.filtered = 0
        """The number of values that are no measurements: nulls, control and transient metrics, bytes, definitions."""
        self.unknown = 0
        """The number of metrics that need a birth which is not known."""

    def read(self, metrics: Iterable[Metric]) -> None:
        """Read the metrics. Raises `PayloadError` for more values than the limit."""
        named, numbered = self._table.metrics, self._table.aliases
        values, payload_time_us = self.values, self._time_us
        for metric in metrics:
            name = metric.name
            known = named.get(name) if name else numbered.get(metric.alias or self._zero(metric))
            if known is None or known.get is None or metric.is_null or metric.is_transient:
                self._any(metric, known)
                continue
            value = known.get(metric)
            if not value and metric.WhichOneof("value") != known.field:
                self._any(metric, known)
                continue
            if known.convert is not None:
                try:
                    value = known.convert(value)
                except BadValueError as error:
                    self._reject(Reason.TYPE_MISMATCH, f"{error}", known.birth.path, value)
                    continue
            values.append(
                MetricValue(
                    known.birth.path,
                    value,
                    metric.timestamp * 1000 or self._time_of(metric, payload_time_us),
                    known.birth,
                    quality_code(metric.properties) if metric.HasField("properties") else None,
                    metric.is_historical,
                )
            )
        self._check()

    @staticmethod
    def _zero(metric: Metric) -> int | None:
        return 0 if metric.HasField("alias") else None

    def _time_of(self, metric: Metric, otherwise_us: int) -> int:
        return metric.timestamp * 1000 if metric.HasField("timestamp") else otherwise_us

    def _check(self) -> None:
        if len(self.values) + len(self.problems) > self._limit:
            raise PayloadError(
                Reason.TOO_MANY_VALUES, f"more than {self._limit} values in one message (mapping.max_values)"
            )

    def _reject(self, reason: Reason, message: str, path: str, value: object = None) -> None:
        shown = None if value is None else repr(value)
        self.problems.append(MetricProblem(reason, message, path[:_SHOWN_PATH], shown and shown[:80]))
        self._check()

    # -- the slow path: everything that is no plain number -----------------------------------------

    def _any(self, metric: Metric, known: KnownMetric | None) -> None:
        path = decoded_text(metric.name)
        if not path:
            if not metric.HasField("alias"):
                self._reject(Reason.INVALID_SPARKPLUG, "a metric with neither a name nor an alias", "(no name)")
                return
            if known is None:
                self.unknown += 1
                self._reject(
                    Reason.UNKNOWN_ALIAS,
                    f"alias {metric.alias} stands in no known birth; the node has to send its births again",
                    f"alias {metric.alias}",
                )
                return
            path = known.birth.path
        known = known or self._table.metrics.get(path)
        self._named(metric, path, known, self._time_of(metric, self._time_us))

    def _named(self, metric: Metric, path: str, known: KnownMetric | None, time_us: int) -> None:
        if len(path) > LONGEST_PATH:
            self._reject(
                Reason.INVALID_SPARKPLUG, f"a name of {len(path)} characters; at most {LONGEST_PATH} are taken", path
            )
            return
        field = metric.WhichOneof("value")
        left_out = is_control(path) if known is None else known.left_out
        if left_out or metric.is_transient or metric.is_null:
            self.filtered += 1
            return
        if field is None:
            self._reject(Reason.NO_VALUE, "the metric has no value, and does not say that it is null", path)
            return
        datatype = type_of(metric.datatype) or (known.datatype if known is not None else None) or untyped(field)
        if datatype is None:
            self._without_type(metric, path, field)
            return
        self._typed(metric, path, known, datatype, time_us)

    def _without_type(self, metric: Metric, path: str, field: str) -> None:
        if field == "bytes_value" or metric.datatype:
            self.filtered += 1
            return
        self.unknown += 1
        self._reject(
            Reason.DATA_BEFORE_BIRTH,
            "an integer without a type, and no birth that says whether it has a sign; the node has to send its births "
            "again",
            path,
            getattr(metric, field),
        )

    def _typed(self, metric: Metric, path: str, known: KnownMetric | None, datatype: DataType, time_us: int) -> None:
        birth = known.birth if known is not None else None
        quality = quality_code(metric.properties) if metric.HasField("properties") else None
        try:
            if datatype in SCALARS:
                self._add(path, scalar(datatype, metric), time_us, birth, quality, metric.is_historical)
                self._learn(metric, known, datatype)
            elif datatype in ARRAYS:
                room = self._limit - len(self.values)
                for index, item in enumerate(array(datatype, metric.bytes_value, room)):
                    self._add(f"{path}/{index}", item, time_us, birth, quality, metric.is_historical)
            elif datatype is DataType.DATA_SET and metric.HasField("dataset_value"):
                self._data_set(metric.dataset_value, path, time_us, birth, quality, metric.is_historical)
            elif datatype is DataType.TEMPLATE and metric.HasField("template_value"):
                self._template(metric, path, time_us)
            elif datatype in (DataType.BYTES, DataType.FILE):
                self.filtered += 1
            else:
                self._reject(
                    Reason.TYPE_MISMATCH, f"declared as {datatype.name}, but sent as {metric.WhichOneof('value')}", path
                )
        except BadValueError as error:
            self._reject(Reason.TYPE_MISMATCH, str(error), path)

    def _add(
        self,
        path: str,
        value: PlainValue,
        time_us: int,
        birth: MetricBirth | None,
        quality: int | None,
        historical: bool,
    ) -> None:
        if value is None:
            self.filtered += 1
        else:
            self.values.append(MetricValue(path, value, time_us, birth, quality, historical))

    @staticmethod
    def _learn(metric: Metric, known: KnownMetric | None, datatype: DataType) -> None:
        """Remember the field that this device uses for its integers, so that its next value takes the fast path."""
        field = metric.WhichOneof("value")
        if known is not None and known.get is not None and field in _INTEGERS and known.datatype is datatype:
            known.read_from(field)

    def _template(self, metric: Metric, path: str, time_us: int) -> None:
        template = metric.template_value
        if template.is_definition:
            self.filtered += 1
            return
        self.filtered += len(template.parameters)
        for member in template.metrics:
            known = None
            below = decoded_text(member.name)
            if below:
                below = f"{path}/{below}"
                known = self._table.metrics.get(below)
            elif member.HasField("alias"):
                known = self._table.aliases.get(member.alias)
                below = known.birth.path if known is not None else ""
            if below:
                self._named(member, below, known, self._time_of(member, time_us))
            else:
                self._reject(
                    Reason.UNKNOWN_ALIAS, "a member without a name and without a known alias", f"{path}/(no name)"
                )
            self._check()

    def _data_set(
        self, table: DataSet, path: str, time_us: int, birth: MetricBirth | None, quality: int | None, historical: bool
    ) -> None:
        types = [type_of(code) for code in table.types]
        columns = [decoded_text(column) for column in table.columns]
        if len(columns) != len(types) or any(len(row.elements) != len(types) for row in table.rows):
            raise BadValueError(
                f"a data set of {len(columns)} columns with {len(types)} types, and a row of another length"
                if len(columns) == len(types)
                else f"a data set of {len(columns)} columns with {len(types)} types"
            )
        if any(len(column) > LONGEST_PATH for column in columns):
            raise BadValueError(f"a column with a name of more than {LONGEST_PATH} characters")
        times = [at for at, datatype in enumerate(types) if datatype is DataType.DATE_TIME]
        time_at = times[0] if len(times) == 1 else None
        for index, row in enumerate(table.rows):
            row_us = time_us
            if time_at is not None:
                millis = scalar(DataType.DATE_TIME, row.elements[time_at])
                row_us = int(millis) * 1000 if isinstance(millis, int) else time_us
            for at, (column, datatype, cell) in enumerate(zip(columns, types, row.elements, strict=True)):
                below = f"{path}/{column}" if time_at is not None else f"{path}/{index}/{column}"
                if at == time_at:
                    continue
                if datatype is None or datatype not in SCALARS:
                    self.filtered += 1
                    continue
                try:
                    self._add(below, scalar(datatype, cell), row_us, birth, quality, historical)
                except BadValueError as error:
                    self._reject(Reason.TYPE_MISMATCH, str(error), below)
            self._check()
