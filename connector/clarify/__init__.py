"""A client for the time-series API of Clarify (clarify.io). Knows nothing of the rest of the connector.

with Client("credentials.json") as clarify:
    clarify.insert(DataFrame(times=["2026-05-01T06:00:00Z"], series={"boiler/pressure": [4.1]}))
    clarify.save_signals({"boiler/pressure": SignalInfo(name="Boiler pressure", eng_unit="bar")})
"""

from connector.clarify.client import Client
from connector.clarify.credentials import Credentials, Login
from connector.clarify.errors import (
    ClarifyError,
    CredentialsError,
    InvalidParams,
    NotAllowed,
    Problem,
    Refused,
    Retryable,
    TooLarge,
)
from connector.clarify.limits import INPUT_ID
from connector.clarify.models import DataFrame, SignalInfo
from connector.clarify.results import Created, InsertResult, Saved, SaveSignalsResult
from connector.clarify.transport import Timeouts

__all__ = [
    "INPUT_ID",
    "ClarifyError",
    "Client",
    "Created",
    "Credentials",
    "CredentialsError",
    "DataFrame",
    "InsertResult",
    "InvalidParams",
    "Login",
    "NotAllowed",
    "Problem",
    "Refused",
    "Retryable",
    "SaveSignalsResult",
    "Saved",
    "SignalInfo",
    "Timeouts",
    "TooLarge",
]
