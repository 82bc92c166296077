"""Workers that stay: one per store of this process, with its network, images and device."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from client.data import FolderSource
from client.states import StateStore
from client.work import StoreWorker, Trainer
from common.device import pick
from common.errors import ConfigError
from common.files import cache_directory
from common.naming import check_store_name


def worker_of(node_config: Mapping[str, object]) -> StoreWorker:
    """The worker of the store that a node's configuration names: `store`, `data` and perhaps `device`.

    Raises ConfigError if one is missing or the device is not there.
    """
    if missing := [key for key in ("store", "data") if key not in node_config]:
        raise ConfigError(f"The node's configuration lacks {' and '.join(missing)}; expected store=NAME data=FOLDER.")
    device = str(node_config.get("device", "auto"))
    return _worker(str(node_config["store"]), str(node_config["data"]), device)


@cache
def _worker(name: str, data: str, device: str) -> StoreWorker:
    states = StateStore(cache_directory() / "stores")
    return StoreWorker(check_store_name(name), FolderSource(name, Path(data)), Trainer(pick(device), states))
