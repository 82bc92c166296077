"""`flower-client policy`: the store's policy in words, and a policy file to edit if there is none
yet.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from fedshelf.client.policy.own_code import allow_listed, check_listed_code
from fedshelf.client.policy.policy import POLICY_FILE, Policy, load_policy, policy_template
from fedshelf.common import own_objects
from fedshelf.common.errors import ConfigError
from fedshelf.common.suggest import did_you_mean
from fedshelf.common.system.files import write_text


def print_policy(home: Path) -> None:
    """Print what the policy in a store's `home` allows, and write the default if there is none.

    Raises ConfigError for a policy that cannot be used, or that names an unknown network or
    strategy; OSError.
    """
    path = home / POLICY_FILE
    if not path.exists():
        write_text(path, policy_template())
        print(
            f"Wrote {path}. It explains every key, and allows what any honest run needs. Change"
            " what should not"
        )
        print(
            "be allowed, and run this command again to check it; a store that is running must"
            " be restarted to use it."
        )
        return
    policy = load_policy(path)
    check_names(policy)
    changed_values = policy.changed_values()
    print(
        f"{path} can be used. {len(changed_values)} of {len(Policy.model_fields)} keys differ"
        " from the default."
    )
    for key, value in changed_values.items():
        print(f"  {key} = {value!r}: {Policy.model_fields[key].description}")


def check_names(policy: Policy) -> None:
    """Check that the policy's networks, strategies and augmentations exist, and let this process
    import those that are another one's code.

    Raises ConfigError if one does not exist: the policy would accept no order.
    """
    allow_listed(policy)
    if policy.strategies:
        from fedshelf.common import strategies  # loads torch

        _check("strategies", policy.strategies, strategies.names())
    if policy.models:
        from fedshelf.common import models
        from fedshelf.common.models import torchvision_zoo  # loads torchvision
        from fedshelf.common.plugins import MODEL, plugin_names

        known = (*models.names(), *plugin_names(MODEL), *torchvision_zoo.names())
        _check("models", policy.models, known)
    if policy.augmentations:
        from fedshelf.common.plugins import AUGMENTATION, plugin_names

        _check("augmentations", policy.augmentations, plugin_names(AUGMENTATION))
    check_listed_code(policy)


def _check(key: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known and not own_objects.is_name(name):
            hint = did_you_mean(name, known)
            raise ConfigError(
                f"The policy's key {key} has {name!r}, which Fedshelf does not know.{hint}"
            )
