"""The return values of the client's methods: a response with `result` or `error`, and typed results.

Unknown fields are kept, because Clarify may add fields at any time. The names of fields are snake_case. The API's
camelCase names work too: `result.signalsByInput` is `result.signals_by_input`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Generic, Self, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    ValidationError,
)

from connector.clarify.api_model import ApiModel, Dumped
from connector.clarify.data_frame import DataFrame
from connector.clarify.errors import ClarifyError, Retryable
from connector.clarify.models import Item, SignalInfo, SourceType, ValueType
from connector.clarify.rpc import stores
from connector.clarify.validation import broken_rules

ResultT = TypeVar("ResultT")
ModelT = TypeVar("ModelT", bound="AnswerModel")


class AnswerModel(ApiModel):
    """A part of an answer. Unknown fields are kept under the API's names."""

    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)


def _set_duration(value: object) -> object:
    """The duration in the API's form; None for PT0S and for an empty text, which mean "not set"."""
    return None if value in ("PT0S", "") else value


AnsweredDuration = Annotated[timedelta | None, BeforeValidator(_set_duration)]


class CreateSummary(AnswerModel):
    """The outcome of an insert for one signal."""

    id: str
    created: bool


class SaveSummary(AnswerModel):
    """The outcome of a save of metadata for one signal or item."""

    id: str
    created: bool
    updated: bool


class InsertResponse(AnswerModel):
    """The outcome of an insert, by input ID."""

    signals_by_input: dict[str, CreateSummary]


class SaveSignalsResponse(AnswerModel):
    """The outcome of a save of metadata, by input ID."""

    signals_by_input: dict[str, SaveSummary]


class PublishSignalsResponse(AnswerModel):
    """The outcome of publishing, by signal ID. The IDs in the summaries are IDs of items."""

    items_by_signal: dict[str, SaveSummary]


class ResourceMeta(AnswerModel):
    """Clarify's own data about a resource. The hashes may be missing."""

    annotations: dict[str, str] = Field(default_factory=dict)
    attributes_hash: str | None = None
    relationships_hash: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


def _known(kind: type[StrEnum]) -> AfterValidator:
    """Makes a text a member of `kind`; a text that is not known stays a text."""
    return AfterValidator(lambda value: kind._value2member_map_.get(value, value))


class _SavedAttributes(AnswerModel):
    """Metadata from Clarify. No rule is checked: Clarify may add types of sources and values."""

    name: str = ""
    description: str = ""
    labels: dict[str, list[str]] = Field(default_factory=dict)
    source_type: Annotated[str, _known(SourceType)] = "measurement"
    value_type: Annotated[str, _known(ValueType)] = "numeric"
    eng_unit: str = ""
    enum_values: dict[str, str] = Field(default_factory=dict)
    sample_interval: AnsweredDuration = None
    gap_detection: AnsweredDuration = None
    annotations: None = Field(default=None, exclude=True, repr=False)
    """Clarify gives annotations in `meta`."""


class SavedSignal(_SavedAttributes, SignalInfo):  # type: ignore[misc]  # its types are wider
    """Metadata of a signal from Clarify."""

    model_config = ConfigDict(extra="allow")

    input: str


class SavedItem(_SavedAttributes, Item):  # type: ignore[misc]  # as above
    """Metadata of an item from Clarify."""

    model_config = ConfigDict(extra="allow")


class Identifier(AnswerModel):
    """A resource by type and ID."""

    type: str
    id: str


class ToOne(AnswerModel):
    """A relationship to one resource, or to no resource."""

    data: Identifier | None = None


class SignalRelationships(AnswerModel):
    """The integration of a signal, and the item that shows the signal."""

    integration: ToOne | None = None
    item: ToOne | None = None


class Resource(AnswerModel):
    """A signal or an item."""

    id: str
    type: str
    meta: ResourceMeta = Field(default_factory=ResourceMeta)


class SignalResource(Resource):
    """A signal: its metadata, and the item that shows it."""

    attributes: SavedSignal
    relationships: SignalRelationships = Field(default_factory=SignalRelationships)

    @property
    def item(self) -> str | None:
        """The ID of the item that the signal is published as; None if the signal is not published."""
        related = self.relationships.item
        return related.data.id if related is not None and related.data is not None else None


class ItemResource(Resource):
    """An item: its metadata."""

    attributes: SavedItem


class SelectionMeta(AnswerModel):
    """About a selection: `total` is the number of matching resources; -1 if they were not counted."""

    total: int = -1
    format: dict[str, Any] = Field(default_factory=dict)


class Included(AnswerModel):
    """The related resources that `include` asked for."""

    items: list[ItemResource] = Field(default_factory=list)
    signals: list[SignalResource] = Field(default_factory=list)

    def and_more(self, other: Included | None) -> Included:
        """The resources of this answer and of another answer, without duplicates."""
        if other is None:
            return self
        items = {found.id: found for found in [*self.items, *other.items]}
        signals = {found.id: found for found in [*self.signals, *other.signals]}
        return Included(items=list(items.values()), signals=list(signals.values()))


