"""The classes of each store, shown before round 1, so that a misplaced folder is noticed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fedshelf.common.classes.display_names import ProductNames, display_name
from fedshelf.common.classes.spelling import class_indices, reading_order
from fedshelf.common.config import RunConfig
from fedshelf.common.protocol.messages import StoreInfo

MAX_NAMED = 5  # stores or classes that a line names; it only counts the rest


def recounted(info: StoreInfo, classes: Sequence[str]) -> StoreInfo:
    """Return a store's info with its classes spelt as in `classes`.

    It is unchanged if `classes` is empty.
    """
    if not classes:
        return info
    indices = class_indices(list(info.counts), classes, merge=True)
    counts: dict[str, int] = {}
    for name, count in info.counts.items():
        known = classes[indices[name]] if name in indices else name
        counts[known] = counts.get(known, 0) + count
    return replace(info, counts=counts)


def lines(
    config: RunConfig, classes: Sequence[str], stores: Mapping[str, StoreInfo], names: ProductNames
) -> list[str]:
    """Return the lines for a person: the classes with their stores, then what needs attention.

    Attention is needed for a class that only one of several stores has, and for one that no store
    can train on. If the settings give the classes, it is also needed for other classes of a store.
    These lines name the folders.

    Args:
        names: the display names of the classes
    """
    if config.train.objective != "classes":
        return []
    merge = config.data.merge_spellings
    counts_by_store = {
        name: recounted(info, classes if merge else ()).counts
        for name, info in sorted(stores.items())
    }
    owners = {
        label: [name for name, counts in counts_by_store.items() if label in counts]
        for label in classes
    }
    shown = {
        display_name(names, classes[index]): owners[classes[index]]
        for index in reading_order(classes)
    }
    sentences = [f"{len(classes)} classes: {'; '.join(_grouped(shown, len(stores)))}."]
    alone = [label for label in classes if len(owners[label]) == 1 and len(stores) > 1]
    alone = [label for label in alone if label not in config.data.confirmed_classes]
    if alone and not config.data.classes:
        brought = _named([f"{_folder(names, label)} ({owners[label][0]})" for label in alone])
        sentences.append(
            f"Only one store has {brought}: if such a folder is there by mistake, stop the run and"
            " move the folder away at its store, or start with --classes, which lets no store bring"
            " other classes."
        )
    sentences += [
        _others(name, counts, classes)
        for name, counts in counts_by_store.items()
        if set(counts) - set(classes)
    ]
    everything_told = not any(info.undisclosed_images for info in stores.values())
    lacking = [
        label
        for label in classes
        if not any(counts.get(label) for counts in counts_by_store.values())
    ]
    if lacking and everything_told:
        sentences.append(
            "No connected store has photos of"
            f" {_named([_folder(names, label) for label in lacking])} to train on."
        )
    return sentences


def _grouped(owners: Mapping[str, Sequence[str]], everybody: int) -> list[str]:
    """Return the classes of the same stores together: "hat, shirt (all 3 stores)"."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for label, names in owners.items():
        groups.setdefault(tuple(names), []).append(label)
    whole = f"all {everybody} stores"
    return [
        f"{', '.join(labels)}"
        f" ({whole if len(names) == everybody > 1 else _named(names) or 'nobody'})"
        for names, labels in groups.items()
    ]


def _folder(names: ProductNames, label: str) -> str:
    """Return a class by its folder, with its display name if that differs: "'10' = Chair"."""
    name = display_name(names, label)
    return repr(label) if name == label else f"{label!r} = {name}"


def _others(store: str, counts: Mapping[str, int], classes: Sequence[str]) -> str:
    others = _named(
        [f"{label!r} ({count} photos)" for label, count in counts.items() if label not in classes]
    )
    return (
        f"{store} has {others}, none of the run's classes: it takes no part until that folder is"
        " renamed or moved away there, or the class is among those of a new run."
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
