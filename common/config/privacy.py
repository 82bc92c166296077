"""Settings of privacy: how much a model update may tell of one photo, and of one store."""

from typing import Annotated

from pydantic import Field

from fedshelf.common.config.field_types import Fraction, NonNegative, Positive, Section


class PrivacyConfig(Section):
    """Differentially private training at a store (DP-SGD), and the secure sum of updates.

    Each step draws every image with probability `rate`, clips the gradient of each drawn image to
    the norm `clip`, sums them and adds Gaussian noise of standard deviation `noise * clip` (Abadi
    et al. 2016, https://arxiv.org/abs/1607.00133). Averages over copies before clipping: De et al.
    2022, https://arxiv.org/abs/2204.13650.
    """

    clip: NonNegative = Field(
        0.0,
        description=(
            "largest L2 norm of one image's gradient; 0: training without differential privacy"
        ),
    )
    noise: NonNegative = Field(
        0.0, description="standard deviation of the noise in each step, as a multiple of clip"
    )
    rate: Fraction = Field(
        0.0, description="probability with which an image takes part in a step (Poisson sampling)"
    )
    # from above: a server must not keep a store at work for days with steps that draw no photo
    steps: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="optimizer steps per round; they replace train.epochs and train.batch_size"
    )
    copies: Annotated[int, Field(ge=1, le=128)] = Field(
        1,
        description="augmented copies of an image whose gradients are averaged before clipping",
    )

    secure_sum: bool = Field(
        False,
        description=(
            "the server gets the sum of the stores' updates, and of their judgements of a model,"
            " and no single one; what needs single ones (median, krum, detection of harmful"
            " updates, contributions, results per store) is refused or not visible"
        ),
    )
    sum_bound: Positive = Field(
        20.0,
        description=(
            "secure sum: largest L2 norm of an update (the change that training made); a longer"
            " one is scaled down, and the round tells how many were"
        ),
    )
    store_noise: NonNegative = Field(
        0.0,
        description=(
            "differential privacy of a store: standard deviation of the noise that the server adds"
            " to the sum of a round's updates, as a multiple of the norm to which each is clipped"
            " (McMahan et al. 2018); 0: none"
        ),
    )
    store_clip: NonNegative = Field(
        0.0,
        description=(
            "L2 norm to which a store's change of the model is clipped, with store_noise; 0: it"
            " follows the updates (Andrew et al. 2021), or, with secure_sum, is sum_bound"
        ),
    )
    store_quantile: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5,
        description="share of the updates that a clip which follows them leaves as they are",
    )
    store_delta: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description=(
            "delta at which the epsilon of a store is stated; 0: 1 / stores^1.1, at most 0.001"
        ),
    )

    @property
    def is_on(self) -> bool:
        """Tell if training is differentially private."""
        return self.clip > 0

    @property
    def protects_stores(self) -> bool:
        """Tell if a round's updates are noised at the server."""
        return self.store_noise > 0
