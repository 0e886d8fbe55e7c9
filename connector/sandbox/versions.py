"""The API versions that a client may select with X-API-Version."""

from __future__ import annotations

from dataclasses import dataclass

# Oldest first. Source: docs.clarify.io/api/1.1beta2/protocol/versioning; 1.2 from PyClarify 0.7.
SELECTORS = ("1.0", "1.1beta1", "1.1beta2", "1.1", "1.2alpha1", "1.2beta1", "1.2")
LATEST_STABLE = "1.1"


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """One API version; `selector` is one of SELECTORS."""

    selector: str

    @classmethod
    def select(cls, header: str | None) -> ApiVersion | None:
        """The version in the header; without a header, the latest stable version; None for an unknown version."""
        selector = LATEST_STABLE if header is None else header.strip()
        return cls(selector) if selector in SELECTORS else None

    def at_least(self, selector: str) -> bool:
        """Whether this version is `selector` or newer."""
        return SELECTORS.index(self.selector) >= SELECTORS.index(selector)
