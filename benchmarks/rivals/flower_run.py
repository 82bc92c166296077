"""Flower's simulation on its Ray backend at its best: one core and thread a client, tensors loaded.

`run_simulation` starts it in this process, which is quicker than `flwr run` (that starts a
SuperLink first) and leaves nothing running; the simulation inside is the same.
"""

import functools
import os
import time
import traceback
from types import SimpleNamespace

import networks
import protocol
import torch
from bare import train
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation


@functools.cache
def preloaded(file: str, stores: int, seed: int) -> tuple:
    """Return images, labels and each store's positions, loaded once for all clients of an actor."""
    torch.set_num_threads(1)
    x, y = protocol.load(file, "train")
    return x, y, protocol.assign_images(len(y), stores, seed)


def client_app(task: SimpleNamespace) -> ClientApp:
    """Return an app that trains on the images of its partition."""
    app = ClientApp()

    @app.train()
    def fit(message: Message, context: Context) -> Message:
        x, y, parts = preloaded(task.data, task.stores, task.seed)
        part = parts[int(context.node_config["partition-id"])]
        model = networks.build(task.model)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        train(model, x[part], y[part], task)
        metrics = MetricRecord({"num-examples": len(part)})
        content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
        return Message(content=content, reply_to=message)

    return app


class Timed(FedAvg):
    """FedAvg that notes the begin of a round's training and the time of its new model."""

    def configure_train(self, server_round, arrays, config, grid):
        self.began = time.perf_counter()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        if failed := [reply.error.reason for reply in replies if reply.has_error()]:
            raise RuntimeError(failed[0])
        aggregated = super().aggregate_train(server_round, replies)
        self.seconds = time.perf_counter() - self.began
        self.images = sum(int(reply.content["metrics"]["num-examples"]) for reply in replies)
        return aggregated


def server_app(task: SimpleNamespace) -> ServerApp:
    """Return an app that trains, evaluates, and prints a line for each round."""
    app = ServerApp()

    @app.main()
    def serve(grid: Grid, _: Context) -> None:
        strategy = Timed(fraction_train=task.cohort / task.stores, fraction_evaluate=0.0)
        test = protocol.load(task.data, "test")
        model = networks.build(task.model)

        def evaluate(number: int, arrays: ArrayRecord) -> None:
            if not number:
                return
            score = None
            if protocol.is_evaluated(number, task):
                model.load_state_dict(arrays.to_torch_state_dict())
                score = protocol.accuracy(model, *test)
            protocol.report(number, task.epochs * strategy.images, strategy.seconds, score)

        strategy.start(
            grid, ArrayRecord(model.state_dict()), num_rounds=task.rounds, evaluate_fn=evaluate
        )

    return app


def main() -> None:
    """Run the simulation."""
    task = protocol.work()
    torch.manual_seed(task.seed)
    run_simulation(
        server_app(task),
        client_app(task),
        num_supernodes=task.stores,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {
                "num_cpus": task.processes,
                "include_dashboard": False,
                "address": "local",
            },
        },
    )


if __name__ == "__main__":
    import flower_run  # the actors find functions by module and name, and have another __main__

    try:
        flower_run.main()
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # Flower's server thread would wait for nodes for ever
