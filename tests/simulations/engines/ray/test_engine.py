"""The engine `ray`: clear refusals, and the same results as on one machine on nodes that come and
go.
"""

import http.server
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError, FedshelfError, NetworkError, RunError
from fedshelf.common.protocol.messages import EvaluateOrder, TrainOrder, Update
from fedshelf.server.training.setup import prepare
from fedshelf.simulations import engines
from fedshelf.simulations.engines.ray.connect import connect
from fedshelf.simulations.federation import federation
from tests.helpers.descendants import descendants, listening
from tests.helpers.ray_nodes import HERE, node, ray_cluster
from tests.helpers.simulation_command import SMALL, run_process, start, summary

ROOT = Path(__file__).parents[4]


def refusal(address: str) -> FedshelfError:
    with pytest.raises(FedshelfError) as raised:
        connect(address)
    return raised.value


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:70000", "ray://head:port"])
def test_an_address_of_another_form_is_one_clear_sentence(address):
    error = refusal(address)
    assert isinstance(error, ConfigError)
    assert f"run.ray_address got {address!r}; expected HOST:PORT" in str(error)


def test_an_address_where_no_cluster_is_says_so_at_once():
    with socket.socket() as free:
        free.bind((HERE, 0))
        address = f"{HERE}:{free.getsockname()[1]}"
    error = refusal(address)
    assert isinstance(error, NetworkError)
    assert f"No Ray cluster answers at {address}" in str(error)
    with http.server.HTTPServer((HERE, 0), http.server.SimpleHTTPRequestHandler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        error = refusal(f"{HERE}:{web.server_port}")
        web.shutdown()
    assert "is not Ray" in str(error)


def test_an_address_chooses_the_engine():
    def chosen(**settings: str) -> str:
        given = {"model.name": "niid-cnn", "data.image_size": 32} | {
            f"run.{key}": v for key, v in settings.items()
        }
        return engines.choose(prepare(resolve(given), ("a", "b"), 3))

    assert chosen() == "sequential"
    assert chosen(ray_address="head:6379") == "ray"
    assert chosen(ray_address="head:6379", engine="sequential") == "sequential"


# --- on a cluster of several node processes, all on the loopback interface ------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without CPUs, for the driver, and two nodes with one CPU each."""
    with ray_cluster() as made:
        for _ in range(2):
            made.add_node(**node(num_cpus=1), wait=False)
        made.wait_for_nodes()
        yield made


UNEVEN = [
    "--dataset",
    "shelf",
    "--stores",
    "5",
    "--partition",
    "dirichlet:0.3",
    "--strategy",
    "fedprox",
]
SETTINGS = [
    "model.dropout=0.2", "data.crop=2", "data.holdout=0.2", "train.epochs=2", "cohort.fraction=0.8",
    "messages.compression=int8",
]  # fmt: skip


@pytest.mark.slow(minutes=0.5)
def test_a_cluster_gives_the_same_result_as_one_machine(cluster: Any, tmp_path: Path) -> None:
    arguments = [
        *UNEVEN,
        *(word for setting in SETTINGS for word in ("--set", setting)),
        *SMALL[4:],
        "--rounds",
        "2",
    ]
    here = run_process("run", *arguments, "--out", tmp_path / "here")
    there = run_process(
        "run", *arguments, "--ray-address", cluster.address, "--out", tmp_path / "there"
    )
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    ours = summary(tmp_path / "here")
    theirs = summary(tmp_path / "there")
    for key in ("weights_sha256", "test", "per_store", "best"):
        assert ours[key] == theirs[key], key
    assert "Warning" not in there.stderr
    nodes = {
        info.process.pid
        for made in cluster.list_all_nodes()
        for info in made.all_processes["raylet"]
    }
    assert nodes <= descendants(os.getpid())
    assert listening(descendants(os.getpid())) == {HERE}


@pytest.mark.slow(minutes=0.5)
def test_a_node_that_has_something_else_is_named(cluster: Any, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "fedshelf", tmp_path / "other" / "fedshelf")
    with (tmp_path / "other" / "fedshelf" / "common" / "names.py").open("a") as code:
        code.write("# changed\n")
    other = cluster.add_node(**node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path / "other")}))
    refused = run_process(
        "run", *SMALL, "--ray-address", cluster.address, "--out", tmp_path / "run", cwd=tmp_path
    )
    assert refused.returncode == RunError.exit_code, refused.stderr
    assert "of the Ray cluster has Fedshelf" in refused.stderr
    assert "install it there" in refused.stderr
    assert "Traceback" not in refused.stderr
    cluster.remove_node(other)


