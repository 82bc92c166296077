"""The store."""

import time

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from quickstart import task

torch.set_num_threads(1)
app = ClientApp()


def net_of(message: Message) -> task.Net:
    """Return the network with the weights of a message."""
    net = task.Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return net


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on local data."""
    net = net_of(message)
    settings = context.run_config
    images, labels = task.load(context.node_config["data"], "train")
    began = time.perf_counter()
    loss = task.train(
        net, images, labels, settings["batch-size"], settings["learning-rate"], settings["momentum"]
    )
    metrics = {
        "train_loss": loss,
        "seconds": time.perf_counter() - began,
        "num-examples": len(images),
    }
    content = RecordDict(
        {"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord(metrics)}
    )
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the model on local data."""
    images, labels = task.load(context.node_config["data"], "validation")
    loss, accuracy = task.test(net_of(message), images, labels)
    metrics = MetricRecord({"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(images)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)
