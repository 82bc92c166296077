"""Photos redrawn from an update: Geiping et al., "Inverting Gradients" (NeurIPS 2020).

The attacker looks for pixels whose gradient has the direction of the update: cosine distance, total
variation as a prior, and Adam on the signs of the gradient. It is given the labels, which the head
betrays anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedshelf.common.images.augment import normalise
from fedshelf.common.models.head import set_training
from fedshelf.common.seeding import derive, rng
from fedshelf.common.strategies.shared.class_skew import logit_offsets
from fedshelf.simulations.reveal.server_view import ServerView

INVERSION_STEPS = 800
STEP_SIZE = 0.1
TOTAL_VARIATION = 1e-2
CANDIDATES = 2000  # photos among which a redrawn one is looked for
_SLOWER_AT = (3 / 8, 5 / 8, 7 / 8)  # of the steps; each makes them ten times smaller


@dataclass(frozen=True)
class Inversion:
    """Redrawn photos of one update.

    Attributes:
        photos: number of photos of each store
        stores: number of stores in the sum; 1: it is a single update
        originals: uint8 [K, H, W, C], the first of them
        redrawn: uint8 [K, H, W, C], the likest of the redrawn ones of the same class, one for each
        decibels: peak signal-to-noise ratio of each of all photos with the likest redrawn one
        named: number of photos that a redrawn one is nearer to than to any other of `candidates`
        candidates: number of photos among which they are looked for
    """

    photos: int
    stores: int
    originals: NDArray[np.uint8]
    redrawn: NDArray[np.uint8]
    decibels: tuple[float, ...]
    named: int
    candidates: int


def can_invert(view: ServerView) -> bool:
    """Return whether pixels can be looked for: stores train on them, by gradients."""
    return not view.closed_form and not view.pool.are_features


def invert(
    view: ServerView, photos: int, seed: int, done: Callable[[int, int], object], shown: int = 8
) -> Inversion:
    """Redraw the photos of an update, or of a sum of updates of stores with as many photos each.

    Args:
        view: the server's view; its pool has pixels
        photos: number of photos of a store
        seed: of the choice of photos and of the first guess
        done: called with (steps done, steps in all)
        shown: most photos that are returned
    """
    random = rng(seed, "reveal", "inversion", photos)
    shuffled = random.permutation(len(view.pool))
    sets = np.split(shuffled[: photos * view.stores], view.stores)
    summed = torch.stack([view.change(photos_of_one) for photos_of_one in sets]).mean(dim=0)
    wanted = -summed[: view.start.layout.trainable]
    chosen = np.concatenate([np.sort(photos_of_one) for photos_of_one in sets])
    others = shuffled[len(chosen) : len(chosen) + CANDIDATES - len(chosen)]
    pixels, labels = view.pool.batch(torch.from_numpy(chosen))
    network = view.trainer.network(view.start.plan)
    network.load(view.order.params)
    set_training(network.module, mode=False)
    spec = network.spec
    absent = view.start.plan.config.strategy.absent
    images = view.pool.select(torch.from_numpy(chosen))
    offsets = logit_offsets(images, len(spec.classes), absent)
    parameters = [each for each in network.module.parameters() if each.requires_grad]
    generator = torch.Generator().manual_seed(derive(seed, "reveal", "guess", photos))
    guess = torch.rand(pixels.shape, generator=generator).mul_(255).requires_grad_()
    optimizer = torch.optim.Adam([guess], lr=STEP_SIZE * 64)  # a normalised pixel has about 64
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [int(INVERSION_STEPS * share) for share in _SLOWER_AT], 0.1
    )
    for step in range(INVERSION_STEPS):
        optimizer.zero_grad()
        inputs = normalise(guess, spec.mean, spec.std)
        scores = network.module(inputs)
        loss = functional.cross_entropy(scores if offsets is None else scores + offsets, labels)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        gradient = torch.cat([each.reshape(-1) for each in gradients])
        distance = 1 - functional.cosine_similarity(gradient, wanted, dim=0)
        (distance + TOTAL_VARIATION * _variation(inputs)).backward()
        assert guess.grad is not None
        guess.grad.sign_()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            guess.clamp_(0, 255)
        done(step + 1, INVERSION_STEPS)
    redrawn = guess.detach()
    nearest, decibels = _nearest(pixels.float(), redrawn, labels)
    other_pixels, _ = view.pool.batch(torch.from_numpy(others))
    return Inversion(
        photos,
        view.stores,
        pixels[:shown].numpy(),
        redrawn[nearest[:shown]].round().to(torch.uint8).numpy(),
        tuple(decibels),
        _count_named(pixels.float(), other_pixels.float(), redrawn),
        len(chosen) + len(others),
    )


def _count_named(originals: Tensor, others: Tensor, redrawn: Tensor) -> int:
    """Return how many originals are the nearest of all photos to a redrawn one, or to its mirror
    image.

    Args:
        originals: float32 [N, H, W, C], 0 to 255
        others: float32 [M, H, W, C], photos that the server has beside them
        redrawn: of the shape of the originals
    """
    candidates = torch.cat([originals, others]).flatten(1)
    both = torch.cat([redrawn, redrawn.flip(2)]).flatten(1)
    nearest = torch.cdist(both, candidates).view(2, len(redrawn), -1).amin(dim=0).argmin(dim=1)
    return len({index for index in nearest.tolist() if index < len(originals)})


def _variation(inputs: Tensor) -> Tensor:
    """Return the mean difference of neighbours: [B, C, H, W] to a scalar."""
    down = (inputs[:, :, 1:] - inputs[:, :, :-1]).abs().mean()
    along = (inputs[..., 1:] - inputs[..., :-1]).abs().mean()
    return down + along


def _nearest(originals: Tensor, redrawn: Tensor, labels: Tensor) -> tuple[list[int], list[float]]:
    """Return the likest redrawn photo of the same class, and its PSNR in dB, for each original.

    Photos of one class may come out in another order, and mirrored, as training flips them.

    Args:
        originals: float32 [N, H, W, C], 0 to 255
        redrawn: of the same shape
        labels: int64 [N]
    """
    nearest = []
    decibels = []
    for index, original in enumerate(originals):
        same = [other for other in range(len(labels)) if labels[other] == labels[index]]
        errors = [
            min(
                float((redrawn[other] - either).square().mean())
                for either in (original, original.flip(1))
            )
            for other in same
        ]
        best = int(np.argmin(errors))
        nearest.append(same[best])
        decibels.append(float(-10 * np.log10(errors[best] / 255**2 + 1e-12)))
    return nearest, decibels
