"""Read a Kafka topic from the offsets that the lake holds.

The only module that imports the Kafka client. The offsets of the lake count, not those of the broker:
whenever partitions are assigned to this process, each starts at the offset that was stored with the
events. The broker gets the offsets afterwards, so that its tools show the lag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

try:
    from confluent_kafka import (
        OFFSET_BEGINNING,
        Consumer,
        KafkaError,
        KafkaException,
        TopicPartition,
    )
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        "`keepwell consume` needs Kafka's client, which is optional: pip install -e '.[kafka]'. "
        "Without it, send events to POST /v1/events, or ingest files."
    ) from exc

from features.streaming.offsets import Message

FATAL_ERRORS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.TOPIC_EXCEPTION,
    }
)
"""Errors that a person has to solve. After all others the client tries again by itself."""

Offsets = Callable[[], Mapping[tuple[str, int], int]]


class KafkaTopicError(Exception):
    """The topic cannot be read."""


class KafkaTopic:
    """The messages of one topic for one consumer group.

    Args:
        bootstrap: addresses of brokers, ``host:port`` separated by commas.
        topic: the topic's name.
        group: the consumer group; its members share the partitions.
        offsets: returns (topic, partition) to the first message that is not in the lake; called
            whenever partitions are assigned. A partition that is missing is read from its start.
        options: other settings of librdkafka, such as ``security.protocol``.
        answer_seconds: how long a broker may take to answer at the start. Later, the client waits
            for a broker without limit.

    Raises:
        KafkaTopicError: the settings are refused, or no broker answers.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        group: str,
        *,
        offsets: Offsets,
        options: Mapping[str, str] | None = None,
        answer_seconds: float = 10.0,
    ) -> None:
        self.topic = topic
        self._offsets = offsets
        settings = {
            **(options or {}),
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,  # the lake holds the offsets
            "auto.offset.reset": "earliest",  # a topic that was made again starts anew
            "error_cb": self._on_error,
        }
        self._fatal: str | None = None
        self._is_assigned = False
        try:
            self._consumer = Consumer(settings)
            self._consumer.subscribe([topic], on_assign=self._on_assign)
        except KafkaException as exc:
            raise KafkaTopicError(
                f"Kafka's client refuses its settings: {_error_text(exc.args[0])}. Check --bootstrap, "
                f"--topic and --option."
            ) from exc
        try:
            self._consumer.list_topics(topic, timeout=answer_seconds)
        except KafkaException as exc:
            self.close()
            raise KafkaTopicError(
                f"No broker answered at {bootstrap} within {answer_seconds:g} seconds: "
                f"{_error_text(exc.args[0])}. Check --bootstrap, the network and --option; nothing was "
                f"read."
            ) from exc

    def read(self, *, most: int, wait_seconds: float) -> list[Message]:
        """The next messages, ``most`` at most; none after ``wait_seconds`` without any.

        Raises:
            KafkaTopicError: the broker refuses, and trying again would not help.
        """
        messages = []
        for message in self._consumer.consume(most, wait_seconds):
            error = message.error()
            if error is None:
                messages.append(
                    Message(
                        topic=message.topic() or self.topic,
                        partition=message.partition() or 0,
                        offset=message.offset() or 0,
                        value=message.value(),
                    )
                )
            elif error.fatal() or error.code() in FATAL_ERRORS:
                self._fatal = self._fatal or _error_text(error)
        if self._fatal is not None:
            raise KafkaTopicError(
                f"The topic {self.topic!r} cannot be read: {self._fatal}. Check that it exists "
                f"and that this group may read it; what was read before is on disk."
            )
        return messages

    def tell_broker(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Report the offsets of the lake to the broker; an error is ignored."""
        own = {(place.topic, place.partition) for place in self._consumer.assignment()}
        places = [
            TopicPartition(topic, partition, offset)
            for (topic, partition), offset in offsets.items()
            if (topic, partition) in own
        ]
        if places:
            self._consumer.commit(offsets=places, asynchronous=True)

    def is_assigned(self) -> bool:
        """Whether the group has assigned its partitions, perhaps none to this member."""
        return self._is_assigned

    def close(self) -> None:
        """Leave the group, so that other members take over at once."""
        self._consumer.close()

    def _on_assign(self, consumer: Any, partitions: list[Any]) -> None:
        offsets = self._offsets()
        for place in partitions:
            place.offset = offsets.get((place.topic, place.partition), OFFSET_BEGINNING)
        consumer.assign(partitions)
        self._is_assigned = True

    def _on_error(self, error: Any) -> None:
        if error.fatal() or error.code() in FATAL_ERRORS:
            self._fatal = self._fatal or _error_text(error)


def _error_text(error: Any) -> str:
    return f"{error.name()} ({error.str()})"
