"""Tests that every source, format and store of dead letters passes: the built-in ones, and those of other packages.

A test class of yours inherits from a class of these modules and says, by a fixture, how to make one of yours:

    sources.SourceConformance, sources.BreakableSourceConformance, sources.LeavingSourceConformance
    formats.FormatConformance
    dead_letters.StoreConformance, dead_letters.ReadableStoreConformance

They need pytest: `pip install clarify-connector[conformance]`. docs/extending.md has an example.

Knows: settings, records, formats, sources, dead_letters, ledger.
"""

import pytest

# So that a failing assertion says which values it compared, as in a test module.
pytest.register_assert_rewrite(
    "connector.conformance.sources", "connector.conformance.formats", "connector.conformance.dead_letters"
)
