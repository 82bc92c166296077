"""Queue of a store's orders: one is worked on at a time, in a thread beside the one that polls the
server.
"""

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from queue import SimpleQueue

import httpx
from flwr.app import Message, MessageType, RecordDict

from fedshelf.client.connection.events import RunOverError, UnknownStoreError
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.client.connection.framing import MessageHeader, OutgoingMessage
from fedshelf.client.failures import StoreError
from fedshelf.client.policy.traffic_budget import TrafficBudget
from fedshelf.client.process.worker_process import WorkerProcess
from fedshelf.client.session.bundle import check_bundle
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.common.errors import FedshelfError, MessageError, RefusedError
from fedshelf.common.protocol.probe import header_fields, make_presence, probed_message_id

KEPT_ANSWERS = 2  # the latest update and the latest evaluation

LOG = logging.getLogger("fedshelf.store")


@dataclass(frozen=True)
class _Job:
    line: FleetConnection
    head: MessageHeader
    came: float


class OrderQueue:
    """Queues orders, has them done by the worker process, and sends the answers.

    An order that comes again (its answer was lost, or the server's app died and asks once more) is
    answered from memory, so that no work is done twice. The exception: once photos are deleted or
    changed, the answer is of photos that may not be used any more, and is forgotten.
    """

    def __init__(self, workshop: WorkerProcess, books: SessionRecorder) -> None:
        self._workshop = workshop
        self._books = books
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._held: dict[str, MessageHeader] = {}
        self._change = threading.Condition()
        self._answers: OrderedDict[str, RecordDict] = OrderedDict()
        # value of `WorkerProcess.photos` for which the kept answers were made
        self._answered_for = 0
        self._bundles: dict[int, str] = {}
        # largest answer in bytes, by run and kind of order
        self._sizes: dict[tuple[int, str], int] = {}
        threading.Thread(target=self._work, name="orders", daemon=True).start()

    @property
    def traffic(self) -> TrafficBudget:
        """The store's budgets of bytes."""
        return self._books.traffic

    @property
    def is_busy(self) -> bool:
        """True if an order is being worked on, or waits."""
        return bool(self._held)

    def finish(self, seconds: float) -> None:
        """Wait until the queue is empty or `seconds` have passed."""
        with self._change:
            self._change.wait_for(lambda: not self._held, seconds)

    def take(self, line: FleetConnection, head: MessageHeader) -> None:
        """Append an order that has come on `line`."""
        with self._change:
            self._held[head.message_id] = head
        self._queue.put(_Job(line, head, time.monotonic()))

    def tell(self, line: FleetConnection, head: MessageHeader) -> None:
        """Answer a probe at once: whether the order that it asks about is here."""
        try:
            message, size = self._fetched(line, head)
        # an order may occupy the only worker: this probe stays unanswered
        except StoreError as refusal:
            self._books.not_fetched(head, refusal.detail)
            return
        self._books.received(head, message.content, size)
        answer = make_presence(has=probed_message_id(message.content) in self._held)
        parcel = line.build_reply(message, answer, 0.0)
        self._books.sending(answer, parcel, message.content)
        line.send(parcel)

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            try:
                if not self._is_stale(job):
                    self._do(job)
            except EOFError:  # the worker process was closed: the store leaves
                return
            except (RunOverError, UnknownStoreError, RefusedError):
                LOG.info("The server no longer waits for this answer.")
            except MessageError as error:
                LOG.error("%s It is left out.", error)
                self._note_unreadable(job.head, error)
            except FedshelfError as error:  # such as damaged records of what was spent
                LOG.error("%s An order is left out.", error)
            except httpx.HTTPStatusError as error:
                LOG.error(
                    "The server refused a message (HTTP %s); it is left out.",
                    error.response.status_code,
                )
            # no message of a server may end this thread, and with it the store's work
            except Exception:
                LOG.exception("An order could not be answered; it is left out.")
            finally:
                with self._change:
                    self._held.pop(job.head.message_id, None)
                    self._change.notify_all()

    def _do(self, job: _Job) -> None:
        try:
            parcel = self._answered(job)
        # this failure may be sent unrecorded, else the server would ask for ever
        except OSError as error:
            LOG.error(
                "The audit log cannot be written (%s): nothing is done or sent until it can.",
                error.strerror,
            )
            assert job.head.envelope is not None
            parcel = job.line.build_reply(
                job.head.envelope, self._workshop.decline("disk-full"), 0.0
            )
        job.line.send(parcel, lambda: not self._is_stale(job))

    def _answered(self, job: _Job) -> OutgoingMessage:
        """Return the answer to an order, recorded and ready to be sent.

        Raises OSError if it cannot be recorded.
        """
        try:
            message, size = self._fetched(job.line, job.head)
        except StoreError as refusal:
            return self._refused(job, refusal)
        began = time.monotonic()
        self._books.received(job.head, message.content, size)
        answer, parcel = self._within_budget(job, message, began)
        self._books.sending(answer, parcel, message.content)
        return parcel

    def _note_unreadable(self, head: MessageHeader, error: MessageError) -> None:
        try:
            self._books.unreadable(head, str(error))
        except OSError as full:  # nothing was done with it, and the thread goes on
            LOG.error("The audit log cannot be written (%s).", full.strerror)

    def _fetched(self, line: FleetConnection, head: MessageHeader) -> tuple[Message, int]:
        """Return the message and its bytes.

        Raises StoreError if today's budget has no room for it: nothing is then fetched or, of a
        message that is larger than announced, no more than there is room for.
        """
        try:
            self.traffic.check("down", line.missing_bytes(head))
            return line.fetch(head)
        finally:
            self.traffic.settle()

    def _refused(self, job: _Job, refusal: StoreError) -> OutgoingMessage:
        """Decline a message that stays at the server, unconfirmed, as the server's app may still be
        uploading it.
        """
        LOG.info("%s Nothing is fetched.", refusal)
        assert job.head.envelope is not None
        self._books.not_fetched(job.head, refusal.detail)
        answer = self._workshop.decline(refusal.code, refusal.detail, refusal.rest)
        parcel = job.line.build_reply(job.head.envelope, answer, 0.0)
        self._books.sending(answer, parcel, RecordDict())
        return parcel

    def _within_budget(
        self, job: _Job, message: Message, began: float
    ) -> tuple[RecordDict, OutgoingMessage]:
        """Return the answer, or a refusal if it is too large to be sent today.

        After such a refusal, the next order of this kind and run is refused before any work is
        done for it.
        """
        kind = job.head.run_id, job.head.type
        try:
            self.traffic.check("up", self._sizes.get(kind, 0))
            answer = self._answer(job, message.content)
            parcel = job.line.build_reply(message, answer, time.monotonic() - began)
            self._sizes[kind] = max(self._sizes.get(kind, 0), parcel.size)
            if (
                header_fields(answer).get("kind") != "failure"
            ):  # the reason for a failure may always leave
                self.traffic.check("up", parcel.size)
        except StoreError as refusal:
            LOG.info("%s", refusal)
            self._books.refused(message.content, refusal.detail)
            answer = self._workshop.decline(refusal.code, refusal.detail, refusal.rest)
            parcel = job.line.build_reply(message, answer, time.monotonic() - began)
        return answer, parcel

    def _answer(self, job: _Job, order: RecordDict) -> RecordDict:
        """Return the kept answer if the same order was answered before; refuse the order if its run
        brings code.
        """
        if job.head.content_id in self._answers:
            self._workshop.look()
            self._forget_outdated()
            if (known := self._answers.get(job.head.content_id)) is not None:
                return known
        if fault := self._fault_of_bundle(job):
            self._books.refused(order, fault)
            return self._workshop.decline("policy", "bundle")
        answer = self._workshop.do(order)
        if (told := header_fields(answer)).get("code") == "policy":
            self._books.refused(order, str(told.get("detail", "")))
        self._keep(job.head, answer)
        return answer

    def _fault_of_bundle(self, job: _Job) -> str:
        """Return the fault of the bundle that the server ships with this run, checked once; empty
        if there is none.
        """
        run_id = job.head.run_id
        if run_id not in self._bundles:
            bundle = job.line.fetch_app_bundle(run_id)
            try:
                check_bundle(bundle)
                self._bundles[run_id] = ""
            except StoreError as error:
                LOG.error("%s", error)
                self._bundles[run_id] = str(error)
        return self._bundles[run_id]

    def _forget_outdated(self) -> None:
        """Forget answers if the photos have changed since the last one."""
        if self._answered_for != self._workshop.photos:
            self._answers.clear()

    def _keep(self, head: MessageHeader, answer: RecordDict) -> None:
        """Keep an answer that took work: an update or an evaluation."""
        self._forget_outdated()
        if header_fields(answer).get("kind") in ("update", "evaluation"):
            self._answers[head.content_id] = answer
            self._answered_for = self._workshop.photos
            while len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)

    def _is_stale(self, job: _Job) -> bool:
        """Return whether nobody waits for an answer any more: time is up, or the server went on to
        another round.
        """
        if time.monotonic() - job.came > job.head.ttl:
            return True
        if job.head.type != MessageType.TRAIN:
            return False
        rivals = [head for head in list(self._held.values()) if head.type == MessageType.TRAIN]
        return rivals[-1].message_id != job.head.message_id
