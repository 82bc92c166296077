"""A store's part of a strategy in closed form: one pass over its images, and no training."""

import torch
from torch import Tensor
from torch.nn import functional

from fedshelf.common.images.types import Images
from fedshelf.common.training.evaluate import features
from fedshelf.common.training.fit import LocalTrainingResult, LocalTrainingTask, Network


def head_inputs(network: Network, images: Images, batch_size: int) -> Tensor:
    """Return the input of the network's head for each view of each image, in evaluation mode.

    Args:
        network: changed to evaluation mode
        images: N images whose array is on the network's device
        batch_size: images in a batch

    Returns:
        Float32 [V, N, D] on the device: the views that features are kept of, or the image alone.
    """
    if images.are_features:
        return images.inputs.index_select(0, images.rows).transpose(0, 1)
    return features(network, images, batch_size)[None]


def summarise(network: Network, images: Images, task: LocalTrainingTask) -> LocalTrainingResult:
    """Return the strategy's sums over a store's images; the weights stay as the order has them.

    The loss is that of the order's model on these images. An image with several views counts once:
    each view has an equal part in the sums.

    Args:
        network: holds the order's weights afterwards
        images: the store's training images, at least one, whose array is on the network's device
        task: settings, strategy and start

    Raises:
        torch.OutOfMemoryError: a batch of `evaluation.batch_size` does not fit into the memory.
    """
    assert len(images) > 0, "a store without training images is left out before"
    network.load(task.start)
    views = head_inputs(network, images, task.config.evaluation.batch_size)
    targets = images.targets().to(network.device)
    with torch.inference_mode():
        scores = network.module.get_submodule(network.layout.head)(views[0])
        loss = float(functional.cross_entropy(scores, targets))
    params = network.vector.detach().to("cpu", copy=True)
    sums = [task.strategy.summarise(view, targets) for view in views]
    extras = {
        name: torch.stack([of_view[name] for of_view in sums]).mean(dim=0) for name in sums[0]
    }
    return LocalTrainingResult(params, loss, len(images), 0, extras, task.state)
