"""The comparison of deployments: its arithmetic, what it reads, what it counts, and whom it finds
to kill.
"""

import argparse
import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import data, deployment, sides
from benchmarks.deployment import Mark
from benchmarks.wire import Wire
from tests.helpers.benchmark_command import play


def test_a_round_is_the_median_of_those_between_the_first_and_the_last() -> None:
    marks = {
        0: Mark(0.0, 0, 0, 0.0),
        1: Mark(10.0, 900, 900, 5.0),
        2: Mark(12.0, 1200, 1500, 6.0),  # 2 s
        3: Mark(18.0, 1500, 2100, 9.0),  # 6 s
        4: Mark(22.0, 2100, 2700, 10.0),  # 4 s
        5: Mark(22.5, 3000, 6000, 99.0),
    }
    found = deployment.per_round(marks, {1: 9.0, 2: 0.5, 3: 1.0, 4: 1.5, 5: 0.1}, stores=3)
    assert found == {"round": 4.0, "overhead": 2.5, "cpu": 1.0, "up": 200.0, "down": 400.0}


def test_a_line_counts_once_it_is_whole() -> None:
    assert deployment.last_round(b"") == -1
    assert deployment.last_round(b'{"round": 1, "lr"') == -1
    assert deployment.last_round(b'{"round": 1}\n{"round": 2}\n{"round": 3') == 2


def test_our_history_tells_the_slowest_store() -> None:
    record = {
        "round": 4,
        "stores": {"a": {"seconds": 0.25}, "b": {"seconds": 0.75}},
        "validation": {"accuracy": 0.5},
        "seconds": {"train": 1.0, "total": 2.0},
    }
    assert sides.rounds_of(json.dumps(record) + "\n") == {4: sides.Played(0.75, 0.5, 2.0)}


def test_programs_are_found_whatever_runs_them() -> None:
    assert "flwr-serverapp" in sides.program(
        b"/usr/bin/python3\0/venv/bin/flwr-serverapp\0--token\0x\0"
    )
    assert "flower-superlink" in sides.program(b"/venv/bin/flower-superlink --insecure")
    assert "flower-superlink" not in sides.program(b"python\0run.py\0flower-superlink\0")
    assert sides.program(b"") == set()


def test_who_cannot_be_killed_is_named() -> None:
    options = argparse.Namespace(kill="store,server", rounds=3)
    assert deployment.victims_of(options) == ["store", "server"]
    with pytest.raises(
        SystemExit, match="got 'clerk'; expected some of store, app, superlink, server"
    ):
        deployment.victims_of(argparse.Namespace(kill="store,clerk", rounds=3))
    with pytest.raises(SystemExit, match="expected 3 or more"):
        deployment.victims_of(argparse.Namespace(kill=None, rounds=2))


def test_the_wire_counts_what_passes_each_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Wire(server.getsockname()[1]) as wire:
        with socket.create_connection(("127.0.0.1", wire.port)) as store:
            far, _ = server.accept()
            with far:
                sender = threading.Thread(target=store.sendall, args=(b"x" * 300_000,))
                sender.start()
                got = far.recv(300_000, socket.MSG_WAITALL)
                sender.join()
                far.sendall(b"y" * 7)
                assert store.recv(7, socket.MSG_WAITALL) == b"y" * 7
                store.shutdown(socket.SHUT_WR)
                assert far.recv(1) == b""  # the other way still works
                far.sendall(b"bye")
                assert store.recv(3, socket.MSG_WAITALL) == b"bye"
        assert len(got) == 300_000
        assert (wire.up, wire.down) == (300_000, 10)


def test_the_wire_drops_whoever_calls_a_server_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with Wire(port) as wire, socket.create_connection(("127.0.0.1", wire.port)) as store:
        with suppress(ConnectionResetError):
            assert store.recv(1) == b""
        assert (wire.up, wire.down) == (0, 0)


def test_both_sides_get_the_same_images(tmp_path: Path) -> None:
    """And no image twice."""
    labels = np.repeat(np.arange(10), 30)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", train_pixels=pixels, train_labels=labels)
    folders = data.write_store_folders(tmp_path / "images.npz", stores=2, images=20, into=tmp_path)
    known = {image.tobytes(): int(label) for image, label in zip(pixels, labels, strict=True)}
    seen = []
    for folder in folders:
        tensors = torch.load(folder.with_suffix(".pt"), weights_only=True)
        for split, count in (("train", 20), ("validation", 100)):
            photos = {}
            for path in (folder / split).rglob("*.png"):
                image = np.array(Image.open(path)).transpose(2, 0, 1)
                photos[image.tobytes()] = int(path.parent.name.removeprefix("class-"))
            assert len(photos) == count
            assert all(known[image] == label for image, label in photos.items())
            back = ((tensors[f"{split}_images"] * 0.25 + 0.5) * 255).round().to(torch.uint8).numpy()
            pairs = zip(back, tensors[f"{split}_labels"].tolist(), strict=True)
            assert {image.tobytes(): label for image, label in pairs} == photos
            seen += list(photos)
    assert len(set(seen)) == len(seen) == 240
    with pytest.raises(
        SystemExit, match="3 stores of 20 images do not work out: tens are needed, and 30 a class"
    ):
        data.write_store_folders(
            tmp_path / "images.npz", stores=3, images=20, into=tmp_path / "more"
        )


@pytest.mark.slow(minutes=0.5)
def test_ours_is_measured(tmp_path: Path) -> None:
    settings = [
        "--data",
        "shelf",
        "--rounds",
        "3",
        "--stores",
        "2",
        "--images",
        "100",
        "--times",
        "1",
    ]
    play("deployment", *settings, "--only", "ours (plain", "--json", str(tmp_path / "found.json"))
    [sample] = json.loads((tmp_path / "found.json").read_text())["samples"]["ours (plain HTTP)"]
    assert 0 < sample["overhead"] < sample["round"]
    assert 62_006 * 4 < sample["up"] < 62_006 * 5
    assert sample["down"] > 62_006 * 8  # a model to train, and one to judge
    assert sample["cpu"] > 0
