"""Predictions of finished models."""

import torch
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.images.types import Images
from fedshelf.common.models.head import set_training
from fedshelf.common.models.saved import SavedModel
from fedshelf.common.training.evaluate import scores
from fedshelf.common.training.fit import Network


def load(saved: SavedModel, device: torch.device) -> Network:
    """Return a network with the weights of a saved model.

    Raises:
        DataError: the weights do not fit the network that the file names.
    """
    network = Network(saved.spec, device)
    try:
        network.module.load_state_dict(saved.tensors)
    except RuntimeError:
        raise DataError(
            f"{saved.path} does not hold the weights of the model {saved.spec.name} that it names;"
            " it is damaged or was written by another version."
        ) from None
    return network


def log_probabilities(network: Network, images: Images, batch_size: int) -> Tensor:
    """Return log p(class | image) by the network's present weights.

    Args:
        network: changed to evaluation mode
        images: N images
        batch_size: images in a batch

    Returns:
        Float32 [N, C] on the CPU, in the order of the images.
    """
    set_training(network.module, mode=False)
    log_probs = torch.empty(len(images), len(network.spec.classes))
    with torch.inference_mode():
        for positions in torch.arange(len(images)).split(batch_size):
            rows = images.rows[positions.to(images.rows.device)]
            log_probs[positions] = scores(network, images, rows).float().log_softmax(dim=1).cpu()
    return log_probs
