"""Tests that every source, format and store of dead letters passes: the built-in kinds, and kinds of other packages.

Your test class inherits from one of these classes. A fixture of your class makes an object of your kind:

    sources.SourceConformance, sources.BreakableSourceConformance, sources.LeavingSourceConformance
    formats.FormatConformance
    dead_letters.StoreConformance, dead_letters.ReadableStoreConformance

The tests need pytest: in a checkout of the connector, run `pip install '.[conformance]'`. docs/extending.md has an
example.

Knows: settings, records, formats, sources, dead_letters, ledger.
"""

import pytest

# With this call, a failing assertion shows the values that it compared, as in a test module.
pytest.register_assert_rewrite(
    "connector.conformance.sources", "connector.conformance.formats", "connector.conformance.dead_letters"
)
