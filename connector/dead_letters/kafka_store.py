"""Dead letters in a Kafka topic: the value of a record is the original payload, its headers say where it came from.

A letter counts as kept when all in-sync replicas have it (`acks=all`, idempotent). The key of the record is the key of
the letter, so that a letter written again after a crash replaces its first copy. A record with this key and no value
marks a letter that was replayed or dropped. So the topic may be compacted, or may expire.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from connector.brokers.kafka import admin_settings
from connector.brokers.kafka_errors import is_fatal
from connector.brokers.kafka_headers import NO_NAME, read_headers
from connector.dead_letters.as_json import NoLetterError, from_json, to_json
from connector.dead_letters.broker_sections import KafkaLettersSection
from connector.dead_letters.letter import DeadLetter, time_text
from connector.dead_letters.store import DeadLettersError, Gone, Told, Usage
from connector.dead_letters.trimming import shrunk
from connector.settings import CredentialsInUse, SettingsError
from connector.threads.watched import STILL_SECONDS, WatchedThread, moves

LETTER: Final = "clarify-letter"
"""The header that holds the letter as JSON, without the payload."""
_ENVELOPE: Final = 512 * 1024
"""The bytes of a record that are reserved for its headers."""
_QUERY_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 5.0
_MARGIN_SECONDS: Final = 5.0
_BATCH: Final = 500
_TOO_LARGE: Final = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)
_REFUSED: Final = (KafkaException, TypeError, ValueError)
"""What confluent-kafka raises for settings and files that librdkafka cannot use."""
_NO_TOPIC: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)

_log = structlog.get_logger(__name__)


class KafkaLetters:
    """A `ReadableStore` in a Kafka topic."""

    def __init__(self, section: KafkaLettersSection) -> None:
        """Raises SettingsError if librdkafka refuses the settings."""
        self._section = section
        self._credentials = CredentialsInUse(section, dead_letters=section.type)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._trouble: str | None = "not connected yet"
        self._fatal: str | None = None
        """The fatal error after which the producer cannot be used any more; None without such an error."""
        self._logger = _quiet_logger()
        try:
            self._producer: Producer | None = self._make_producer()
            """None after an error that it cannot go on after, and when the store is closed."""
        except _REFUSED as error:
            raise SettingsError(f"dead_letters: {self._refusal(error)}") from None
        self._looking = WatchedThread("dead-letters-kafka", "", self._look)

    @property
    def address(self) -> str:
        """The topic and the addresses of the cluster."""
        return f"Kafka topic {self._section.topic} at {','.join(self._section.bootstrap_servers)}"

    def start(self) -> None:
        """Check in the background that the topic exists."""
        self._looking.start()

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Produce the letters and wait until all in-sync replicas have them. Raises `DeadLettersError`."""
        with self._lock:
            moves(STILL_SECONDS + 2 * self._section.timeout)
            self._renew()
            for letter, error in self._deliver(letters):
                self._deliver_alone(letter, error)
            self._trouble = None

    def usage(self) -> Usage:
        """Unknown numbers: only the brokers know how full the topic is."""
        return Usage()

    def threads(self) -> list[WatchedThread]:
        """The thread that looks for the topic (see `connector.threads.watched.Threaded`)."""
        return [self._looking]

    def problems(self) -> list[str]:
        """The problem of the last check or the last letter, such as a missing topic or no brokers."""
        return [f"{self.address}: {self._trouble}"] if self._trouble else []

    def close(self) -> None:
        """Release the connection. Letters that are not acknowledged yet are dropped: their `add` raised an error."""
        self._closing.set()
        with self._lock:
            if self._producer is not None:
                self._producer.purge()
                self._served(self._producer.flush, 1.0)
                self._producer = None

    # -- reading ----------------------------------------------------------------------------------

    def read(self, told: Told = lambda _done, _total: None) -> Iterator[DeadLetter | Gone]:
        """All letters, from the beginning of the topic to its present end; `told` gets numbers of records.

        Raises `DeadLettersError`. Records that are not dead letters are left out, and their number is logged.
        """
        settings = admin_settings(self._section) | {
            "group.id": f"clarify-dead-letters-{secrets.token_hex(4)}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
        try:
            consumer = Consumer(settings, logger=self._logger)
        except _REFUSED as error:
            raise DeadLettersError(f"{self.address} cannot be read: {self._refusal(error)}") from None
        try:
            yield from self._read(consumer, told)
        except KafkaException as error:
            raise DeadLettersError(f"{self.address} cannot be read: {self._explained(error.args[0])}") from None
        finally:
            consumer.close()

    def forget(self, keys: Collection[str]) -> None:
        """Write the mark for each removed letter, and wait for all in-sync replicas. Raises `DeadLettersError`."""
        with self._lock:
            self._renew()
            errors: list[KafkaError] = []
            for key in keys:
                self._produce(errors, key=key.encode(), value=None)
            self._wait()
            if errors:
                raise DeadLettersError(f"{self.address}: {self._explained(errors[0])}")

    # -- details ----------------------------------------------------------------------------------

    def _make_producer(self) -> Producer:
        section = self._section
        settings: dict[str, Any] = {
            **admin_settings(section),
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": round(section.timeout * 1000),
            "message.max.bytes": max(1_000_000, section.max_payload + _ENVELOPE),
            "linger.ms": 5,
            **section.librdkafka,
        }
        return Producer(settings, logger=self._logger)

    def _renew(self) -> None:
        """Make another producer if there is none, or if a password or a certificate has changed.

        Nothing is under way: for the lock. Raises `DeadLettersError` if there is none, and none can be made.
        """
        if self._closing.is_set() or not (self._credentials.renewed() or self._producer is None):
            return
        try:
            self._producer = self._make_producer()
        except _REFUSED as error:
            reason = self._refusal(error)
            if self._producer is None:
                self._trouble = f"{reason}; mend the files that dead_letters.tls names: they are read again"
                raise DeadLettersError(f"{self.address}: {self._trouble}") from None
            _log.error(  # the present one goes on until the files fit together
                "credentials_not_reloaded", store=self.address, reason=reason, effect="the earlier ones are used"
            )

    def _refusal(self, error: Exception) -> str:
        """Why librdkafka makes no client, without secrets."""
        detail = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        for value in self._section.librdkafka.values():  # a setting with a mistyped name may hold a secret
            if isinstance(value, str) and value:
                detail = detail.replace(f'"{value}"', '"…"')
        return f"librdkafka refuses the settings: {detail}"

    def _deliver(self, letters: Sequence[DeadLetter]) -> list[tuple[DeadLetter, KafkaError]]:
        """Produce the letters; returns the letters that were not acknowledged, each with its error."""
        errors: list[list[KafkaError]] = [[] for _ in letters]
        for letter, found in zip(letters, errors, strict=True):
            self._produce_letter(letter, found)
        self._wait()
        return [(letter, found[0]) for letter, found in zip(letters, errors, strict=True) if found]

    def _deliver_alone(self, letter: DeadLetter, error: KafkaError) -> None:
        """Produce again a letter that failed with `error`, if it was too large. Raises `DeadLettersError`.

        A batch may be too large although each of its letters is not, so the letter is produced alone. A letter that is
        too large alone must not block other letters forever, so it is cut until it fits.
        """
        left: DeadLetter | None = letter
        while left is not None and error.code() in _TOO_LARGE:
            failed = self._deliver([left])
            if not failed:
                return
            error = failed[0][1]
            left = shrunk(left)
        self._trouble = self._explained(error)
        raise DeadLettersError(f"{self.address}: {self._trouble}")

    def _produce_letter(self, letter: DeadLetter, errors: list[KafkaError]) -> None:
        record = letter.record
        first = letter.rejects[0]
        headers: list[tuple[str, str | bytes | None]] = list(record.headers) if record else []
        headers += [
            ("clarify-source", letter.source),
            ("clarify-topic", letter.topic),
            ("clarify-partition", letter.partition),
            ("clarify-position", str(letter.position)),
            ("clarify-time", time_text(letter.time_us)),
            ("clarify-reason", str(first.reason)),
            ("clarify-message", first.message),
            ("clarify-configuration", letter.configuration),
            ("clarify-connector", letter.version),
            (LETTER, to_json(letter, with_payload=False)),
        ]
        self._produce(errors, key=letter.key.encode(), value=(record and record.payload) or b"", headers=headers)

    def _produce(self, errors: list[KafkaError], **message: Any) -> None:
        producer = self._producer
        if producer is None:
            raise DeadLettersError(f"{self.address} is closed")

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                errors.append(error)
                self._note_fatal(error)

        until = time.monotonic() + self._section.timeout + _MARGIN_SECONDS
        while True:
            try:
                producer.produce(self._section.topic, on_delivery=delivered, **message)
            except BufferError:  # librdkafka's queue is full: wait until it has room
                self._served(producer.poll, 0.1)
                if time.monotonic() > until:
                    raise DeadLettersError(f"{self.address}: the brokers take no letters any more") from None
            except KafkaException as error:
                errors.append(error.args[0])
                self._note_fatal(error.args[0])
                return
            else:
                return

    def _wait(self) -> None:
        """Wait until every message is delivered or has failed; librdkafka fails a message after the time-out.

        Raises `DeadLettersError` if messages are left, or after a fatal error. Then `_renew` makes another producer.
        """
        producer = self._producer
        assert producer is not None  # noqa: S101 - something was just produced
        left = self._served(producer.flush, self._section.timeout + _MARGIN_SECONDS)
        fatal = self._fatal
        if left or fatal:  # an idempotent producer may be unusable now
            producer.purge()
            self._served(producer.flush, 1.0)
            self._producer = self._fatal = None
        if fatal:  # nobody knows which messages arrived before the error
            raise DeadLettersError(f"{self.address}: {fatal}")
        if left:
            raise DeadLettersError(f"{self.address}: no acknowledgement within {self._section.timeout:g} s")

    def _served(self, serve: Callable[[float], int], seconds: float) -> int:
        """The result of `serve(seconds)`; 0 after a fatal error, which is noted in `_fatal`.

        confluent-kafka 2.16 raises a fatal error inside `serve`, even if an error callback is set. If delivery reports
        follow the error directly, the error is the cause of a SystemError, or the SystemError has no cause.
        """
        try:
            return serve(seconds)
        except (KafkaException, SystemError) as error:
            found: BaseException | None = error
            while isinstance(found, SystemError):
                found = found.__cause__
            if isinstance(found, KafkaException):
                self._fatal = found.args[0].str()
            elif self._fatal is None:  # the error callback has not noted any
                raise
            return 0

    def _note_fatal(self, error: KafkaError) -> None:
        if is_fatal(error):
            more = "; the log has the cause" if error.code() == KafkaError._FATAL else ""  # which a client may lose
            self._fatal = self._fatal or f"{error.str()}{more}"

    def _read(self, consumer: Consumer, told: Told) -> Iterator[DeadLetter | Gone]:
        topic = self._section.topic
        found = consumer.list_topics(topic, timeout=_QUERY_SECONDS).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        ends: dict[int, int] = {}
        total = done = strangers = 0
        for number in found.partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_QUERY_SECONDS)
            if low < high:
                ends[number] = high
                total += high - low
        consumer.assign([TopicPartition(topic, number, 0) for number in ends])
        until = time.monotonic() + self._section.timeout + _MARGIN_SECONDS
        while ends:
            messages = consumer.consume(_BATCH, 1.0)
            if messages:
                until = time.monotonic() + self._section.timeout + _MARGIN_SECONDS
            elif time.monotonic() > until:
                raise DeadLettersError(
                    f"{self.address}: the brokers send no more records, {total - done} records before the end"
                )
            for message in messages:
                number, offset = message.partition() or 0, message.offset() or 0
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is not None or offset + 1 >= ends.get(number, 0):
                    ends.pop(number, None)
                if error is not None:
                    continue
                done += 1
                try:
                    yield _from_message(message)
                except NoLetterError:
                    strangers += 1
                told(done, max(total, done))
        if strangers:
            _log.warning("no_dead_letters", topic=topic, records=strangers, effect="they are left alone")

    def _look(self) -> None:
        """Ask for the topic every few seconds, until it is found, a letter is written or the store is closed."""
        while not self._closing.is_set() and self._trouble is not None:
            moves()
            trouble = self._found_trouble()
            if trouble is not None and trouble != self._trouble:
                _log.error("dead_letters_unreachable", store=self.address, reason=trouble, effect="trying again")
            self._trouble = trouble
            self._closing.wait(_RETRY_SECONDS)

    def _found_trouble(self) -> str | None:
        """Why letters cannot be written, as the brokers say now; None if they can."""
        if self._lock.acquire(timeout=1.0):
            try:
                self._renew()
            except DeadLettersError:
                return self._trouble
            finally:
                self._lock.release()
        producer = self._producer
        if producer is None:
            return self._trouble
        try:
            found = producer.list_topics(self._section.topic, timeout=_QUERY_SECONDS)
            error = found.topics[self._section.topic].error
        except KafkaException as failure:
            error = failure.args[0]
        return None if error is None else self._explained(error)

    def _explained(self, error: KafkaError) -> str:
        if error.code() in _NO_TOPIC:
            return f"the topic {self._section.topic!r} does not exist; create it"
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return "access is denied; the user needs Write (and for the commands Read) on the topic"
        if error.code() == KafkaError._MSG_TIMED_OUT:
            return f"no acknowledgement within {self._section.timeout:g} s; are the brokers running?"
        return error.str()


def _from_message(message: Message) -> DeadLetter | Gone:
    key, value = message.key(), message.value()
    if value is None:
        if key is None:
            raise NoLetterError("the record has neither key nor value")
        return Gone(key.decode("utf-8", "replace"))
    try:
        headers = read_headers(message) or []
    except SystemError:
        raise NoLetterError(NO_NAME) from None
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    for name, text in reversed(pairs):  # the last one is ours: the original record may have a header of this name
        if name == LETTER and isinstance(text, bytes):
            return from_json(text, value)
    raise NoLetterError(f"the record has no header {LETTER}")


def _quiet_logger() -> logging.Logger:
    """A logger that drops librdkafka's own lines, because they repeat our errors and say less."""
    logger = logging.getLogger("connector.dead_letters.librdkafka")
    logger.setLevel(logging.CRITICAL)
    return logger
