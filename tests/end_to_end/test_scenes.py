"""Stores with photos of scenes, each in a process of its own, train one locator of products."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.deployed import Command, free_port, history, summary, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.scene_files import annotation, coco_file, image, save_text

SIDE = 32
ROUNDS = 3
BOXES = [
    *("--model", "locator", "--set", "train.objective=boxes", "--set", f"data.image_size={SIDE}"),
    *("--set", "train.lr=0.02", "--set", "run.deliver=last", "--rounds", str(ROUNDS)),
]  # fmt: skip


def draw_scenes(store: Path, seed: int, count: int = 20) -> list[list[tuple[int, int, int, int]]]:
    """Photos with one to three bright rectangles; return their corners."""
    random = np.random.default_rng(seed)
    (store / "images").mkdir(parents=True)
    drawn = []
    for number in range(count):
        pixels = random.integers(0, 60, (SIDE, SIDE, 3), np.uint8)
        corners = []
        for column in range(int(random.integers(1, 4))):
            left, top = 10 * column + 1, int(random.integers(2, 12))
            corners.append((left, top, left + 8, top + 16))
            pixels[top : top + 16, left : left + 8] += np.uint8(150)
        Image.fromarray(pixels).save(store / f"images/{number}.png")
        drawn.append(corners)
    return drawn


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """Three stores whose tools wrote YOLO, COCO and Pascal VOC."""
    chain = tmp_path / "chain"
    for number, corners in enumerate(draw_scenes(chain / "yolo", seed=0)):
        lines = (
            f"0 {(left + right) / 2 / SIDE} {(top + bottom) / 2 / SIDE}"
            f" {(right - left) / SIDE} {(bottom - top) / SIDE}\n"
            for left, top, right, bottom in corners
        )
        save_text(chain / f"yolo/labels/{number}.txt", "".join(lines))
    drawn = draw_scenes(chain / "coco", seed=1)
    coco_file(
        chain / "coco/labels.json",
        [image(number, f"images/{number}.png", SIDE, SIDE) for number in range(len(drawn))],
        [
            annotation(number, [left, top, right - left, bottom - top])
            for number, corners in enumerate(drawn)
            for left, top, right, bottom in corners
        ],
    )
    for number, corners in enumerate(draw_scenes(chain / "voc", seed=2)):
        objects = "".join(
            f"<object><name>can</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for left, top, right, bottom in corners
        )
        save_text(
            chain / f"voc/images/{number}.xml",
            f"<annotation><filename>{number}.png</filename><size><width>{SIDE}</width>"
            f"<height>{SIDE}</height><depth>3</depth></size>{objects}</annotation>",
        )
    return chain


def serve(command: Starter, out: Path, port: int, *more: str) -> Command:
    return command("flower-server", "start", "--out", out, "--port", str(port), "--insecure", *more)


@pytest.mark.slow(minutes=1)
def test_real_stores_of_three_formats_train_the_simulated_locator_whoever_is_killed(
    command: Starter, stores: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    port = free_port()
    joined = {path.name: command.store(path, port) for path in sorted(stores.iterdir())}
    server = serve(command, out, port, "--stores", "3", *BOXES)
    wait_for(lambda: history(out))
    joined["coco"].kill()
    joined["coco"] = command.store(stores / "coco", port)
    wait_for(lambda: len(history(out)) > 1)
    server.kill()
    server = serve(command, out, port, "--resume")
    assert server.ends() == 0, server.text
    simulated = command(
        "flower-simulation", "run", "--dataset", stores, "--partition", "folder", *BOXES,
        "--set", "cohort.min_stores=3", "--out", tmp_path / "simulated",
    )  # fmt: skip
    assert simulated.ends() == 0, simulated.text
    told = summary(out)
    expected = summary(tmp_path / "simulated")
    assert told["weights_sha256"] == expected["weights_sha256"]
    assert (told["test"], told["per_store"]) == (expected["test"], expected["per_store"])
    assert [sorted(record["stores"]) for record in history(out)] == [
        ["coco", "voc", "yolo"]
    ] * ROUNDS
    joined["yolo"].says("Store yolo: 20 photos with")
    joined["yolo"].says("the global model reaches AP")
    audited = command("flower-client", "audit", "--name", "voc", "--json")
    assert audited.ends() == 0, audited.text
    events = [json.loads(line)["event"] for line in audited.lines]
    assert {"joined", "received", "sent"} <= set(events)


@pytest.mark.slow(minutes=0.5)
def test_stores_that_cannot_take_part_say_why_in_one_sentence(
    command: Starter, stores: Path, tmp_path: Path
) -> None:
    port = free_port()
    photos = tmp_path / "photos"
    for number in range(6):
        (photos / "boot").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(photos / f"boot/{number}.png")
    policy = tmp_path / "state/stores/strict/policy.toml"
    save_text(policy, 'classes = ["boot", "hat"]\n')
    names = {"plain": photos, "strict": stores / "voc", "good": stores / "yolo"}
    joined = {name: command.store(path, port, name) for name, path in names.items()}
    server = serve(command, tmp_path / "run", port, "--stores", "3", *BOXES)
    joined["plain"].says(f"{photos} has no labels of boxes; expected labels of boxes: YOLO")
    joined["strict"].says(
        "its classes (product) differ from those that the policy names (boot, hat)"
    )
    server.says("plain cannot take part: its images cannot be used; its own log says why.")
    server.says("strict cannot take part: its policy does not allow it (classes).")
    server.interrupt()
    server.ends()
    assert "Traceback" not in server.text + "".join(store.text for store in joined.values())
