"""Errors of brokers and of librdkafka: what to do about each code, and what a person can do.

`ROWS` sorts every code that confluent-kafka knows. A code in no row, such as one that a later librdkafka adds, is
treated as a passing error of a client that can be used, and as a reason to join anew if the error is fatal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from confluent_kafka import KafkaError

from connector.settings import READ_AGAIN


class Action(StrEnum):
    """What to do about an error. After a fatal error, the client is replaced, unless the action is `EXIT`."""

    GO_ON = "go on"
    """librdkafka tries again by itself, or another module handles the error."""
    JOIN_ANEW = "join anew"
    """The group may let another consumer in, soon."""
    EXIT = "exit for a restart"
    PERSON = "a person"
    """Nothing works until a person changes something; librdkafka, or another consumer, then notices by itself."""


@dataclass(frozen=True, slots=True)
class Row:
    """Codes with one action and one remedy."""

    action: Action
    codes: tuple[int, ...]
    remedy: str = ""
    """What a person can do; empty if there is nothing to do."""


_E = KafkaError
CONNECTION: Final = (
    *(_E._TRANSPORT, _E._RESOLVE, _E._ALL_BROKERS_DOWN, _E._FAIL, _E._TIMED_OUT, _E._TIMED_OUT_QUEUE, _E._BAD_MSG),
    *(_E._AUTHENTICATION, _E._SSL, _E._UNKNOWN_BROKER, _E._UNKNOWN_PROTOCOL, _E._UNSUPPORTED_FEATURE, _E._NODE_UPDATE),
    *(_E.NETWORK_EXCEPTION, _E.BROKER_NOT_AVAILABLE, _E.SASL_AUTHENTICATION_FAILED, _E.UNSUPPORTED_SASL_MECHANISM),
    *(_E.ILLEGAL_SASL_STATE, _E.LISTENER_NOT_FOUND, _E.REBOOTSTRAP_REQUIRED),
)
"""Codes about the connection to a broker, in contrast to the group, a topic or a commit."""
_LOGIN: Final = f"check the log-in (sasl), and the users of the brokers; {READ_AGAIN}"
_BATCH_REMEDY: Final = "the batch cannot be read: find out what writes it, and with which client"
ROWS: Final = (
    Row(
        Action.GO_ON,  # librdkafka repairs these by itself
        (
            *(_E._TRANSPORT, _E._ALL_BROKERS_DOWN, _E._FAIL, _E._TIMED_OUT, _E._TIMED_OUT_QUEUE, _E._NODE_UPDATE),
            *(_E._UNKNOWN_BROKER, _E._WAIT_COORD, _E._WAIT_CACHE, _E._RETRY, _E._INTR, _E._OUTDATED, _E._NOOP),
            *(_E._IN_PROGRESS, _E._PREV_IN_PROGRESS, _E._PARTIAL, _E._UNDERFLOW, _E._BAD_MSG, _E._QUEUE_FULL),
            *(
                _E._DESTROY,
                _E._DESTROY_BROKER,
                _E._APPLICATION,
                _E._INVALID_ARG,
                _E._ASSIGNMENT_LOST,
                _E._CONFLICT,
                _E._EXISTING_SUBSCRIPTION,
                _E._UNKNOWN_GROUP,
            ),
            *(_E.UNKNOWN, _E.NO_ERROR, _E.LEADER_NOT_AVAILABLE, _E.NOT_LEADER_FOR_PARTITION, _E.REQUEST_TIMED_OUT),
            *(
                _E.BROKER_NOT_AVAILABLE,
                _E.REPLICA_NOT_AVAILABLE,
                _E.NETWORK_EXCEPTION,
                _E.PREFERRED_LEADER_NOT_AVAILABLE,
            ),
            *(_E.COORDINATOR_LOAD_IN_PROGRESS, _E.COORDINATOR_NOT_AVAILABLE, _E.NOT_COORDINATOR, _E.NOT_CONTROLLER),
            *(_E.ILLEGAL_GENERATION, _E.UNKNOWN_MEMBER_ID, _E.REBALANCE_IN_PROGRESS, _E.MEMBER_ID_REQUIRED),
            *(_E.FENCED_MEMBER_EPOCH, _E.STALE_MEMBER_EPOCH, _E.UNSTABLE_OFFSET_COMMIT, _E.THROTTLING_QUOTA_EXCEEDED),
            *(_E.FETCH_SESSION_ID_NOT_FOUND, _E.INVALID_FETCH_SESSION_EPOCH, _E.FENCED_LEADER_EPOCH),
            *(_E.UNKNOWN_LEADER_EPOCH, _E.OFFSET_NOT_AVAILABLE, _E.STALE_BROKER_EPOCH, _E.STALE_CTRL_EPOCH),
            *(_E.UNKNOWN_TOPIC_ID, _E.INCONSISTENT_TOPIC_ID, _E.REBOOTSTRAP_REQUIRED, _E.REASSIGNMENT_IN_PROGRESS),
            _E.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        ),
    ),
    Row(
        Action.GO_ON,  # other modules handle these: positions, rebalances, the end of a partition
        (
            *(_E._AUTO_OFFSET_RESET, _E._LOG_TRUNCATION, _E._NO_OFFSET, _E._PARTITION_EOF, _E.OFFSET_OUT_OF_RANGE),
            *(_E._ASSIGN_PARTITIONS, _E._REVOKE_PARTITIONS, _E._STATE),
        ),
    ),
    Row(
        Action.GO_ON,
        (_E._MAX_POLL_EXCEEDED,),
        "the connector read nothing for max_poll_interval: see whether the machine or the disk was too slow",
    ),
    Row(
        Action.GO_ON,  # these are for producers, administrators, share groups and streams; a member should not get them
        (
            *(_E._MSG_TIMED_OUT, _E._ISR_INSUFF, _E._KEY_SERIALIZATION, _E._VALUE_SERIALIZATION, _E._READ_ONLY),
            *(_E._KEY_DESERIALIZATION, _E._VALUE_DESERIALIZATION, _E._NOENT, _E._INVALID_TYPE, _E._PURGE_QUEUE),
            *(_E._PURGE_INFLIGHT, _E._GAPLESS_GUARANTEE, _E._NOT_CONFIGURED, _E._INVALID_DIFFERENT_RECORD),
            *(_E._NOT_IMPLEMENTED, _E.MSG_SIZE_TOO_LARGE, _E.RECORD_LIST_TOO_LARGE, _E.NOT_ENOUGH_REPLICAS),
            *(_E.NOT_ENOUGH_REPLICAS_AFTER_APPEND, _E.INVALID_REQUIRED_ACKS, _E.INVALID_TIMESTAMP),
            *(_E.TOPIC_ALREADY_EXISTS, _E.INVALID_PARTITIONS, _E.INVALID_REPLICATION_FACTOR),
            *(_E.INVALID_REPLICA_ASSIGNMENT, _E.INVALID_CONFIG, _E.OUT_OF_ORDER_SEQUENCE_NUMBER),
            *(_E.DUPLICATE_SEQUENCE_NUMBER, _E.INVALID_PRODUCER_EPOCH, _E.INVALID_TXN_STATE),
            *(_E.INVALID_PRODUCER_ID_MAPPING, _E.INVALID_TRANSACTION_TIMEOUT, _E.CONCURRENT_TRANSACTIONS),
            *(_E.TRANSACTION_COORDINATOR_FENCED, _E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, _E.UNKNOWN_PRODUCER_ID),
            *(_E.OPERATION_NOT_ATTEMPTED, _E.LOG_DIR_NOT_FOUND, _E.TOPIC_DELETION_DISABLED, _E.ELECTION_NOT_NEEDED),
            *(_E.NO_REASSIGNMENT_IN_PROGRESS, _E.GROUP_SUBSCRIBED_TO_TOPIC, _E.INVALID_RECORD, _E.PRODUCER_FENCED),
            *(_E.NON_EMPTY_GROUP, _E.RESOURCE_NOT_FOUND, _E.DUPLICATE_RESOURCE, _E.UNACCEPTABLE_CREDENTIAL),
            *(_E.INCONSISTENT_VOTER_SET, _E.INVALID_UPDATE_VERSION, _E.FEATURE_UPDATE_FAILED),
            *(_E.DELEGATION_TOKEN_NOT_FOUND, _E.DELEGATION_TOKEN_OWNER_MISMATCH, _E.INVALID_PRINCIPAL_TYPE),
            *(_E.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, _E.DELEGATION_TOKEN_AUTHORIZATION_FAILED),
            *(_E.MISMATCHED_ENDPOINT_TYPE, _E.UNSUPPORTED_ENDPOINT_TYPE, _E.UNKNOWN_CONTROLLER_ID),
            *(_E.UNKNOWN_SUBSCRIPTION_ID, _E.TELEMETRY_TOO_LARGE, _E.INVALID_REGISTRATION, _E.TRANSACTION_ABORTABLE),
            *(_E.INVALID_RECORD_STATE, _E.SHARE_SESSION_NOT_FOUND, _E.INVALID_SHARE_SESSION_EPOCH),
            *(_E.FENCED_STATE_EPOCH, _E.INVALID_VOTER_KEY, _E.DUPLICATE_VOTER, _E.VOTER_NOT_FOUND),
            *(_E.STREAMS_INVALID_TOPOLOGY, _E.STREAMS_INVALID_TOPOLOGY_EPOCH, _E.STREAMS_TOPOLOGY_FENCED),
            _E.SHARE_SESSION_LIMIT_REACHED,
        ),
    ),
    Row(
        Action.JOIN_ANEW,
        (_E.UNRELEASED_INSTANCE_ID,),
        "the group still has a member with our instance_id. A killed member stays in the group until its session ends, "
        "mostly for 45 s; if this lasts longer, is another one running with the same instance_id?",
    ),
    Row(Action.JOIN_ANEW, (_E._FATAL, _E._INCONSISTENT)),
    Row(
        Action.EXIT,
        (_E.FENCED_INSTANCE_ID, _E._FENCED),
        "is another one running with the same instance_id? Give each replica its own",
    ),
    Row(
        Action.EXIT,
        (_E._CRIT_SYS_RESOURCE, _E._FS),
        "see whether memory, threads and open files are enough (ulimit, limits of the container)",
    ),
    Row(
        Action.PERSON,
        (_E._RESOLVE,),
        "the host name is not known: check bootstrap_servers, the advertised.listeners of the brokers, and the DNS",
    ),
    Row(
        Action.PERSON,
        (_E._SSL,),
        "check security, tls and the port: is the port one for TLS, and is the broker's certificate valid?",
    ),
    Row(Action.PERSON, (_E._AUTHENTICATION, _E.SASL_AUTHENTICATION_FAILED, _E.SECURITY_DISABLED), _LOGIN),
    Row(
        Action.PERSON,
        (_E.UNSUPPORTED_SASL_MECHANISM, _E.ILLEGAL_SASL_STATE),
        "check sasl.mechanism and the port: the brokers' listener wants another log-in, or none",
    ),
    Row(
        Action.PERSON,
        (_E.DELEGATION_TOKEN_AUTH_DISABLED, _E.DELEGATION_TOKEN_EXPIRED, _E.PRINCIPAL_DESERIALIZATION_FAILURE),
        _LOGIN,
    ),
    Row(
        Action.PERSON,
        (_E.TOPIC_AUTHORIZATION_FAILED,),
        "give our user the rights DESCRIBE and READ on the topic",
    ),
    Row(
        Action.PERSON,
        (_E.GROUP_AUTHORIZATION_FAILED,),
        "give our user the right READ on the group (group_id)",
    ),
    Row(
        Action.PERSON,
        (_E.CLUSTER_AUTHORIZATION_FAILED, _E.POLICY_VIOLATION),
        "the brokers forbid the request: look into their log for the right that our user lacks",
    ),
    Row(
        Action.PERSON,
        (_E.UNKNOWN_TOPIC_OR_PART, _E._UNKNOWN_TOPIC, _E._UNKNOWN_PARTITION),
        "create the topic, or correct topics; is this the right cluster?",
    ),
    Row(Action.PERSON, (_E.TOPIC_EXCEPTION,), "correct topics: Kafka allows no such name"),
    Row(
        Action.PERSON,
        (_E.INVALID_REGULAR_EXPRESSION,),
        "correct the pattern in topics: the brokers read a pattern as RE2 does",
    ),
    Row(
        Action.PERSON,
        (_E.INCONSISTENT_GROUP_PROTOCOL, _E.GROUP_ID_NOT_FOUND),
        "the group has members of another kind, such as another assignor (eager: range, roundrobin) or group_protocol: "
        "give all members the same, or this connector a group_id of its own",
    ),
    Row(
        Action.PERSON,
        (_E.GROUP_MAX_SIZE_REACHED,),
        "the group is full: run fewer members, or raise group.max.size (group_protocol: consumer: "
        "group.consumer.max.size) of the brokers",
    ),
    Row(
        Action.PERSON,
        (_E.INVALID_SESSION_TIMEOUT,),
        "set session_timeout between group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers",
    ),
    Row(Action.PERSON, (_E.INVALID_GROUP_ID,), "set another group_id"),
    Row(
        Action.PERSON,
        (_E.UNSUPPORTED_VERSION, _E._UNSUPPORTED_FEATURE, _E._UNKNOWN_PROTOCOL, _E.INVALID_REQUEST),
        "the brokers do not know the request: group_protocol: consumer needs brokers from 4.0 on; set group_protocol: "
        "classic, or renew the brokers",
    ),
    Row(
        Action.PERSON,
        (_E.UNSUPPORTED_ASSIGNOR,),
        "the brokers do not have this assignor: correct group.remote.assignor in librdkafka",
    ),
    Row(
        Action.PERSON,
        (_E.OFFSET_METADATA_TOO_LARGE, _E.INVALID_COMMIT_OFFSET_SIZE),
        "positions cannot be committed: look into the log of the group's coordinator",
    ),
    Row(
        Action.PERSON,
        (_E.KAFKA_STORAGE_ERROR, _E.LISTENER_NOT_FOUND),
        "a broker is ill: look at its disks, its listeners and its log",
    ),
    Row(
        Action.PERSON,
        (_E.UNSUPPORTED_COMPRESSION_TYPE, _E.UNSUPPORTED_FOR_MESSAGE_FORMAT, _E._BAD_COMPRESSION),
        _BATCH_REMEDY,
    ),
    Row(Action.PERSON, (_E.INVALID_MSG, _E.INVALID_MSG_SIZE), _BATCH_REMEDY),
)
BATCH: Final = frozenset(code for row in ROWS if row.remedy == _BATCH_REMEDY for code in row.codes)
"""Codes about a batch of one partition; other partitions of the topic are well."""
_BY_CODE: Final = {code: row for row in ROWS for code in row.codes}
_UNKNOWN: Final = Row(Action.GO_ON, ())
_UNKNOWN_FATAL: Final = Row(Action.JOIN_ANEW, ())
_TEXTS: Final = {
    KafkaError(code).str(): code
    for row in ROWS
    for code in row.codes
    if code not in (KafkaError.NO_ERROR, KafkaError._FATAL)
}
_CAUSE_OF_FATAL: Final = re.compile(r"Fatal error: (.*)", re.DOTALL)
_WORDS: Final = (
    (
        re.compile(r"connecting to a PLAINTEXT broker listener|closed by peer \(after .* in state SSL_HANDSHAKE"),
        "the port speaks no TLS: set security: plaintext, or name the port for TLS",
    ),
    (
        re.compile(r"alert (?:bad certificate|certificate required|certificate unknown|handshake failure)"),
        "the broker wants a certificate of ours that it trusts: set tls.cert_file and tls.key_file",
    ),
    (
        re.compile(r"alert certificate expired"),
        "our certificate has expired: renew tls.cert_file, and check the clock of this machine; the file is read again",
    ),
    (
        re.compile(r"alert (?:unknown ca|certificate revoked|unsupported certificate|access denied)"),
        "the broker does not trust our certificate: let an authority that the broker knows sign tls.cert_file",
    ),
    (
        re.compile(r"supported mechanisms: *\("),
        "the port wants no log-in: remove sasl, or name the port with SASL",
    ),
    (
        re.compile(r"Invalid response size 1213486160"),  # the bytes HTTP
        "the port speaks HTTP, not Kafka: correct the port",
    ),
)
"""Words of librdkafka that say more than the code, each with the remedy."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """An error, and what to do about it."""

    action: Action
    fatal: bool
    """Whether the client that reported the error cannot be used any more."""
    code: int
    """The code; of a fatal error, the code of its cause, as far as it is known."""
    text: str
    """The error and the remedy, for people."""
    remedy: str


def is_fatal(error: KafkaError) -> bool:
    """Whether the client that reports this error cannot be used any more.

    If the error comes in place of a record, only its code says so: its `fatal()` is False (confluent-kafka 2.16).
    """
    return error.fatal() or error.code() == KafkaError._FATAL


def judge(error: KafkaError) -> Judgement:
    """Sort an error by what to do. An error that is in no row is passing, or (if it is fatal) a reason to join anew."""
    fatal, code, text = is_fatal(error), error.code(), error.str()
    if fatal:
        code, text = _cause(text, code)
    row = _BY_CODE.get(code, _UNKNOWN_FATAL if fatal else _UNKNOWN)
    action = Action.JOIN_ANEW if fatal and row.action is Action.GO_ON else row.action
    remedy = next((words for pattern, words in _WORDS if pattern.search(text)), row.remedy)
    return Judgement(action, fatal, code, f"{text}; {remedy}" if remedy else text, remedy)


def _cause(text: str, code: int) -> tuple[int, str]:
    """(code, text) of the error behind a fatal one, which only its text names."""
    found = _CAUSE_OF_FATAL.search(text)
    cause = found[1] if found else text
    names = [name for name in _TEXTS if cause == name or cause.startswith(f"{name}:")]
    if not names:
        return code, text
    name = max(names, key=len)
    detail = cause[len(name) + 2 :]
    return _TEXTS[name], detail if name in detail else cause
