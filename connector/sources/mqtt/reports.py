"""What the source says about its broker and its session: lines in the log, and texts for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from connector.sources.mqtt.handshake import Handshake
from connector.sources.mqtt.section import MqttSection

_REMEDY: Final = (
    "check that the address belongs to an MQTT broker, and read the broker's log; if another program used the "
    "client_id with other subscriptions, set another client_id, or delete the session at the broker; else update the "
    "broker"
)

_log = structlog.get_logger(__name__)


def say_breach(source: str, reason: str) -> None:
    """Log that the broker broke a rule for the first time."""
    _log.error(
        "mqtt_protocol_error",
        source=source,
        reason=reason,
        effect="we end the connection, and connect again after a pause; the broker keeps our session",
        remedy=_REMEDY,
    )


def say_greeting(settings: MqttSection, client_id: str, handshake: Handshake, *, lost: bool, left: str) -> None:
    """Log what a new connection shows about our session, and about the limits of the broker.

    `lost` says that the broker has forgotten a session with subscriptions; `left` is the session that was used before
    this one, as text, if the client ID or the server has changed.
    """
    if left:
        _log.warning(
            "mqtt_session_changed",
            source=settings.name,
            client_id=client_id,
            reason=f"client_id or url has changed: the session before was {left}",
            effect="messages that the broker queues for the session before are not read",
            remedy="to read these messages, use the client_id and url of before; before a change, drain --end-session",
        )
    if lost:
        _log.warning(
            "mqtt_session_lost",
            source=settings.name,
            client_id=client_id,
            effect="the broker has forgotten our session: the messages queued since our last connection are lost",
            remedy="enable persistence at the broker, and set a session_expiry longer than our absence",
        )
    if handshake.session_expiry < settings.session_expiry:
        _log.warning(
            "mqtt_session_expiry_reduced",
            source=settings.name,
            asked_seconds=settings.session_expiry,
            granted_seconds=handshake.session_expiry,
            effect="if we are away for longer, messages are lost at the broker",
            remedy="raise the longest session expiry at the broker, or be away for less",
        )
    if not handshake.announced.retained and settings.takes_retained and "retained" in settings.model_fields_set:
        _log.warning(
            "mqtt_without_retained",
            source=settings.name,
            effect="the broker keeps no retained messages: the last values of before our subscription do not come",
            remedy="enable retained messages at the broker, or set retained: never",
        )
    say_not_ended(settings.name, handshake)


def say_not_ended(source: str, handshake: Handshake) -> None:
    """Log the subscriptions that the broker does not end, if there are any."""
    if handshake.not_ended:
        _log.error(
            "mqtt_unsubscribe_refused",
            source=source,
            reason=with_reasons(handshake.not_ended),
            effect="the broker goes on giving messages of these subscriptions to our session",
            remedy="delete the session at the broker if the reasons do not help",
        )


def doubts(protocol: str, leave: Iterable[str], handshake: Handshake) -> list[str]:
    """What the answers to UNSUBSCRIBE of the filters in `leave` leave in doubt, for people."""
    found = []
    if unknown := sorted(handshake.unknown):
        found.append(
            f"the broker did not know our subscriptions {', '.join(map(repr, unknown))}, which it had granted: the "
            "broker's log may say why"
        )
    if shared := sorted(topic for topic in leave if topic.startswith("$share/")):
        names = ", ".join(map(repr, shared))
        found.append(f"no broker says whether another member reads {names}: without one, new messages are dropped")
        if protocol == "3.1.1":
            found.append(
                f"with MQTT 3.1.1, the broker does not say whether it has shared subscriptions, and ended {names}"
            )
    return found


def with_reasons(filters: Mapping[str, str]) -> str:
    """The filters, each with its reason, for people."""
    return ", ".join(f"{topic!r} ({why})" for topic, why in sorted(filters.items()))
