"""The limits of the Clarify API: every number and pattern that Clarify sets, each with its source.

"docs" is https://docs.clarify.io/. A rule marked "clients" is on no page that we know. Clarify's own clients keep the
rule, so a request that keeps the rule is safe.
"""

from __future__ import annotations

import re
from typing import Final

API_VERSION: Final = "1.1"
"""Selector for the X-API-Version header: the current stable version. docs api/1.1/protocol/http"""

REQUEST_BYTES: Final = 8 * 1024 * 1024
"""Largest body in bytes of uncompressed JSON, for every method. docs api/1.1/rate-limits ("~8 MiB")"""

INSERTS_PER_SECOND: Final = 1.0
"""Rate of integration.insert. docs api/1.1/rate-limits"""

SAVES_PER_SECOND: Final = 1.0
"""Rate of integration.saveSignals. docs api/1.1/rate-limits"""

RATES: Final = {
    "integration.insert": INSERTS_PER_SECOND,
    "integration.saveSignals": SAVES_PER_SECOND,
    "admin.selectSignals": 10.0,
    "admin.publishSignals": 5.0,
    "clarify.selectItems": 10.0,
    "clarify.dataFrame": 1.0,
    "clarify.evaluate": 1.0,
}
"""Calls per second, for each method. docs api/1.1/rate-limits"""

RATE_UNSAID: Final = 1.0
"""Calls per second for methods without a documented rate: the lowest documented rate"""

SELECTED_RESOURCES: Final = 1000
"""Most signals or items in one answer. docs api/1.1/methods/clarify/select-items"""

PUBLISHED_SIGNALS: Final = 500
"""Most signals published by one request. Clients: clarify-go"""

DATA_FRAME_ITEMS: Final = 50
"""Most items in one answer of clarify.dataFrame. docs api/1.1/methods/clarify/data-frame"""

EVALUATED_ITEMS: Final = 50
"""Most different items in one clarify.evaluate. docs api/1.1/methods/clarify/evaluate"""

CALCULATIONS: Final = 100
"""Most calculations in one clarify.evaluate. docs api/1.1/methods/clarify/evaluate"""

OFFSET_MAX: Final = 1000
"""Largest lead and lag, in buckets. docs api/1.1/methods/clarify/evaluate"""

ALIAS: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,27}\Z")
"""Alias in clarify.evaluate. docs api/1.1/types/fields"""

QUEUE_SECONDS: Final = 10.0
"""Seconds that a request over the rate waits at the server, before a time-out. docs api/1.1/rate-limits"""

TOTAL_SECONDS: Final = 15.0
"""Seconds until a time-out at the server, waiting included. A client must wait longer. docs api/1.1/rate-limits"""

RESOURCE_ID: Final = re.compile(r"^[a-v0-9]{20}\Z")
"""ID of an integration, a signal or an item. docs api/1.1beta1/methods"""

INPUT_ID: Final = re.compile(r"^[a-zA-Z0-9_:.#+/-]{1,128}\Z")
"""Input ID of a signal, the key of a series. docs api/1.0/methods/integration/save-signals"""

INPUT_ID_LENGTH: Final = 128
"""Longest input ID in characters. docs api/1.0/methods/integration/save-signals"""

LABEL_KEY: Final = re.compile(r"^[A-Za-z0-9_/-]{1,40}\Z")
"""Key of a label. Clients: PyClarify and clarify-go take 128 characters, Clarify's Node-RED node only 40"""

ANNOTATION_KEY: Final = LABEL_KEY
"""Key of an annotation: the same rule as for labels. Clients: as LABEL_KEY"""

NAME_LENGTH: Final = 100
"""Longest signal name in characters. Clients: Node-RED node 100, PyClarify's documentation 128"""

DESCRIPTION_LENGTH: Final = 1000
"""Longest description in characters. Clients: PyClarify, Node-RED node"""

ENG_UNIT_LENGTH: Final = 255
"""Longest engineering unit in characters. Clients: Node-RED node"""

ENUM_VALUE_MAX: Final = 9999
"""Largest enum value; the smallest is 0. Clients: PyClarify, Node-RED node"""

ENUM_TEXT_LENGTH: Final = 128
"""Longest text of an enum value in characters; at least 1. Clients: PyClarify, Node-RED node"""
