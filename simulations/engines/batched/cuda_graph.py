"""One step on memory at fixed places, so that a CUDA device can record and replay it.

A step of a small network is some hundred short operations, and starting each takes the processor
longer than the device needs for it. A recorded step starts with a single call.
"""

from collections.abc import Callable
from typing import Any

import torch

from fedshelf.simulations.engines.batched.schedule import Inputs


class StepGraph:
    """A recorded `step` for inputs of one shape; all other memory that the step reads or writes
    must stay in place.
    """

    def __init__(self, step: Callable[[Inputs], None], inputs: Inputs) -> None:
        self._step = step
        self._inputs = Inputs(*(tensor.clone() for tensor in inputs))
        self._graph: torch.cuda.CUDAGraph | None = None

    def record(self, pool: Any) -> None:
        """Record the step, which has run before, without running it.

        Raises RuntimeError if it cannot be recorded.

        pool: memory (torch.cuda.graph_pool_handle()) that recorded steps share: each is done before
              the next begins
        """
        graph = torch.cuda.CUDAGraph()
        # other threads drive other devices
        with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):
            self._step(self._inputs)
        self._graph = graph

    def __call__(self, inputs: Inputs) -> None:
        """Run the step on a copy of `inputs`."""
        for static, new in zip(self._inputs, inputs, strict=True):
            static.copy_(new, non_blocking=True)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._step(self._inputs)
