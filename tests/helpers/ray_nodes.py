"""A Ray cluster of several node processes on this machine, all of them on the loopback
interface.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

HERE = "127.0.0.1"


@contextmanager
def ray_cluster(cpus: int = 0) -> Iterator[Any]:
    """A cluster whose head, the driver's node, has `cpus` CPUs; skips the test where Ray is not
    installed.
    """
    ray = pytest.importorskip("ray")
    from ray._private import ray_constants, utils
    from ray.cluster_utils import Cluster

    settings = {
        "health_check_initial_delay_ms": 500,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 4,
        # Ray's default of 15 starves workers on a machine that does something else, too.
        "worker_niceness": 0,
    }
    with pytest.MonkeyPatch.context() as patch:
        # as our engine does by STAY_HERE, before an import
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        # Ray notes its address for the whole machine: whoever starts Ray without an address would
        # join this cluster.
        patch.setattr(utils, "write_ray_address", lambda *_: None)
        made = Cluster(
            initialize_head=True, head_node_args=node(num_cpus=cpus, _system_config=settings)
        )
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def node(**options: Any) -> dict[str, Any]:
    """Options of a node."""
    return {
        "node_ip_address": HERE,
        "include_dashboard": False,
        "object_store_memory": 80_000_000,
    } | options