@pytest.mark.slow(minutes=0.5)
def test_nodes_come_and_go(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Round 2 loses a node, round 3 gets another and loses the second; stores remember
    throughout.
    """
    from tests.helpers.remembering import RunId

    config = resolve(
        {
            "data.stores": 6, "data.partition": "dirichlet:0.5", "data.crop": 2,
            "data.image_size": 32, "data.holdout": 0.1, "model.name": "niid-cnn",
            "strategy.name": "remembering", "run.workers": 1, "run.device": "cpu",
            "run.ray_address": cluster.address,
        }
    )  # fmt: skip
    first, second = list(cluster.worker_nodes)
    stores = federation.build(config, image_size=32, channels=3)
    begun = prepare(config, stores.classes, 3).identified(RunId("remembering"))
    here = engines.find("sequential")(stores, begun, tmp_path / "here")
    there = engines.find("ray")(stores, begun, tmp_path / "there")
    try:
        params = begun.params
        for number, leaves in ((1, None), (2, first), (3, second)):
            if number == 3:
                cluster.add_node(**node(num_cpus=1))
            order = TrainOrder(begun.plan, number, params, committed=number - 1)
            ours = {answer.store: kept(answer) for answer in here.train(order, list(stores.stores))}
            theirs = {}
            for answer in there.train(order, list(stores.stores)):
                theirs[answer.store] = kept(answer)
                if leaves is not None and len(theirs) == 1:
                    cluster.remove_node(leaves, allow_graceful=False)
            assert list(map(sorted, (ours, theirs))) == [sorted(stores.stores)] * 2
            assert [store for store in ours if not same(ours[store], theirs[store])] == [], (
                f"round {number}"
            )
            params = torch.stack([answer["params"] for _, answer in sorted(theirs.items())]).mean(0)
        judged = EvaluateOrder(begun.plan, 3, params)
        ours, theirs = (
            {e.store: e.counts.scalars() for e in at.evaluate(judged, list(ours))}
            for at in (here, there)
        )
        assert ours == theirs
        at_both = [at.evaluate_test_set(params, (1.0, 2.0)) for at in (here, there)]
        assert len({counts.loss_sum for counts in at_both}) == 1
        assert len({counts.reliability.nll.tobytes() for counts in at_both}) == 1
        assert len({counts.reliability.energies.tobytes() for counts in at_both}) == 1
        # the last node goes too
        monkeypatch.setattr("fedshelf.simulations.engines.ray.workers.NODE_TIMEOUT_SECONDS", 1.0)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        with pytest.raises(RunError, match=r"no worker left .* go on with --resume"):
            there.evaluate_test_set(params)
    finally:
        there.close()
        here.close()
        cluster.add_node(**node(num_cpus=1))


def kept(answer: Any) -> dict[str, torch.Tensor]:
    """Return copies of an update's tensors: the sequential engine uses its shared memory again."""
    assert isinstance(answer, Update), answer
    return {"params": answer.params.clone(), "loss": torch.tensor(answer.loss), **answer.extras}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow(minutes=0.5)
def test_ctrl_c_ends_after_the_round_and_leaves_nothing_running(tmp_path: Path) -> None:
    running = start(
        "run",
        *SMALL,
        "--engine",
        "ray",
        "--rounds",
        "500",
        "--out",
        tmp_path / "run",
        process_group=0,
    )
    lines = tmp_path / "run" / "history.jsonl"
    while running.poll() is None and not (lines.exists() and lines.read_bytes().endswith(b"\n")):
        time.sleep(0.1)
    below = descendants(running.pid)
    assert listening(below | {running.pid}) == {HERE}
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of the group
    _, errors = running.communicate(timeout=240)
    assert running.returncode == 130, errors
    assert summary(tmp_path / "run")["status"] == "stopped"
    assert len(below) > 4
    deadline = time.monotonic() + 120
    while left := {pid for pid in below if Path(f"/proc/{pid}").exists()}:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
