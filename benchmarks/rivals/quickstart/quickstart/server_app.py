"""The server."""

import json
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from quickstart.task import Net

app = ServerApp()


def slowest(contents: list[RecordDict], _: str) -> MetricRecord:
    """Return the seconds of training at the slowest store."""
    return MetricRecord({"seconds": max(content["metrics"]["seconds"] for content in contents)})


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with all stores; write a line for each round for the benchmark."""
    stores = context.run_config["stores"]
    out = Path(context.run_config["out"])

    def note(number: int, _: ArrayRecord) -> None:
        with (out / "rounds.jsonl").open("a") as file:
            file.write(json.dumps({"round": number}) + "\n")

    strategy = FedAvg(
        fraction_evaluate=1.0, min_train_nodes=stores, min_evaluate_nodes=stores,
        min_available_nodes=stores, train_metrics_aggr_fn=slowest,
    )  # fmt: skip
    initial = ArrayRecord(Net().state_dict())
    rounds = context.run_config["num-server-rounds"]
    result = strategy.start(grid=grid, initial_arrays=initial, num_rounds=rounds, evaluate_fn=note)
    figures = {
        "seconds": {
            number: metrics["seconds"] for number, metrics in result.train_metrics_clientapp.items()
        },
        "accuracy": {
            number: metrics["eval_acc"]
            for number, metrics in result.evaluate_metrics_clientapp.items()
        },
    }
    (out / "result.json").write_text(json.dumps(figures))
