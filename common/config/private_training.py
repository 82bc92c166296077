"""Settings with which a training would not be differentially private, though it adds noise."""

from fedshelf.common.config.schema import RunConfig


def privacy_conflict(config: RunConfig) -> str:
    """Return why a run with `privacy.clip` would not be private; empty if its settings allow it.

    Clipping bounds what one image adds to a step. This holds only if the image has no part in the
    gradients of others, and the noise only counts if the number of steps does not depend on them.
    The network must have no batch norm, and the strategy must train, which is checked apart.

    Returns:
        A sentence that names the first setting, its value and what to do.
    """
    privacy = config.privacy
    for key in ("noise", "rate", "steps"):
        if not getattr(privacy, key):
            return f"privacy.{key} is 0; with privacy.clip it has to be above 0."
    absent = config.strategy.absent
    if absent != "full":
        return (
            f"strategy.absent_classes is {absent}, so the loss of each image depends on the labels"
            " of all; expected full."
        )
    for key, value, reason in (
        ("data.mixup", config.data.mixup, "one image has a part in the gradient of another"),
        ("data.cutmix", config.data.cutmix, "one image has a part in the gradient of another"),
        ("train.seconds", config.train.seconds, "the number of steps depends on the machine"),
    ):
        if value:
            return f"{key} is {value:g}, so {reason}; expected 0."
    return ""
