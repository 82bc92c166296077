"""Photos of many requests that pass through the model together.

Threads decode photos, two at a time. The one that finds no batch running runs the next batch, of
all photos that are decoded then, and goes on until none waits. So a lone request waits for nobody,
a crowd shares the fixed cost of a pass, there is no delay to tune, and a photo passes between
threads twice: to be decoded, and as an answer.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedshelf.client.service.classification.decoding import decode_wanted
from fedshelf.client.service.classification.served_model import PhotoAnswer, ServedModel
from fedshelf.client.service.requests.problems import ClientGoneError, ProblemError
from fedshelf.common.images.decoding.limits import SERVICE_LIMITS
from fedshelf.common.system.allocator import release_freed_memory

REST_SECONDS = 5.0  # between two times that freed memory is given back, while there are requests


@dataclass(frozen=True)
class _Asked:
    """A photo whose answer somebody waits for."""

    model: ServedModel
    data: bytes
    is_wanted: Callable[[], bool]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[PhotoAnswer | ProblemError]


@dataclass(frozen=True)
class _Decoded:
    asked: _Asked
    pixels: NDArray[np.uint8]  # [S, S, C]


class MicroBatcher:
    """Decodes photos, and runs batches of them one after another.

    Args:
        max_batch: photos of a batch
        on_batch: called with the number of photos of each batch, in any thread
    """

    def __init__(self, max_batch: int, on_batch: Callable[[int], object] = lambda _: None) -> None:
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._decoders = ThreadPoolExecutor(SERVICE_LIMITS.max_decodes, thread_name_prefix="decode")
        self._lock = threading.Lock()  # of the next four
        self._jobs: deque[Callable[[], None]] = deque()  # decodes that no thread has begun
        self._busy_threads = 0
        self._waiting: deque[_Decoded] = deque()
        self._is_running = False
        self._rest: asyncio.TimerHandle | None = None

    def answer(
        self, model: ServedModel, data: bytes, is_wanted: Callable[[], bool]
    ) -> asyncio.Future[PhotoAnswer | ProblemError]:
        """Return a future of the model's answer for one photo, or of the problem with the photo.

        Its exceptions are ClientGoneError, if the client left, and those of the model.

        Args:
            model: photos of two models are never in one batch
            data: the photo's file
            is_wanted: False once the client has left; then the photo is dropped
        """
        loop = asyncio.get_running_loop()
        asked = _Asked(model, data, is_wanted, loop, loop.create_future())
        self._begin(partial(self._work, asked))
        if self._rest is None:
            self._rest = loop.call_later(REST_SECONDS, self._release_memory)
        return asked.answer

    def decode(
        self, model: ServedModel, data: bytes, is_wanted: Callable[[], bool]
    ) -> asyncio.Future[NDArray[np.uint8]]:
        """Return a future of a photo as the model sees it, uint8 [S, S, C].

        Its exceptions are ClientGoneError, if the client left, and ProblemError, if the photo
        cannot be used.

        Args:
            model: has the form
            data: the photo's file
            is_wanted: False once the client has left
        """
        form = model.predictor.pixel_format
        decoded: Future[NDArray[np.uint8]] = Future()

        def work() -> None:
            if not decoded.set_running_or_notify_cancel():
                return
            try:
                decoded.set_result(decode_wanted(data, form, is_wanted))
            except Exception as error:
                decoded.set_exception(error)

        self._begin(work)
        return asyncio.wrap_future(decoded)

    def _begin(self, job: Callable[[], None]) -> None:
        """Have a job done, by a thread that is busy anyway if all of them are.

        Args:
            job: raises nothing
        """
        with self._lock:
            self._jobs.append(job)
            if self._busy_threads == SERVICE_LIMITS.max_decodes:
                return
            self._busy_threads += 1
        self._decoders.submit(self._do_jobs)

    def _do_jobs(self) -> None:
        """Do one job after another until none is left."""
        while True:
            with self._lock:
                if not self._jobs:
                    self._busy_threads -= 1
                    return
                job = self._jobs.popleft()
            job()

    def _work(self, asked: _Asked) -> None:
        """Decode a photo, and run batches if nobody does."""
        try:
            form = asked.model.predictor.pixel_format
            decoded = _Decoded(asked, decode_wanted(asked.data, form, asked.is_wanted))
        except ProblemError as problem:
            asked.loop.call_soon_threadsafe(_hand_out, [asked], [problem])
            return
        except Exception as error:
            asked.loop.call_soon_threadsafe(_fail, [asked], error)
            return
        with self._lock:
            self._waiting.append(decoded)
            if self._is_running:
                return  # who runs them takes this one, too
            self._is_running = True
        while batch := self._next_batch():
            self._run(batch)

    def _run(self, batch: Sequence[_Decoded]) -> None:
        """Run one batch, and hand out its answers."""
        asked = [decoded.asked for decoded in batch]
        self._on_batch(len(batch))
        try:
            answers = asked[0].model.answers(np.stack([decoded.pixels for decoded in batch]))
        except Exception as error:
            asked[0].loop.call_soon_threadsafe(_fail, asked, error)
        else:
            asked[0].loop.call_soon_threadsafe(_hand_out, asked, answers)

    def _next_batch(self) -> list[_Decoded]:
        """Take the next photos of one model that are still wanted; none: nobody runs batches."""
        batch: list[_Decoded] = []
        with self._lock:
            while self._waiting and len(batch) < self._max_batch:
                if batch and self._waiting[0].asked.model is not batch[0].asked.model:
                    break
                decoded = self._waiting.popleft()
                asked = decoded.asked
                if asked.is_wanted():
                    batch.append(decoded)
                else:
                    asked.loop.call_soon_threadsafe(_fail, [asked], ClientGoneError())
            self._is_running = bool(batch)
        return batch

    def _release_memory(self) -> None:
        """Give back what passes and decodes have freed, which the C library keeps by itself."""
        self._rest = None
        release_freed_memory()


def _fail(asked: Sequence[_Asked], error: Exception) -> None:
    """Hand out an error, in the loop's thread."""
    for each in asked:
        if not each.answer.done():  # its request may have ended by its time limit
            each.answer.set_exception(error)


def _hand_out(asked: Sequence[_Asked], answers: Sequence[PhotoAnswer | ProblemError]) -> None:
    """Hand out answers, in the loop's thread."""
    for each, answer in zip(asked, answers, strict=True):
        if not each.answer.done():
            each.answer.set_result(answer)
