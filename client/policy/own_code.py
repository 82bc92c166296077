"""Code that is not Fedshelf's, at a store: an order may name it, and only the policy admits it.

No code comes with an order. A name `module:Object` is imported only if the policy lists it, and
only from what a person has installed at this store.
"""

from collections.abc import Iterator

from fedshelf.client.policy.policy import Policy
from fedshelf.client.policy.refusal import refuse
from fedshelf.common import own_objects, plugins
from fedshelf.common.config import RunConfig, flatten
from fedshelf.common.errors import ConfigError
from fedshelf.common.models.spec import TIMM
from fedshelf.common.own_settings import AUGMENTATION_KEY, METRICS_KEY, STORE_KEYS, own_names
from fedshelf.common.plugins import PluginKind

KINDS = {  # a setting of runs -> the policy's key that lists its objects, and their kind
    "model.name": ("models", plugins.MODEL),
    "strategy.name": ("strategies", plugins.STRATEGY),
    AUGMENTATION_KEY: ("augmentations", plugins.AUGMENTATION),
    METRICS_KEY: ("further_metrics", plugins.METRIC),
}


def allow_listed(policy: Policy) -> None:
    """Let this process import what the policy lists as `module:Object`, if it is installed."""
    for _, _, name in _listed(policy):
        own_objects.allow(name, from_here=False)


def check_listed_code(policy: Policy) -> None:
    """Check that what the policy lists as `module:Object` is installed here, after `allow_listed`.

    Raises ConfigError if something is not.
    """
    for key, kind, name in _listed(policy):
        try:
            own_objects.find(kind.group, kind.noun, name)
        except ConfigError as error:
            raise ConfigError(f"The policy's key {key} has {name!r}: {error}") from error


def check_listed(policy: Policy, config: RunConfig, model: str) -> None:
    """Check that the policy lists all code of another one that an order names; else raise
    StoreError.

    Nothing is imported.

    Args:
        policy: Of this store.
        config: Of the order's run.
        model: The network of the order.
    """
    named = [*own_names({**flatten(config), "model.name": model}, STORE_KEYS)]
    if config.data.augmentation:  # Fedshelf has none of a name
        named.append((AUGMENTATION_KEY, config.data.augmentation))
    for setting, name in named:
        key, kind = KINDS[setting]
        if name not in getattr(policy, key):
            module = name.partition(":")[0]
            refuse(
                key,
                f"it needs the {kind.noun} {name}, which is not Fedshelf's code; to take part,"
                f" install {module.partition('.')[0]} here, if you trust it, add {name!r} to"
                f" {key} in the policy, and join again",
            )


def _listed(policy: Policy) -> Iterator[tuple[str, PluginKind, str]]:
    """Yield key, kind and name of all that the policy lists as `module:Object`."""
    for key, kind in KINDS.values():
        for name in getattr(policy, key):
            if own_objects.is_name(name) and not name.startswith(TIMM):
                yield key, kind, name
