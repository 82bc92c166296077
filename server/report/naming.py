"""Classes as people read them, in every report: by their product names, with numbers in numeric
order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedshelf.common.classes.display_names import ProductNames, display_name, read_from_run
from fedshelf.common.classes.spelling import reading_order
from fedshelf.server import formatting
from fedshelf.server.formatting import class_name
from fedshelf.server.report.run_data import RunData


def name_of(names: ProductNames, label: str) -> str:
    """Return a class as it stands in a sentence: its product's name if it has one; a number is
    called a class.
    """
    return class_name(display_name(names, label))


def outcome(summary: Mapping[str, Any], directory: Path) -> list[str]:
    """Describe the outcome of the run in that directory.

    Raises ConfigError, DataError for damaged names.
    """
    return formatting.outcome(_told(summary, read_from_run(directory)))


def for_people(run: RunData) -> RunData:
    """Return the contents with the names and the order of classes for people."""
    classes = (
        (run.summary.get("model") or {}).get("classes")
        or (run.partition or {}).get("classes")
        or []
    )
    if not classes:
        return run
    evaluation = run.evaluation
    order = reading_order(classes)
    if evaluation:
        stores = {
            name: _judged(found, order, run.names)
            for name, found in (evaluation.get("stores") or {}).items()
        }
        evaluation = evaluation | {
            "classes": in_order(evaluation["classes"], order, run.names),
            "stores": stores,
        }
    partition = _dealt(run.partition, classes, order, run.names)
    return replace(
        run, summary=_told(run.summary, run.names), evaluation=evaluation, partition=partition
    )


def in_order(classes: Sequence[str], order: Sequence[int], names: ProductNames) -> list[str]:
    """Return the classes' names in that order; in their own order if it is that of other
    classes.
    """
    if len(classes) != len(order):
        return [name_of(names, label) for label in classes]
    return [name_of(names, classes[place]) for place in order]


def square(counts: Sequence[Sequence[int]], order: Sequence[int]) -> list[list[int]]:
    """Return a confusion matrix [C, C] with rows and columns in that order."""
    return [[counts[row][column] for column in order] for row in order]


def _told(summary: Mapping[str, Any], names: ProductNames) -> dict[str, Any]:
    """Return a summary with its classes as people read them."""
    result = dict(summary)
    test = summary.get("test") or {}
    model = summary.get("model")
    classes = model["classes"] if model else list(test.get("per_class") or {})
    order = reading_order(classes)
    if model:
        result["model"] = model | {"classes": in_order(classes, order, names)}
    if test and classes:
        result["test"] = _judged(test, order, names)
    if old := summary.get("old_classes"):
        per_class = {
            name_of(names, label): row for label, row in (old.get("per_class") or {}).items()
        }
        result["old_classes"] = old | {"per_class": per_class}
    return result


def _judged(found: Mapping[str, Any], order: Sequence[int], names: ProductNames) -> dict[str, Any]:
    """Return an evaluation with its classes in that order."""
    result = dict(found)
    if per_class := found.get("per_class"):
        labels = list(per_class)
        result["per_class"] = {
            name_of(names, labels[place]): per_class[labels[place]] for place in order
        }
    if matrix := found.get("confusion"):
        result["confusion"] = square(matrix, order)
    if baseline := found.get("baseline"):
        result["baseline"] = baseline | {"class": name_of(names, baseline["class"])}
    return result


def _dealt(
    partition: Mapping[str, Any] | None,
    classes: Sequence[str],
    order: Sequence[int],
    names: ProductNames,
) -> dict[str, Any] | None:
    """Return a partition with its classes named and in that order; unchanged if it is of other
    classes.
    """
    if partition is None or list(partition["classes"]) != list(classes):
        return None if partition is None else dict(partition)
    stores = {
        store: [counts[place] for place in order] for store, counts in partition["stores"].items()
    }
    return {"classes": in_order(classes, order, names), "stores": stores}
