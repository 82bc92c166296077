"""Steps as a CUDA device would record them, recorded on the CPU: a step as a list of operations on
fixed memory.

As in a CUDA graph, Python runs once, when the step is recorded: every number is as it was then,
every tensor is where it was then. That a step can be played again and again is therefore tested
without a device.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import strategies
from fedshelf.common.images.augment import trivial
from fedshelf.simulations.engines.batched import layers, training
from fedshelf.simulations.engines.batched.convolution import columns
from fedshelf.simulations.engines.batched.cuda_graph import StepGraph
from fedshelf.simulations.engines.batched.schedule import Inputs
from fedshelf.simulations.engines.batched.training import StackedTraining
from tests.helpers.simulated_stores import (
    CPU,
    Remembering,
    batched,
    federation,
    order,
    same,
    settings,
    start,
    trained,
)

# Operations that make the host wait for the device, or bring numbers of the host's to it.
WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "is_nonzero",
    "equal",
    "lift_fresh_copy",
    "bincount",
    "masked_select",
}


class Recording:
    """Stands for torch.cuda.CUDAGraph.

    Recording here also takes the step, so the first replay does not.
    """

    def __init__(self, traced: GraphModule, inputs: Inputs) -> None:
        self._traced = traced
        self._inputs = inputs
        self._taken = True

    def replay(self) -> None:
        if not self._taken:
            with torch.no_grad():
                self._traced(*self._inputs)
        self._taken = False


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[GraphModule]:
    """The steps recorded from now on, each at the second time that its shape comes up."""
    found: list[GraphModule] = []

    def record(self: StepGraph, _: Any) -> None:
        def step(*inputs: torch.Tensor) -> torch.Tensor:
            self._step(Inputs(*inputs))
            return inputs[0]

        found.append(make_fx(step)(*self._inputs))
        self._graph = Recording(found[-1], self._inputs)  # type: ignore[assignment]

    made = StackedTraining.__init__

    def recording(self: StackedTraining, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        self._pool = (0, 0)

    monkeypatch.setattr(StackedTraining, "__init__", recording)
    monkeypatch.setattr(StepGraph, "record", record)
    monkeypatch.setattr(training, "STEPS_BEFORE_RECORDING", 1)
    monkeypatch.setattr(layers, "fastest_form", lambda *_: columns)  # as on CUDA
    monkeypatch.setattr(trivial, "variant_for", lambda _: trivial.apply_to_all)
    monkeypatch.setattr(
        "fedshelf.common.strategies.STRATEGIES",
        {**strategies.STRATEGIES, "remembering": Remembering},
    )
    return found


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize(
    "changed",
    [
        {"data__rotation": 10, "data__contrast": 0.2},
        {
            "data__trivial_augment": True,
            "data__erasing": 0.5,
            "data__mixup": 0.5,
            "data__cutmix": 0.5,
        },
        {
            "strategy__name": "fedprox",
            "strategy__mu": 0.5,
            "train__momentum": 0,
            "train__clip_norm": 1.0,
        },
        {"strategy__name": "remembering", "train__lr": 0.003, "train__loss": "squared"},
        {"train__schedule": "step", "train__step_rounds": 2, "train__l1": 1e-4},
        {"train__schedule": "cosine", "train__backbone_lr": 0.5},
        {
            "train__optimizer": "adam",
            "train__lr": 0.001,
            "train__schedule": "cosine",
            "train__weight_decay": 0.01,
        },
        {
            "train__optimizer": "adamw",
            "train__lr": 0.001,
            "train__weight_decay": 0.1,
            "train__backbone_lr": 0.5,
        },
    ],
)
def test_recorded_steps_train_as_stores_do_alone(
    changed: dict, recorded: list[GraphModule], tmp_path: Path
) -> None:
    config = settings(model__name="niid-cnn", data__image_size=16, model__dropout=0.3, **changed)
    dealt = federation((13, 1, 29))
    begun = start(config)
    engine = batched(dealt, begun, tmp_path / "a")
    trainer = Trainer(CPU, StateStore(tmp_path / "b"))
    extras = {"drift": torch.full_like(begun.params, 1e-3)}
    counts = []
    for round, factor in ((1, 1.0), (2, 0.9), (3, 1.1), (4, 1.0)):
        asked = replace(
            order(begun, round, extras=extras, committed=round - 1), params=begun.params * factor
        )
        expected = {
            name: trainer.train(asked, name, data.train) for name, data in dealt.stores.items()
        }
        assert same(trained(engine, asked, list(dealt.stores)), expected)
        counts.append(len(recorded))
    assert counts[0] >= 2
    # each shape came up twice by then: another round or rate asks for no new recording
    assert counts[3] == counts[2]
    operations = {
        getattr(node.target, "_opname", "") for step in recorded for node in step.graph.nodes
    }
    assert {"bmm", "index_select"} & operations
    assert not WAITING & operations
