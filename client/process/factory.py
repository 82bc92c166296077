"""Resident workers: one per store of this process, with its network, images and device."""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch

from fedshelf.client.identity.home import STATES_FOLDER, private_secret, store_home
from fedshelf.client.policy.budgets import USAGE_FILE, Usage
from fedshelf.client.policy.command import check_names
from fedshelf.client.policy.disclosure import Disclosure, OpenDisclosure
from fedshelf.client.policy.enforcement import PolicyEnforcer
from fedshelf.client.policy.policy import policy_of
from fedshelf.client.policy.private_disclosure import PrivateDisclosure
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.client.privacy.training_charge import training_charge
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.logit_adjustments import ADJUSTMENTS_FOLDER, Adjustments
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.folder.photo_index import PhotoIndex
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.common.system.device import pick_device
from fedshelf.common.wording import format_list

LOG = logging.getLogger("fedshelf.store")


def store_worker(
    node_config: Mapping[str, object],
    on_change: Callable[[str], None] = LOG.info,
    report: Callable[[str], None] = LOG.debug,
    index: PhotoIndex | None = None,
) -> StoreWorker:
    """Return the worker of the store in a node's configuration: `store`, `data` and optionally
    `device`.

    Raises ConfigError if `store` or `data` is missing or the device does not exist.

    Args:
        on_change: Called with each change to the photos, as a sentence.
        report: Called with a sentence when an order begins or ends.
        index: List of the photos, if this process has made one already.
    """
    if missing := [key for key in ("store", "data") if key not in node_config]:
        raise ConfigError(
            f"The node's configuration lacks {format_list(missing)}; expected store=NAME"
            " data=FOLDER."
        )
    device = str(node_config.get("device", "auto"))
    return _worker(
        str(node_config["store"]), str(node_config["data"]), device, on_change, report, index
    )


@cache
def policy_enforcer(store: str) -> PolicyEnforcer:
    """Return the enforcer of a store's policy. Raises ConfigError for a policy that cannot be
    read.
    """
    home = store_home(store)
    policy = policy_of(home)
    check_names(policy)
    return PolicyEnforcer(policy, Usage(home / USAGE_FILE), ledger=_ledger(store))


@cache
def _ledger(store: str) -> Ledger:
    home = store_home(store)
    return Ledger(home, policy_of(home).privacy_limits)


@cache
def disclosure(store: str) -> Disclosure:
    """Return the decision which parts of a store's answers leave. Raises ConfigError, OSError."""
    home = store_home(store)
    policy = policy_of(home)
    if not policy.epsilon:
        return OpenDisclosure(policy)
    return PrivateDisclosure(policy, home, private_secret(home), _ledger(store))


@cache
def _worker(
    name: str,
    data: str,
    device: str,
    on_change: Callable[[str], None],
    report: Callable[[str], None],
    index: PhotoIndex | None,
) -> StoreWorker:
    keep_freed_memory()
    home = store_home(name)
    torch_device = pick_device(device)
    policy = policy_of(home)
    limit_gpu_memory(torch_device, policy.gpu_memory_share)
    source = FolderSource(name, Path(data), policy, on_change, index)
    trainer = Trainer(torch_device, StateStore(home / STATES_FOLDER), private_secret(home))
    source.forget_deleted()
    adjustments = Adjustments(home / ADJUSTMENTS_FOLDER)

    def charge(order: TrainOrder, identity: str) -> None:
        _ledger(name).charge(training_charge(order, identity))

    return StoreWorker(name, source, trainer, adjustments, report, charge)


def limit_gpu_memory(device: torch.device, share: float) -> None:
    """Limit this process to a share of the memory of a CUDA device.

    Beyond it an allocation raises torch.OutOfMemoryError. Call it before anything is allocated on
    the device. Other kinds of devices have no such limit.

    Args:
        device: The device that trains.
        share: From 0 to 1; at 1 there is no limit.
    """
    if device.type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(share, device.index)
