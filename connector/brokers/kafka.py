"""Settings of librdkafka for address, encryption and log-in, which a source and a store of dead letters share.

librdkafka's CONFIGURATION.md explains each setting.
"""

from __future__ import annotations

from typing import Any, Final

from connector.brokers.kafka_section import KafkaConnectionSection
from connector.settings import fresh

_CONNECTION: Final = ("broker.", "client.", "connections.", "debug", "https.", "retry.", "sasl.", "socket.", "ssl.")
"""The beginnings of the names of settings for the connection, in contrast to settings for reading or writing."""


def admin_settings(section: KafkaConnectionSection) -> dict[str, Any]:
    """The settings of a client that neither reads nor writes. Settings for reading or writing are added to them."""
    settings = {
        "bootstrap.servers": ",".join(section.bootstrap_servers),
        "client.id": section.client_id,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 5000,
        "socket.connection.setup.timeout.ms": 10_000,  # an address that swallows packets is said within seconds
        "allow.auto.create.topics": False,
        "log_level": 6,
        **_security(section),
    }
    return settings | {name: value for name, value in section.librdkafka.items() if name.startswith(_CONNECTION)}


def _security(section: KafkaConnectionSection) -> dict[str, Any]:
    tls, sasl = section.tls, section.sasl
    encrypted = section.security == "tls"
    settings: dict[str, Any] = {
        "security.protocol": ("SASL_" if sasl else "") + ("SSL" if encrypted else "PLAINTEXT"),
    }
    if encrypted:
        files = {
            "ssl.ca.location": tls.ca_file,
            "ssl.certificate.location": tls.cert_file,
            "ssl.key.location": tls.key_file or tls.cert_file,
        }
        settings |= {name: str(file) for name, file in files.items() if file}
        if tls.key_password:
            settings["ssl.key.password"] = tls.key_password.get_secret_value()
        settings["enable.ssl.certificate.verification"] = tls.verify
        settings["ssl.endpoint.identification.algorithm"] = "https" if tls.verify else "none"
    if sasl is None:
        return settings
    settings["sasl.mechanism"] = sasl.mechanism
    if sasl.mechanism == "OAUTHBEARER":
        settings["sasl.oauthbearer.method"] = "oidc"
        settings["sasl.oauthbearer.client.id"] = sasl.client_id and fresh(sasl.client_id)
        settings["sasl.oauthbearer.token.endpoint.url"] = sasl.token_url
        if sasl.scope:
            settings["sasl.oauthbearer.scope"] = sasl.scope
        if sasl.extensions:
            settings["sasl.oauthbearer.extensions"] = ",".join(f"{key}={val}" for key, val in sasl.extensions.items())
        if sasl.client_secret:
            settings["sasl.oauthbearer.client.secret"] = sasl.client_secret.get_secret_value()
    else:
        settings["sasl.username"] = sasl.username and fresh(sasl.username)
        if sasl.password:
            settings["sasl.password"] = sasl.password.get_secret_value()
    return settings
