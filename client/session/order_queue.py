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

from fedshelf.client.connection.errors import RunOverError, UnknownStoreError
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.client.connection.framing import MessageHeader, OutgoingMessage
from fedshelf.client.failures import StoreError
from fedshelf.client.policy.traffic_budget import TrafficBudget
from fedshelf.client.process.worker_process import WorkerProcess
from fedshelf.client.session.bundle import check_bundle
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.common.errors import FedshelfError, MessageError, RefusedError
from fedshelf.common.protocol.probe import header_fields, make_presence, probed_message_id

MAX_CACHED_ANSWERS = 2  # the latest update and the latest evaluation

LOG = logging.getLogger("fedshelf.store")


@dataclass(frozen=True)
class _Job:
    connection: FleetConnection
    incoming: MessageHeader
    received_at: float


class OrderQueue:
    """Queues orders, has them done by the worker process, and sends the answers.

    An order that comes again (its answer was lost, or the server's app died and asks once more) is
    answered from memory, so that no work is done twice. The exception: once photos are deleted or
    changed, the answer is of photos that may not be used any more, and is forgotten.
    """

    def __init__(self, worker: WorkerProcess, recorder: SessionRecorder) -> None:
        self._worker = worker
        self._recorder = recorder
        self._queue: SimpleQueue[_Job] = SimpleQueue()
        self._pending: dict[str, MessageHeader] = {}
        self._pending_changed = threading.Condition()
        self._answers: OrderedDict[str, RecordDict] = OrderedDict()
        # value of `WorkerProcess.photos` for which the kept answers were made
        self._photos_version = 0
        self._bundle_faults: dict[int, str] = {}
        # largest answer in bytes, by run and kind of order
        self._largest_answer_bytes: dict[tuple[int, str], int] = {}
        threading.Thread(target=self._run_orders, name="orders", daemon=True).start()

    @property
    def traffic(self) -> TrafficBudget:
        """The store's budgets of bytes."""
        return self._recorder.traffic

    @property
    def is_busy(self) -> bool:
        """True if an order is being worked on, or waits."""
        return bool(self._pending)

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until the queue is empty or `seconds` have passed."""
        with self._pending_changed:
            self._pending_changed.wait_for(lambda: not self._pending, seconds)

    def append(self, connection: FleetConnection, incoming: MessageHeader) -> None:
        """Append an order that has come on `line`."""
        with self._pending_changed:
            self._pending[incoming.message_id] = incoming
        self._queue.put(_Job(connection, incoming, time.monotonic()))

    def answer_probe(self, connection: FleetConnection, incoming: MessageHeader) -> None:
        """Answer a probe at once: whether the order that it asks about is here."""
        try:
            message, size = self._fetch(connection, incoming)
        # an order may occupy the only worker: this probe stays unanswered
        except StoreError as refusal:
            self._recorder.record_unfetched(incoming, refusal.detail)
            return
        self._recorder.record_received(incoming, message.content, size)
        answer = make_presence(has=probed_message_id(message.content) in self._pending)
        outgoing = connection.build_reply(message, answer, 0.0)
        self._recorder.record_sending(answer, outgoing, message.content)
        connection.send(outgoing)

    def _run_orders(self) -> None:
        while True:
            job = self._queue.get()
            try:
                if not self._is_stale(job):
                    self._process(job)
            except EOFError:  # the worker process was closed: the store leaves
                return
            except (RunOverError, UnknownStoreError, RefusedError):
                LOG.info("The server no longer waits for this answer.")
            except MessageError as error:
                LOG.error("%s It is left out.", error)
                self._record_unreadable(job.incoming, error)
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
                with self._pending_changed:
                    # whatever happened: a probe asks for what is pending, and the server would wait
                    # for it
                    self._pending.pop(job.incoming.message_id, None)
                    self._pending_changed.notify_all()

    def _process(self, job: _Job) -> None:
        try:
            outgoing = self._build_answer(job)
        # this failure may be sent unrecorded, else the server would ask for ever
        except OSError as error:
            LOG.error(
                "The audit log cannot be written (%s): nothing is done or sent until it can.",
                error.strerror,
            )
            assert job.incoming.envelope is not None
            outgoing = job.connection.build_reply(
                job.incoming.envelope, self._worker.decline("disk-full"), 0.0
            )
        # a long upload is given up once the server has gone on to another round
        job.connection.send(outgoing, lambda: not self._is_stale(job))

    def _build_answer(self, job: _Job) -> OutgoingMessage:
        """Return the answer to an order, recorded and ready to be sent.

        Raises OSError if it cannot be recorded.
        """
        try:
            message, size = self._fetch(job.connection, job.incoming)
        except StoreError as refusal:
            return self._decline_unfetched(job, refusal)
        began = time.monotonic()
        self._recorder.record_received(job.incoming, message.content, size)
        answer, outgoing = self._answer_within_budget(job, message, began)
        self._recorder.record_sending(answer, outgoing, message.content)
        return outgoing

    def _record_unreadable(self, incoming: MessageHeader, error: MessageError) -> None:
        try:
            self._recorder.record_unreadable(incoming, str(error))
        except OSError as full:  # nothing was done with it, and the thread goes on
            LOG.error("The audit log cannot be written (%s).", full.strerror)

    def _fetch(self, connection: FleetConnection, incoming: MessageHeader) -> tuple[Message, int]:
        """Return the message and its bytes.

        Raises StoreError if today's budget has no room for it: nothing is then fetched or, of a
        message that is larger than announced, no more than there is room for.
        """
        try:
            # before the first byte: what is announced is refused for nothing, what was fetched is
            # spent
            self.traffic.check("down", connection.missing_bytes(incoming))
            return connection.fetch(incoming)
        finally:
            self.traffic.save()

    def _decline_unfetched(self, job: _Job, refusal: StoreError) -> OutgoingMessage:
        """Decline a message that stays at the server, unconfirmed, as the server's app may still be
        uploading it.
        """
        LOG.info("%s Nothing is fetched.", refusal)
        assert job.incoming.envelope is not None
        self._recorder.record_unfetched(job.incoming, refusal.detail)
        answer = self._worker.decline(refusal.code, refusal.detail, refusal.retry_after)
        outgoing = job.connection.build_reply(job.incoming.envelope, answer, 0.0)
        self._recorder.record_sending(answer, outgoing, RecordDict())
        return outgoing

    def _answer_within_budget(
        self, job: _Job, message: Message, began: float
    ) -> tuple[RecordDict, OutgoingMessage]:
        """Return the answer, or a refusal if it is too large to be sent today.

        After such a refusal, the next order of this kind and run is refused before any work is
        done for it.
        """
        kind = job.incoming.run_id, job.incoming.type
        try:
            self.traffic.check("up", self._largest_answer_bytes.get(kind, 0))
            answer = self._carry_out(job, message.content)
            outgoing = self._build_reply(job, message, answer, began)
            self._largest_answer_bytes[kind] = max(
                self._largest_answer_bytes.get(kind, 0), outgoing.size
            )
            if (
                header_fields(answer).get("kind") != "failure"
            ):  # the reason for a failure may always leave
                self.traffic.check("up", outgoing.size)
        except StoreError as refusal:
            LOG.info("%s", refusal)
            self._recorder.record_refusal(message.content, refusal.detail)
            answer = self._worker.decline(refusal.code, refusal.detail, refusal.retry_after)
            outgoing = self._build_reply(job, message, answer, began)
        return answer, outgoing

    def _build_reply(
        self, job: _Job, message: Message, answer: RecordDict, began: float
    ) -> OutgoingMessage:
        """Return the answer, ready to be sent with the time that the policy lets leave."""
        seconds = self._recorder.told_seconds(time.monotonic() - began)
        return job.connection.build_reply(message, answer, seconds)

    def _carry_out(self, job: _Job, order: RecordDict) -> RecordDict:
        """Return the kept answer if the same order was answered before; refuse the order if its run
        brings code.
        """
        if job.incoming.content_id in self._answers:
            self._worker.check_photos()
            self._drop_outdated_answers()
            if (known := self._answers.get(job.incoming.content_id)) is not None:
                return known
        if fault := self._bundle_fault(job):
            self._recorder.record_refusal(order, fault)
            return self._worker.decline("policy", "bundle")
        answer = self._worker.carry_out(order)
        if (fields := header_fields(answer)).get("code") in ("policy", "secure-sum"):
            self._recorder.record_refusal(order, str(fields.get("detail", "")))
        self._cache_answer(job.incoming, answer)
        return answer

    def _bundle_fault(self, job: _Job) -> str:
        """Return the fault of the bundle that the server ships with this run, checked once; empty
        if there is none.
        """
        run_id = job.incoming.run_id
        if run_id not in self._bundle_faults:
            bundle = job.connection.fetch_app_bundle(run_id)
            try:
                check_bundle(bundle)
                self._bundle_faults[run_id] = ""
            except StoreError as error:
                LOG.error("%s", error)
                self._bundle_faults[run_id] = str(error)
        return self._bundle_faults[run_id]

    def _drop_outdated_answers(self) -> None:
        """Forget answers if the photos have changed since the last one."""
        if self._photos_version != self._worker.photos_version:
            self._answers.clear()

    def _cache_answer(self, incoming: MessageHeader, answer: RecordDict) -> None:
        """Keep an answer that took work: an update or an evaluation."""
        self._drop_outdated_answers()
        if header_fields(answer).get("kind") in ("update", "masked", "evaluation"):
            self._answers[incoming.content_id] = answer
            self._photos_version = self._worker.photos_version
            while len(self._answers) > MAX_CACHED_ANSWERS:
                self._answers.popitem(last=False)

    def _is_stale(self, job: _Job) -> bool:
        """Return whether nobody waits for an answer any more: time is up, or the server went on to
        another round.
        """
        if time.monotonic() - job.received_at > job.incoming.ttl:
            return True
        if job.incoming.type != MessageType.TRAIN:
            return False
        rivals = [
            incoming
            for incoming in list(self._pending.values())
            if incoming.type == MessageType.TRAIN
        ]
        # they are in the order of arrival, and the server works on one training at a time
        return rivals[-1].message_id != job.incoming.message_id
