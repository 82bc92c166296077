"""The store's worker process: it reads orders from a pipe and sends answers back."""

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

from flwr.app import RecordDict

from fedshelf.client.health.run_checks import quick_check
from fedshelf.client.identity.home import MODELS_FOLDER, store_home
from fedshelf.client.policy.enforcement import PolicyWorker
from fedshelf.client.policy.policy import POLICY_FILE, policy_of
from fedshelf.client.privacy.secure_sums import SecureSums
from fedshelf.client.process.console import configure_logging, say
from fedshelf.client.process.factory import disclosure, policy_enforcer, store_worker
from fedshelf.client.process.handler import handle_order
from fedshelf.client.process.worker_process import WorkerReply, WorkerSettings
from fedshelf.client.worker.delivered_models import DeliveredModels
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.errors import FedshelfError
from fedshelf.common.images.folder.photo_index import PhotoIndex
from fedshelf.common.protocol.failures import make_failure
from fedshelf.common.protocol.serialization import encode_result
from fedshelf.common.system.allocator import release_freed_memory

MAX_PRINTED_FINDINGS = 5  # findings
# seconds without an order after which deleted photos are dropped from memory and the pixel cache
IDLE_CHECK_SECONDS = 3600.0
# seconds without an order after which memory kept for the next step goes back to the system
IDLE_RELEASE_SECONDS = 10.0


def print_quick_findings(settings: WorkerSettings, index: PhotoIndex) -> None:
    """Print the warnings and problems that `flower-client check` finds at once.

    They do not stop the store: it fails by itself if it cannot work.

    Args:
        settings: The store's name, photos and device.
        index: List of the store's photos.
    """
    policy = store_home(settings.store) / POLICY_FILE
    findings = [
        finding
        for finding in quick_check(settings.data, policy if policy.exists() else None, index)
        if finding.severity != "note"
    ]
    for finding in findings[:MAX_PRINTED_FINDINGS]:
        say(f"{finding.severity.capitalize()}: {finding.what} {finding.advice}")
    if findings:
        say("`flower-client check` checks more, and writes a page about it.")


def run_worker(pipe: Connection, settings: WorkerSettings, index: PhotoIndex) -> None:
    """Set up the worker, report to the parent whether that worked, then answer orders for ever.

    Args:
        pipe: To the parent. The first message through it is None if all is well, else the
            FedshelfError in the way. Then each message is answered by one `WorkerReply`: to a
            RecordDict (an order), to (code, detail, retry_after) (a refusal to be worded), or to
            None (only a look at the photos).
        settings: The store's name, photos and device.
        index: List of the store's photos.
    """
    # Ctrl-C reaches the whole process group; the parent decides
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure_logging()
    node = {"store": settings.store, "data": str(settings.data), "device": settings.device}
    changes: list[str] = []

    def report_change(change: str) -> None:
        say(change)
        changes.append(change)

    try:
        store = store_worker(node, report_change, say, index)
        enforcer = policy_enforcer(settings.store)
        disclosed = disclosure(settings.store)
        worker = PolicyWorker(store, enforcer, disclosed)
        home = store_home(settings.store)
        policy = policy_of(home)
        max_model_bytes = policy.megabytes_of_models * 1e6
        models = DeliveredModels(
            settings.store, home / MODELS_FOLDER, max_model_bytes, enforcer.check_model_allowed, say
        )
        sums = SecureSums(home, policy.secure_sum_least, enforcer.check_allowed)
        frozen = FrozenCache()
    except FedshelfError as error:
        pipe.send(error)
        return
    pipe.send(None)
    while True:
        if not pipe.poll(IDLE_RELEASE_SECONDS):
            release_freed_memory()
        while not pipe.poll(IDLE_CHECK_SECONDS):
            store.check_changes()
        match pipe.recv():
            case RecordDict() as order:
                reply = handle_order(worker, order, frozen, models, sums)
                pipe.send(WorkerReply(reply, tuple(changes)))
                changes.clear()
            case (code, detail, retry_after):
                failure = make_failure(settings.store, code, detail, retry_after)
                pipe.send(WorkerReply(encode_result(disclosed.failure(failure))))
            case None:
                store.check_changes()
                pipe.send(WorkerReply(None, tuple(changes)))
                changes.clear()


def _end_with_parent() -> None:
    """End this process as soon as the parent is gone, however it died: nobody wants its answers
    then.
    """
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
