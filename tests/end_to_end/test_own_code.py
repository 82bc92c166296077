"""Strategy, network, augmentation and metric of a package that is neither Fedshelf's nor sent."""

import json
from pathlib import Path

import pytest

from tests.helpers.deployed import draw_photos, free_port, history, summary
from tests.helpers.deployment_fixtures import Starter

MODULE = """
import numpy as np
import torch
from pydantic import Field
from torch import nn

import fedshelf


class HalfwaySettings(fedshelf.StrategySettings):
    way: float = Field(0.5, gt=0, le=1, description="share of the way to the mean")


class Halfway(fedshelf.Strategy):
    uses = frozenset({"weighting", "absent_classes"})
    settings: HalfwaySettings

    def server_step(self, params, combined, state, trainable):
        return torch.lerp(params, combined, self.settings.way), state


class Small(nn.Sequential):
    def __init__(self, num_classes, image_size):
        super().__init__(nn.Flatten(), nn.Linear(3 * image_size**2, num_classes))


def fade(pixels, numbers):
    return pixels * (1 - 0.2 * numbers[:, 0, None, None, None].float())


class TopTwo(fedshelf.Metric):
    name = "top2"

    def shape(self, classes):
        return (1,)

    def sums(self, outputs, targets):
        best = outputs.argsort(axis=1)[:, -2:]
        return np.array([(best == targets[:, None]).any(axis=1).sum()])

    def values(self, sums, counts):
        return {"top2": float(sums[0] / counts.num_examples)}
"""
NAMES = {
    "models": "chain_lab:Small",
    "strategies": "chain_lab:Halfway",
    "augmentations": "chain_lab:fade",
    "further_metrics": "chain_lab:TopTwo",
}
RUN = [
    "--model", NAMES["models"], "--strategy", NAMES["strategies"], "--set", "strategy.way=0.9",
    "--set", f"data.augmentation={NAMES['augmentations']}",
    "--set", f"evaluation.metrics={NAMES['further_metrics']}", "--classes", "boot,hat",
    "--stores", "1", "--rounds", "2",
]  # fmt: skip


@pytest.mark.slow(minutes=1)
def test_it_trains_where_it_is_installed_and_listed_and_nowhere_else(
    command: Starter, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "chain_lab.py").write_text(MODULE)
    command.environment["PYTHONPATH"] = str(site)
    listed = tmp_path / "state/stores/oslo"
    listed.mkdir(parents=True)
    (listed / "policy.toml").write_text(
        "".join(f"{key} = {json.dumps([name])}\n" for key, name in NAMES.items())
    )
    port = free_port()
    stores = {
        name: command.store(draw_photos(tmp_path / name, ["boot", "hat"], 20, seed), port)
        for seed, name in enumerate(("oslo", "rome"))
    }
    out = tmp_path / "run"
    server = command.server(out, port, *RUN)
    stores["rome"].says("install chain_lab here, if you trust it, add 'chain_lab:")
    assert server.ends() == 0, server.text
    assert summary(out)["status"] == "finished"
    assert [list(record["stores"]) for record in history(out)] == [["oslo"], ["oslo"]]
    assert 0.9 < history(out)[-1]["validation"]["top2"] <= 1
    assert "rome" in server.text
    audit = [
        json.loads(line)
        for line in (tmp_path / "state/stores/rome/audit.jsonl").read_text().splitlines()
    ]
    whys = {line["why"] for line in audit if line["event"] == "sent"}
    assert whys & {"policy models", "policy strategies"}
    assert NAMES["models"] in json.loads((out / "model.json").read_text()).values()
