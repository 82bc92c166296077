"""Messages that are sent in a thread of its own."""

import threading
from typing import Any

from fedshelf.client.notifications.background import BackgroundSender, Message, NotSentError


def test_messages_are_sent_in_order_and_the_end_waits_for_them() -> None:
    sent: list[Any] = []
    with BackgroundSender(sent.append, print, closing_seconds=60) as sender:
        for number in range(50):
            sender.put({"number": number})
    assert sent == [{"number": number} for number in range(50)]


def test_a_slow_receiver_delays_nobody_and_what_is_too_much_is_told() -> None:
    """While the first message is under way, two may wait."""
    sent: list[Any] = []
    told: list[str] = []
    is_sending, may_end = threading.Event(), threading.Event()

    def send(message: Message) -> None:
        is_sending.set()
        may_end.wait()
        sent.append(message["number"])

    with BackgroundSender(send, told.append, closing_seconds=60, max_waiting=2) as sender:
        sender.put({"number": 0})
        is_sending.wait()
        for number in range(1, 5):
            sender.put({"number": number})
        assert sent == []
        assert told == ["An alarm was not sent: 2 wait already."] * 2
        may_end.set()
    assert sent == [0, 1, 2]


def test_a_message_that_is_not_taken_is_told_and_the_next_one_sent() -> None:
    sent: list[Any] = []
    told: list[str] = []

    def send(message: Message) -> None:
        if message["number"] == 0:
            raise NotSentError("it is full.")
        sent.append(message["number"])

    with BackgroundSender(send, told.append, closing_seconds=60) as sender:
        sender.put({"number": 0})
        sender.put({"number": 1})
    assert sent == [1]
    assert told == ["An alarm was not sent: it is full."]


def test_the_end_does_not_wait_for_ever() -> None:
    told: list[str] = []
    may_end = threading.Event()
    with BackgroundSender(
        lambda _: bool(may_end.wait()) and None, told.append, closing_seconds=0.01
    ) as sender:
        sender.put({})
    assert told == ["Some alarms were not sent within 0.01 s after the end."]
    may_end.set()
