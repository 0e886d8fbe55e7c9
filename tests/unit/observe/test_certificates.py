"""The time until the certificates of a configuration expire."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from connector.config.read import load_config
from connector.observe.certificates import remaining

END = datetime(2030, 1, 2, tzinfo=UTC)
NOW = END.timestamp() - 10 * 86_400
CONFIG = """
clarify: {credentials: c.json, ca_file: several.pem, integrations: {b: {credentials: d.json, ca_file: missing.pem}}}
sources:
  - {type: mqtt, name: plant, url: "mqtts://b", topics: [t], tls: {cert_file: own.pem, key_file: own.key}}
  - {type: kafka, name: lake, bootstrap_servers: "b:9093", topics: [t], group_id: g, tls: {ca_file: ca.pem}}
observe: {tls: {cert_file: own.pem, key_file: own.key}}
"""


def test_each_setting_has_its_seconds_and_a_renewed_file_counts(tmp_path: Path) -> None:
    authority = trustme.CA()

    def renew(end: datetime) -> None:
        issued = authority.issue_cert("localhost", not_after=end)
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / "own.pem"))

    (tmp_path / "connector.yaml").write_text(CONFIG)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "several.pem").write_bytes(authority.cert_pem.bytes() + trustme.CA().cert_pem.bytes())
    (tmp_path / "own.key").write_text("not a certificate")
    config = load_config(tmp_path / "connector.yaml")
    renew(END)
    found = dict(remaining(config, NOW))
    assert found.keys() == {"sources.plant.tls.cert_file", "sources.lake.tls.ca_file", "observe.tls.cert_file"}
    assert found["sources.plant.tls.cert_file"] == found["observe.tls.cert_file"] == pytest.approx(10 * 86_400, abs=2)
    renew(datetime.fromtimestamp(NOW - 3600, UTC))
    assert dict(remaining(config, NOW))["observe.tls.cert_file"] == pytest.approx(-3600, abs=2)
    (tmp_path / "own.pem").unlink()
    assert dict(remaining(config, NOW)).keys() == {"sources.lake.tls.ca_file"}
