"""What a `${file:…}` names is read again when it is used; the last readable value stays; and nothing shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connector.config.read import load_config
from connector.settings import CredentialsInUse, Secret, fresh
from connector.sources.mqtt.section import MqttSection
from tests.secrets_used import MQTT_PASSWORD, SETTING


@pytest.fixture
def section(tmp_path: Path) -> MqttSection:
    (tmp_path / "password").write_text(f"{MQTT_PASSWORD}\n")
    (tmp_path / "user").write_text("one")
    (tmp_path / "ca.pem").write_text("authority")
    config = tmp_path / "connector.yaml"
    config.write_text(
        "clarify: {credentials: c.json}\nsources: [{type: mqtt, url: 'mqtts://b', topics: [t], "
        "username: '${file:user}', password: '$$${file:password}', tls: {ca_file: ca.pem, key_password: fixed, "
        "cert_file: missing.pem}}]\n"
    )
    (found,) = load_config(config).sources
    assert isinstance(found, MqttSection)
    return found


def secret(section: MqttSection) -> str:
    assert isinstance(section.password, Secret)
    return section.password.get_secret_value()


def test_a_changed_file_is_read_again(section: MqttSection, tmp_path: Path) -> None:
    assert (secret(section), fresh(str(section.username))) == (f"${MQTT_PASSWORD}", "one")
    (tmp_path / "password").write_text(SETTING)
    (tmp_path / "user").write_text("two")
    assert section.username is not None
    assert (secret(section), fresh(section.username)) == (f"${SETTING}", "two")
    for shown in (repr(section), str(section), section.model_dump_json(), str(section.password)):
        assert SETTING not in shown
        assert MQTT_PASSWORD not in shown


@pytest.mark.parametrize("damage", ["missing", "empty", "not text"])
def test_the_last_readable_value_stays_which_is_said_once(section: MqttSection, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "password"
    assert secret(section)
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(b"\xff" if damage == "not text" else b"")
    with capture_logs() as log:
        assert [secret(section) for _ in range(3)] == [f"${MQTT_PASSWORD}"] * 3
        file.write_text(SETTING)
        assert secret(section) == f"${SETTING}"
    assert [(line["event"], line["setting"]) for line in log] == [("credentials_not_reloaded", "sources[0].password")]
    assert str(file) in log[0]["reason"]


def test_what_has_changed_is_named_once(section: MqttSection, tmp_path: Path) -> None:
    credentials = CredentialsInUse(section, source="mqtt")
    with capture_logs() as log:
        assert credentials.renewed() == frozenset()
        (tmp_path / "password").write_text(SETTING)
        (tmp_path / "connector.yaml").replace(tmp_path / "ca.pem")  # as renewed by a rename
        assert credentials.renewed() == {"password", "tls.ca_file"}
        assert credentials.renewed() == frozenset()
        (tmp_path / "ca.pem").unlink()
        assert credentials.renewed() == frozenset(), "it may be in the middle of a change"
        (tmp_path / "missing.pem").write_text("it is there now")
        assert credentials.renewed() == {"tls.cert_file"}
    assert [line["settings"] for line in log] == [["password", "tls.ca_file"], ["tls.cert_file"]]
    assert {(line["event"], line["source"]) for line in log} == {("credentials_reloaded", "mqtt")}
    assert SETTING not in str(log)
