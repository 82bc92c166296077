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

STEPS = 800
STEP_SIZE = 0.1
TOTAL_VARIATION = 1e-2
_SLOWER_AT = (3 / 8, 5 / 8, 7 / 8)  # of the steps; each makes them ten times smaller


@dataclass(frozen=True)
class Inversion:
    """Redrawn photos of one update.

    Attributes:
        photos: number of photos that the update was trained on
        originals: uint8 [K, H, W, C], the first of them
        redrawn: uint8 [K, H, W, C], the likest of the redrawn ones of the same class, one for each
        decibels: peak signal-to-noise ratio of each of all photos with the likest redrawn one
    """

    photos: int
    originals: NDArray[np.uint8]
    redrawn: NDArray[np.uint8]
    decibels: tuple[float, ...]


def can_invert(view: ServerView) -> bool:
    """Return whether pixels can be looked for: stores train on them, by gradients."""
    return not view.closed_form and not view.pool.are_features


def invert(
    view: ServerView, photos: int, seed: int, done: Callable[[int, int], object], shown: int = 8
) -> Inversion:
    """Redraw the photos of an update.

    Args:
        view: the server's view; its pool has pixels
        photos: number of photos of the store
        seed: of the choice of photos and of the first guess
        done: called with (steps done, steps in all)
        shown: most photos that are returned
    """
    random = rng(seed, "reveal", "inversion", photos)
    chosen = np.sort(random.permutation(len(view.pool))[:photos])
    wanted = -view.change(chosen)[: view.start.layout.trainable]
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
        optimizer, [int(STEPS * share) for share in _SLOWER_AT], 0.1
    )
    for step in range(STEPS):
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
        done(step + 1, STEPS)
    redrawn = guess.detach()
    nearest, decibels = _nearest(pixels.float(), redrawn, labels)
    return Inversion(
        photos,
        pixels[:shown].numpy(),
        redrawn[nearest[:shown]].round().to(torch.uint8).numpy(),
        tuple(decibels),
    )


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
