"""The learning rate over rounds."""

import math

import torch

from fedshelf.common.config import RunConfig, TrainConfig

LEAST = torch.finfo(torch.float32).tiny  # smaller numbers lose digits in float32, and then become 0


def learning_rate(config: TrainConfig, round: int, rounds: int) -> float:
    """Return the learning rate of `round` (from 1) of `rounds`; it never rises.

    step: lr factor^floor((round - 1) / step_rounds)
    cosine: from lr in the first round to final_lr * lr in the last (Loshchilov and Hutter 2017,
        Equation 5)
    """
    if config.schedule == "step":
        return config.lr * config.step_factor ** ((round - 1) // config.step_rounds)
    if config.schedule == "cosine":
        progress = (round - 1) / max(1, rounds - 1)
        return config.lr * (
            config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * progress)) / 2
        )
    return config.lr


def standstill(config: RunConfig) -> int | None:
    """Return the first round of a run in which the learning rate is 0 in float32; None: there is
    none.
    """
    rounds = config.run.rounds
    if learning_rate(config.train, rounds, rounds) >= LEAST:
        return None
    return next(
        round
        for round in range(1, rounds + 1)
        if learning_rate(config.train, round, rounds) < LEAST
    )
