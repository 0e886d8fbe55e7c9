"""The names that `connector.clarify` has for others; they are loaded when the first is asked for."""

from connector import __version__
from connector.clarify import query
from connector.clarify.answers import (
    CreateSummary,
    DataSelection,
    Error,
    Included,
    InsertResponse,
    ItemResource,
    ItemSelection,
    PublishSignalsResponse,
    Response,
    SaveSignalsResponse,
    SaveSummary,
    SignalResource,
    SignalSelection,
)
from connector.clarify.api import Api
from connector.clarify.async_client import AsyncClient
from connector.clarify.client import Client
from connector.clarify.credentials import Credentials, Login
from connector.clarify.data_frame import DataFrame
from connector.clarify.errors import (
    ArgumentError,
    ClarifyError,
    CredentialsError,
    InvalidParams,
    NamedInFrame,
    NotAllowed,
    Problem,
    Refused,
    Retryable,
    TooLarge,
)
from connector.clarify.limits import API_VERSION, INPUT_ID
from connector.clarify.models import (
    Calculation,
    GroupAggregation,
    Item,
    ItemAggregation,
    ItemInfo,
    Signal,
    SignalInfo,
    SourceType,
    ValueType,
)
from connector.clarify.pacing import NO_RETRIES, Retries
from connector.clarify.results import Created, InsertResult, Saved, SaveSignalsResult
from connector.clarify.transport import Timeouts
from connector.clarify.versions import ApiVersionError

__API_version__ = API_VERSION

__all__ = [
    "INPUT_ID",
    "NO_RETRIES",
    "Api",
    "ApiVersionError",
    "ArgumentError",
    "AsyncClient",
    "Calculation",
    "ClarifyError",
    "Client",
    "CreateSummary",
    "Created",
    "Credentials",
    "CredentialsError",
    "DataFrame",
    "DataSelection",
    "Error",
    "GroupAggregation",
    "Included",
    "InsertResponse",
    "InsertResult",
    "InvalidParams",
    "Item",
    "ItemAggregation",
    "ItemInfo",
    "ItemResource",
    "ItemSelection",
    "Login",
    "NamedInFrame",
    "NotAllowed",
    "Problem",
    "PublishSignalsResponse",
    "Refused",
    "Response",
    "Retries",
    "Retryable",
    "SaveSignalsResponse",
    "SaveSignalsResult",
    "SaveSummary",
    "Saved",
    "Signal",
    "SignalInfo",
    "SignalResource",
    "SignalSelection",
    "SourceType",
    "Timeouts",
    "TooLarge",
    "ValueType",
    "__API_version__",
    "__version__",
    "query",
]
