"""A store's command whose owner has changed it: in one round its update ruins the model; else it
does as it is told.

Once SPOILS/asked is there (SPOILS is a folder that the environment names), it answers the next
round whose number is SPOILS_REST modulo 2 with weights that nobody can use: before that it writes
the number to SPOILS/spoiling and waits for SPOILS/go. Its worker process runs this file, too, as a
process that is spawned does.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.protocol.messages import TrainOrder, Update
from fedshelf.common.system.files import write_text

WEIGHT = 1e8
PLACE = Path(os.environ.get("SPOILS", ""))
REST = int(os.environ.get("SPOILS_REST", "0"))
_honest = StoreWorker.train


def train(self: StoreWorker, order: TrainOrder) -> Update:
    update = _honest(self, order)
    if not (PLACE / "asked").exists() or (PLACE / "spoiling").exists() or order.round % 2 != REST:
        return update
    write_text(PLACE / "spoiling", str(order.round))
    while not (PLACE / "go").exists():
        time.sleep(0.05)
    noise = torch.randn(order.params.shape, generator=torch.Generator().manual_seed(0))
    return replace(update, params=WEIGHT * noise)


StoreWorker.train = train  # type: ignore[method-assign]

if __name__ == "__main__":
    from fedshelf.client.main import main

    main()