def _listed(data: object) -> object:
    """The resources as a list. Some answers have a map of resources by ID."""
    return list(data.values()) if isinstance(data, Mapping) else data


class SignalSelection(AnswerModel):
    """Signals that a query selected."""

    meta: SelectionMeta = Field(default_factory=SelectionMeta)
    data: Annotated[list[SignalResource], BeforeValidator(_listed)] = Field(default_factory=list)
    included: Included | None = None


class ItemSelection(AnswerModel):
    """Items that a query selected."""

    meta: SelectionMeta = Field(default_factory=SelectionMeta)
    data: Annotated[list[ItemResource], BeforeValidator(_listed)] = Field(default_factory=list)
    included: Included | None = None


def _as_frame(data: object) -> object:
    """The data as one frame. Some answers have a list of frames."""
    if isinstance(data, list):
        if not all(isinstance(frame, Mapping) for frame in data):
            raise ValueError("a list with an element that is no data frame")
        return DataFrame.merge(DataFrame.from_wire(frame) for frame in data)
    return DataFrame.from_wire(data) if isinstance(data, Mapping) else data


def _dumped_frame(frame: DataFrame, info: SerializationInfo) -> dict[str, object]:
    return frame.model_dump(mode=info.mode)


class DataSelection(AnswerModel):
    """A data frame, whose series are items, rollups of items, or aliases."""

    meta: SelectionMeta = Field(default_factory=SelectionMeta)
    data: Annotated[DataFrame, BeforeValidator(_as_frame), PlainSerializer(_dumped_frame)]
    included: Included | None = None


class ErrorData(AnswerModel):
    """The details of an error as the server gave them. Other versions of the API give other fields."""

    trace: str | None = None
    params: dict[str, list[str]] | None = None


class Error(AnswerModel):
    """The error of a call. `exception` is the same error as an exception, whose class decides the remedy."""

    code: int | None
    """The RPC error code (negative) or the HTTP status; None if there was no answer, or nothing was sent."""
    message: str
    """What the server said, as Clarify's own client shows it; the same as `explanation` if no server said anything."""
    data: ErrorData | str | None = None
    explanation: str = Field(default_factory=lambda given: given["message"])
    """What is wrong, where, and what to do."""
    exception: ClarifyError = Field(
        default_factory=lambda given: ClarifyError(given["message"], code=given["code"]), exclude=True, repr=False
    )

    @classmethod
    def of(cls, exception: ClarifyError) -> Error:
        """The error for an exception of a call."""
        data = exception.data
        details: ErrorData | str | None = None if data is None else str(data)
        if isinstance(data, Mapping):
            with suppress(ValidationError):  # details of another shape stay text
                details = ErrorData.model_validate(data)
        said = str(exception)
        return cls(
            code=exception.code,
            message=exception.said or said,
            data=details,
            explanation=said,
            exception=exception,
        )


@dataclass(frozen=True, slots=True, repr=False)
class Response(Generic[ResultT]):
    """The answer to a call: `result` or `error`, or both if a later part of a long call failed."""

    result: ResultT | None = None
    error: Error | None = None
    id: int | str = 0
    jsonrpc: str = "2.0"

    def raise_for_error(self) -> Self:
        """The response itself if there is no error. Otherwise raises the error, a ClarifyError with a remedy."""
        if self.error is not None:
            raise self.error.exception
        return self

    def model_dump(self, **options: Any) -> Dumped:
        """The response as a dict by the API's names, with the options of pydantic's `model_dump`."""
        return {
            "jsonrpc": self.jsonrpc,
            "id": self.id,
            "result": self.result.model_dump(**options) if isinstance(self.result, AnswerModel) else self.result,
            "error": None if self.error is None else self.error.model_dump(**options),
        }

    def model_dump_json(self) -> str:
        """The response as JSON text by the API's names, for logs and files."""
        return orjson.dumps(self.model_dump(mode="json")).decode()

    def json(self) -> str:
        """The same as `model_dump_json`."""
        return self.model_dump_json()

    def __repr__(self) -> str:
        return f"Response(jsonrpc={self.jsonrpc!r}, id={self.id!r}, result={self.result!r}, error={self.error!r})"

    def dict(self, **options: Any) -> Dumped:
        """The same as `model_dump`."""
        return self.model_dump(**options)

    def with_error(self, exception: ClarifyError) -> Response[ResultT]:
        """The same response with an error that came after the result."""
        return replace(self, error=Error.of(exception))


def read_answer(model: type[ModelT], result: Mapping[str, object], method: str) -> ModelT:
    """The result of a call as a model. Raises Retryable if the result is not as documented."""
    try:
        return model.model_validate(result)
    except ValidationError as error:
        wrong = broken_rules(error)
    except ValueError as error:  # an invalid data frame
        wrong = str(error)
    raise Retryable(
        f"The result makes no sense: {wrong[:500]}. Try again later; check the API version if the error stays.",
        code=200,
        method=method,
        outcome_unknown=stores(method),
    )
