"""Stores that are taken out of the chain while the server asks them, on Flower's own grid."""

import json
import os
import subprocess
from pathlib import Path
from threading import Thread

import pytest
import tomli_w

from fedshelf.client.identity.enrolment import load_or_enrol
from fedshelf.common.protocol.kit import Kit
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.launcher.flower_server import CONNECTION_NAME
from tests.helpers.deployed import SCRIPTS, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.provisioned import running, say_what_is_here

pytestmark = pytest.mark.slow(minutes=0.5)

STORES = ("mitte", "ost", "süd 2")
APP = '''
import json
import time
from pathlib import Path

from flwr.serverapp import ServerApp

from fedshelf.common.config import resolve
from fedshelf.common.system.files import write_json
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.server.training import setup
from fedshelf.server.ipc.run_mailbox import RunFiles, RunMailbox
from fedshelf.server.grid.runtime import GridRuntime

app = ServerApp()


def wait_for(condition):
    while not condition():
        time.sleep(0.05)


@app.main()
def main(grid, context):
    """Look who is there, wait until told, order these stores to train, and tell their answers."""
    place, stores = Path(context.run_config["place"]), json.loads(context.run_config["stores"])
    settings = {"data.image_size": 32, "train.epochs": 1, "train.batch_size": 16}
    settings["model.name"] = "niid-cnn"
    config = resolve({"data.dataset": "stores", "cohort.timeout": 3600.0}, settings)
    files = RunFiles(enrolled=RunMailbox(place).enrolled)
    runtime = GridRuntime(grid, config, "run", print, files)
    wait_for(lambda: set(runtime.stores()) == set(stores))
    start = setup.prepare(config, ("boot", "hat", "shirt"), 3).identified("run")
    asked = sorted(runtime.stores())
    (place / "looked").touch()
    wait_for((place / "go").exists)
    answers = runtime.train(TrainOrder(start.plan, 1, start.params), asked)
    told = {answer.store: getattr(answer, "code", "trained") for answer in answers}
    write_json(place / "told.json", told)
'''


def submit(place: Path) -> None:
    """Let Flower run APP, as `flower-server` lets it run ours: stores refuse a bundle with code in
    it.
    """
    bundle = place / "bundle"
    bundle.mkdir()
    components = {"serverapp": "asking:app", "clientapp": "fedshelf.client.app:app"}
    config = {"place": str(place), "stores": json.dumps(STORES)}
    told = {"publisher": "fedshelf", "components": components, "config": config}
    project = {"name": "fedshelf-run", "version": "1.0.0", "license": "Apache-2.0"}
    (bundle / "pyproject.toml").write_text(
        tomli_w.dumps({"project": project, "tool": {"flwr": {"app": told}}})
    )
    environment = os.environ | {
        "FLWR_HOME": str(place / "flower" / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
    }
    environment |= {"PATH": os.pathsep.join([str(SCRIPTS), os.environ["PATH"]])}
    subprocess.run(
        [SCRIPTS / "flwr", "run", bundle, CONNECTION_NAME], env=environment, check=True, timeout=120
    )


def revoke(chain: Chain, place: Path, *stores: str) -> None:
    """Take the stores out of the chain, and wait until the SuperLink knows."""
    for store in stores:
        chain.stores.revoke(store)
    log = place / "flower" / "clerk.log"
    wait_for(
        lambda: all(f"{store} is not registered any more" in log.read_text() for store in stores)
    )


def test_orders_to_stores_revoked_since_the_look_are_known_at_once_to_be_in_vain(
    command: Starter, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at the same time: Flower has one name, none, for both orders. The third store, a whole
    one, trains all the same.
    """
    (code := tmp_path / "code").mkdir()
    (code / "asking.py").write_text(APP)
    monkeypatch.setenv("PYTHONPATH", str(code))
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "others"))
    with running(tmp_path, *STORES) as (chain, _):
        for name in ("mitte", "ost"):
            credentials = load_or_enrol(Kit.read(chain.kit_path(name)), wait=30)
            info = StoreInfo(name, {"boot": 24, "hat": 24}, 0, 0)
            Thread(target=say_what_is_here, args=(credentials, info), daemon=True).start()
        command(
            "flower-client", "join", "--kit", chain.kit_path("süd 2"), "--data", folders["süd 2"]
        )
        submit(tmp_path)
        wait_for((tmp_path / "looked").exists)
        revoke(chain, tmp_path, "mitte", "ost")
        (tmp_path / "go").touch()
        wait_for((tmp_path / "told.json").exists)  # without that, an hour later
        answers = json.loads((tmp_path / "told.json").read_text())
        assert answers == {"mitte": "unavailable", "ost": "unavailable", "süd 2": "trained"}
