"""Taking in answers, so that a store which sends nonsense, or half an answer, harms no one else's.

Flower takes in many answers at once: it fails for all of them if one cannot be put together, and waits (up to two
hours) for the pieces of one that were announced and do not come. So answers are taken in by threads, and one by one
for a while after one was bad: then it is known whose it is. A store whose link was cut announces its answer anew, and
Flower then waits for the pieces of the former one still: what is waited for too long is asked for again beside that.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

import httpx
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

UNREADABLE = 1000  # the code of an error in place of an answer that is none; Flower's own are below 100
THREADS = 4  # answers that may be slow to come, at the same time, before all wait for them
SLOW_REPLY_SECONDS = 2.0  # seconds until an answer counts as slow ...
EACH = 0.2  # ... and so many more for each that is read with it: ten times what Flower needs for a small one
CAREFUL = 60.0  # seconds for which answers are taken in one by one after a bad one
STUCK = 30.0  # seconds after which what is still on its way holds up nothing else, and may come another way
MAX_KEPT_REPLIES = 64  # of them, and of those that nobody has asked for since, at most


@dataclass(eq=False)
class _Pull:
    """Answers to some messages on their way. began: a value of time.monotonic()."""

    messages: frozenset[str]
    began: float
    coming: Future[list[Message]]

    def is_stuck(self) -> bool:
        """Whether it has been on its way for so long that it may never come."""
        return not self.coming.done() and time.monotonic() - self.began > STUCK

    def is_busy(self) -> bool:
        """Whether it is worth waiting for."""
        return not self.coming.done() and not self.is_stuck()


class ReplyPuller:
    """What has been asked of `grid`, and is still on its way."""

    def __init__(self, grid: Grid) -> None:
        self._grid, self._threads = grid, ThreadPoolExecutor(MAX_KEPT_REPLIES, "pull")
        self._underway: list[_Pull] = []
        self._careful_until = 0.0

    def pull(self, message_ids: Collection[str], together: int) -> Iterator[Message]:
        """The answers to these messages that are there, read `together` at a time; errors for unreadable ones."""
        asked = set(message_ids)
        for pull in [each for each in self._underway if each.messages & asked and each.coming.done()]:
            yield from self._taken(pull, asked)
        asked -= self.underway()
        left = iter([each for each in message_ids if each in asked])
        while some := frozenset(islice(left, 1 if time.monotonic() < self._careful_until else together)):
            if not self._has_room():
                return
            pull = _Pull(some, time.monotonic(), self._threads.submit(self._pull, sorted(some)))
            self._underway.append(pull)
            wait([pull.coming], SLOW_REPLY_SECONDS + EACH * len(some))
            if pull.coming.done():
                yield from self._taken(pull, asked)
            else:
                self._careful_until = time.monotonic() + CAREFUL

    def underway(self) -> frozenset[str]:
        """The messages whose answers are being taken in, or have been and are not handed out yet."""
        return frozenset().union(*(each.messages for each in self._underway if not each.is_stuck()))

    def _pull(self, message_ids: Sequence[str]) -> list[Message]:
        return list(self._grid.pull_messages(message_ids))

    def _has_room(self) -> bool:
        """Whether a thread is free, perhaps after a while; answers that nobody asks for any more are let go."""
        if len(busy := [each.coming for each in self._underway if each.is_busy()]) >= THREADS:
            wait(busy, SLOW_REPLY_SECONDS, FIRST_COMPLETED)
        for pull in [each for each in self._underway if each.coming.done()][
            : max(len(self._underway) - MAX_KEPT_REPLIES + 1, 0)
        ]:
            self._underway.remove(pull)
        return sum(each.is_busy() for each in self._underway) < THREADS and len(self._underway) < MAX_KEPT_REPLIES

    def _taken(self, pull: _Pull, asked: Collection[str]) -> Iterator[Message]:
        """What came of a pull. A reply says itself what it answers; what was not asked counts for nothing."""
        some = pull.messages
        self._underway.remove(pull)
        try:
            replies = pull.coming.result()
        except (httpx.HTTPError, OSError):  # the SuperLink's
            raise
        except Exception:  # flwr's, of anything that a store may send: ValueError, KeyError, protobuf's, ...
            replies = None
        good = [] if replies is None else [each for each in replies if answers(each, some)]
        if replies is None or len(good) < len(replies):
            self._careful_until = time.monotonic() + CAREFUL
            if len(some) == 1:
                good = [unreadable(*some)]
        yield from (reply for reply in good if reply.metadata.reply_to_message_id in asked)


def answers(reply: Message, asked: Collection[str]) -> bool:
    """Return whether this is an answer, and to one of the messages asked for."""
    return reply.metadata.reply_to_message_id in asked and reply.has_content() != reply.has_error()


def unreadable(message_id: str) -> Message:
    """What stands for an answer to the message that is none."""
    question = Message(RecordDict(), 1, "query")
    question.metadata.__dict__["_message_id"] = message_id
    return Message(Error(UNREADABLE, "unreadable"), reply_to=question)
