"""The store as a Flower ClientApp, for Flower's own SuperNode: a store named in the node's
configuration.
"""

from flwr.app import Context

from fedshelf.client.process.handler import make_app
from fedshelf.client.worker.protocol import Worker


def _configured_worker(context: Context) -> Worker:
    """Return the resident worker of the store in the node's configuration (`store`, `data`,
    `device`).
    """
    from fedshelf.client.policy.enforcement import PolicyWorker  # these load torch and torchvision
    from fedshelf.client.process.factory import disclosure, policy_enforcer, store_worker

    worker = store_worker(context.node_config)
    return PolicyWorker(worker, policy_enforcer(worker.name), disclosure(worker.name))


app = make_app(_configured_worker)
