"""Pull of answers in threads, so that no store's bad answer harms another store's.

A bad answer is nonsense, or half of one.

Flower pulls many answers at once. It fails for all of them if one cannot be put together, and waits
up to two hours for announced pieces that do not come. So threads pull the answers, and for a while
after a bad one they pull one by one, which shows whose answer is bad. A store whose connection was
cut announces its answer again, but Flower then still waits for the pieces of the former one: an
answer that takes too long is asked for again in parallel.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

UNREADABLE = 1000  # error code in place of an unreadable answer; Flower's own codes are below 100
MAX_SLOW_PULLS = 4  # slow pulls at the same time, before all others wait for them
SLOW_REPLY_SECONDS = 2.0  # seconds until an answer counts as slow ...
# ... plus this for each answer pulled with it: ten times what Flower needs for a small one
SLOW_SECONDS_PER_REPLY = 0.2
ONE_BY_ONE_SECONDS = 60.0  # seconds after a bad answer in which answers are pulled one by one
# seconds after which a pull in progress holds up nothing else, and its answers may be pulled again
STUCK_PULL_SECONDS = 30.0
# most pulls that are kept: in progress, or done with answers that nobody asked for since
MAX_KEPT_REPLIES = 64


@dataclass(eq=False)
class _Pull:
    """A pull of the answers to some messages, in progress.

    Attributes:
        began: value of time.monotonic()
    """

    messages: frozenset[str]
    began: float
    coming: Future[list[Message]]

    def is_stuck(self) -> bool:
        """Return whether it has been in progress for so long that it may never end."""
        return not self.coming.done() and time.monotonic() - self.began > STUCK_PULL_SECONDS

    def is_busy(self) -> bool:
        """Return whether it is worth waiting for."""
        return not self.coming.done() and not self.is_stuck()


class ReplyPuller:
    """The pulls of answers from `grid` that are in progress."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._threads = ThreadPoolExecutor(MAX_KEPT_REPLIES, "pull")
        self._underway: list[_Pull] = []
        self._careful_until = 0.0

    def pull(self, message_ids: Collection[str], together: int) -> Iterator[Message]:
        """Yield the available answers to these messages, pulled `together` at a time.

        Unreadable ones become errors.
        """
        wanted = set(message_ids)
        for pull in [
            pull for pull in self._underway if pull.messages & wanted and pull.coming.done()
        ]:
            yield from self._hand_out(pull, wanted)
        wanted -= self.underway()
        left = iter([message_id for message_id in message_ids if message_id in wanted])
        while some := frozenset(
            islice(left, 1 if time.monotonic() < self._careful_until else together)
        ):
            if not self._has_room():
                return
            pull = _Pull(some, time.monotonic(), self._threads.submit(self._pull, sorted(some)))
            self._underway.append(pull)
            wait([pull.coming], SLOW_REPLY_SECONDS + SLOW_SECONDS_PER_REPLY * len(some))
            if pull.coming.done():
                yield from self._hand_out(pull, wanted)
            else:
                self._careful_until = time.monotonic() + ONE_BY_ONE_SECONDS

    def underway(self) -> frozenset[str]:
        """Return the messages whose answers are being pulled, or wait to be handed out."""
        return frozenset().union(*(pull.messages for pull in self._underway if not pull.is_stuck()))

    def _pull(self, message_ids: Sequence[str]) -> list[Message]:
        return list(self._grid.pull_messages(message_ids))

    def _has_room(self) -> bool:
        """Return whether a thread is free, perhaps after a wait.

        Drop answers that nobody asks for any more.
        """
        if (
            len(busy := [pull.coming for pull in self._underway if pull.is_busy()])
            >= MAX_SLOW_PULLS
        ):
            wait(busy, SLOW_REPLY_SECONDS, FIRST_COMPLETED)
        for pull in [pull for pull in self._underway if pull.coming.done()][
            : max(len(self._underway) - MAX_KEPT_REPLIES + 1, 0)
        ]:
            self._underway.remove(pull)
        return (
            sum(pull.is_busy() for pull in self._underway) < MAX_SLOW_PULLS
            and len(self._underway) < MAX_KEPT_REPLIES
        )

    def _hand_out(self, pull: _Pull, wanted: Collection[str]) -> Iterator[Message]:
        """Yield the answers of a finished pull.

        A reply names its message; one that was not asked for is dropped.
        """
        some = pull.messages
        self._underway.remove(pull)
        try:
            replies = pull.coming.result()
        except (httpx.HTTPError, OSError):  # the SuperLink's
            raise
        # flwr's, of anything that a store may send: ValueError, KeyError, protobuf's, ...
        except Exception:
            replies = None
        good = [] if replies is None else [reply for reply in replies if answers(reply, some)]
        if replies is None or len(good) < len(replies):
            self._careful_until = time.monotonic() + ONE_BY_ONE_SECONDS
            if len(some) == 1:
                good = [unreadable(*some)]
        yield from (reply for reply in good if reply.metadata.reply_to_message_id in wanted)


def answers(reply: Message, message_ids: Collection[str]) -> bool:
    """Return whether this is an answer, and to one of the messages asked for."""
    return (
        reply.metadata.reply_to_message_id in message_ids
        and reply.has_content() != reply.has_error()
    )


def unreadable(message_id: str) -> Message:
    """Return an error message in place of an unreadable answer to the message."""
    question = Message(RecordDict(), 1, "query")
    question.metadata.__dict__["_message_id"] = message_id
    return Message(Error(UNREADABLE, "unreadable"), reply_to=question)
