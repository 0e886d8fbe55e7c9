"""The settings of librdkafka: which ones may be passed through, and why the others may not."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Setting = str | int | float | bool

_OWN: Final = {
    # librdkafka's setting: our setting
    "auto.offset.reset": "auto_offset_reset",
    "bootstrap.servers": "bootstrap_servers",
    "client.id": "client_id",
    "enable.ssl.certificate.verification": "tls.verify",
    "group.id": "group_id",
    "group.instance.id": "instance_id",
    "group.protocol": "group_protocol",
    "max.poll.interval.ms": "max_poll_interval",
    "metadata.broker.list": "bootstrap_servers",
    "partition.assignment.strategy": "assignor",
    "queued.max.messages.kbytes": "prefetch",
    "sasl.mechanism": "sasl.mechanism",
    "sasl.mechanisms": "sasl.mechanism",
    "sasl.oauthbearer.client.id": "sasl.client_id",
    "sasl.oauthbearer.client.secret": "sasl.client_secret",
    "sasl.oauthbearer.extensions": "sasl.extensions",
    "sasl.oauthbearer.scope": "sasl.scope",
    "sasl.oauthbearer.token.endpoint.url": "sasl.token_url",
    "sasl.password": "sasl.password",
    "sasl.username": "sasl.username",
    "security.protocol": "security, tls and sasl",
    "session.timeout.ms": "session_timeout",
    "ssl.ca.location": "tls.ca_file",
    "ssl.certificate.location": "tls.cert_file",
    "ssl.endpoint.identification.algorithm": "tls.verify",
    "ssl.key.location": "tls.key_file",
    "ssl.key.password": "tls.key_password",
}
_REFUSED: Final = {
    # librdkafka's setting: why it cannot be passed through
    "allow.auto.create.topics": "a topic whose name is mistyped must be an error, not a new topic",
    "auto.commit.enable": "positions are committed in the background; without, all is delivered again",
    "builtin.features": "the setting lists the features of librdkafka, and cannot be set",
    "consume.callback.max.messages": "the source does not read by callbacks",
    "default.topic.config": "the setting is a group of settings; write each of them here",
    "enable.auto.commit": "stored positions are committed in the background; without, all is delivered again",
    "enable.auto.offset.store": "positions are stored when their data is settled; otherwise a crash loses data",
    "enable.partition.eof": "the source needs the ends of partitions",
    "enable.sasl.oauthbearer.unsecure.jwt": "an unsigned token proves nothing",
    "group.protocol.type": "the group is one of consumers",
    "heartbeat.interval.ms": "the interval follows session_timeout",
    "log.queue": "librdkafka's log lines go into the connector's log",
    "logger": "the value is an object",
    "offset.store.method": "positions are kept by the group",
    "offset.store.path": "positions are kept by the group",
    "on_commit": "the value is a function",
    "on_delivery": "the value is a function",
    "opaque": "the value is an object",
    "plugin.library.paths": "foreign code is not loaded into the connector",
    "statistics.interval.ms": "the metrics come from these statistics",
    "test.mock.broker.rtt": "the setting is for tests of librdkafka",
    "test.mock.num.brokers": "the setting is for tests of librdkafka",
}
_ALLOWED_SECURITY: Final = (
    "sasl.oauthbearer.sub.claim.name",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.sigalgs.list",
)
"""The settings with ssl. or sasl. that may be passed through: none holds a secret or weakens the checks."""
_ONE_VALUE: Final = {
    "isolation.level": ("read_committed", "read_uncommitted would deliver records that a producer has taken back"),
    "check.crcs": ("true", "without the check, damaged records would be taken for data"),
}
_COMMIT_MS: Final = (100, 10_000)


def checked_settings(value: object) -> object:
    """`value` itself, for a validator of the settings. Raises ValidationError for settings that are refused."""
    if not isinstance(value, dict):
        return value
    errors = [
        # The value in the file is never repeated: a setting with a mistyped name may hold a secret.
        InitErrorDetails(
            type=PydanticCustomError("value_error", "{problem}", {"problem": problem}), loc=(str(name),), input="…"
        )
        for name, setting in value.items()
        if (problem := _problem(str(name), setting))
    ]
    if errors:
        raise ValidationError.from_exception_data("librdkafka", errors)
    return value


def _problem(name: str, value: Any) -> str | None:
    if not isinstance(value, Setting):
        return "must be a text, a number, true or false"
    if name in _OWN:
        return f"has a setting of its own: use {_OWN[name]}"
    reason = _REFUSED.get(name)
    if name.endswith("_cb"):
        reason = "the value is a function"
    elif name.startswith("test."):
        reason = "the setting is for tests of librdkafka"
    elif name.startswith(("ssl.", "sasl.")) and name not in _ALLOWED_SECURITY:
        reason = f"use security, tls and sasl; of librdkafka's own there are {', '.join(_ALLOWED_SECURITY)}"
    elif name in _ONE_VALUE and str(value).lower() != _ONE_VALUE[name][0]:
        reason = f"the value is always {_ONE_VALUE[name][0]}; {_ONE_VALUE[name][1]}"
    elif name == "auto.commit.interval.ms" and not _is_between(value, *_COMMIT_MS):
        return f"must be from {_COMMIT_MS[0]} to {_COMMIT_MS[1]}: the longer, the more is delivered twice after a crash"
    return f"cannot be passed through: {reason}" if reason else None


def _is_between(value: Setting, low: int, high: int) -> bool:
    try:
        return low <= int(value) <= high
    except (ValueError, OverflowError):
        return False
