"""Classes as people read them, in every report: by product names, with numbers in numeric order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedshelf.common.classes.display_names import ProductNames, display_name, read_from_run
from fedshelf.common.classes.spelling import reading_order
from fedshelf.server import formatting
from fedshelf.server.formatting import class_name
from fedshelf.server.report.run_data import RunData


def sentence_name(names: ProductNames, label: str) -> str:
    """Return a class as it stands in a sentence: its product's name, or "class 7" for a number."""
    return class_name(display_name(names, label))


def describe_outcome(summary: Mapping[str, Any], directory: Path) -> list[str]:
    """Describe the outcome of a run in a few sentences.

    Args:
        summary:   the run's summary
        directory: run directory, which holds the product names

    Raises:
        ConfigError, DataError: the names are damaged.
    """
    return formatting.describe_outcome(_name_summary(summary, read_from_run(directory)))


def with_display_names(run: RunData) -> RunData:
    """Return a run's data with the names and the order of classes for people."""
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
            name: _name_evaluation(evaluation_of_store, order, run.names)
            for name, evaluation_of_store in (evaluation.get("stores") or {}).items()
        }
        evaluation = evaluation | {
            "classes": ordered_names(evaluation["classes"], order, run.names),
            "stores": stores,
        }
    partition = _name_partition(run.partition, classes, order, run.names)
    return replace(
        run,
        summary=_name_summary(run.summary, run.names),
        evaluation=evaluation,
        partition=partition,
    )


def ordered_names(classes: Sequence[str], order: Sequence[int], names: ProductNames) -> list[str]:
    """Return the classes' names in an order.

    Args:
        classes: labels of the C classes
        order:   indices into the classes; if there are not C, the classes keep their own order
        names:   product name of each class that has one
    """
    if len(classes) != len(order):
        return [sentence_name(names, label) for label in classes]
    return [sentence_name(names, classes[index]) for index in order]


def reorder_matrix(counts: Sequence[Sequence[int]], order: Sequence[int]) -> list[list[int]]:
    """Return a confusion matrix [C, C] with rows and columns in another order.

    Args:
        counts: image counts [C, C]
        order:  the C indices of the classes, in the new order
    """
    return [[counts[row][column] for column in order] for row in order]


def _name_summary(summary: Mapping[str, Any], names: ProductNames) -> dict[str, Any]:
    """Return a summary with its classes as people read them."""
    result = dict(summary)
    test = summary.get("test") or {}
    model = summary.get("model")
    classes = model["classes"] if model else list(test.get("per_class") or {})
    order = reading_order(classes)
    if model:
        result["model"] = model | {"classes": ordered_names(classes, order, names)}
    if test and classes:
        result["test"] = _name_evaluation(test, order, names)
    if old := summary.get("old_classes"):
        per_class = {
            sentence_name(names, label): row for label, row in (old.get("per_class") or {}).items()
        }
        result["old_classes"] = old | {"per_class": per_class}
    return result


def _name_evaluation(
    evaluation: Mapping[str, Any], order: Sequence[int], names: ProductNames
) -> dict[str, Any]:
    """Return an evaluation with its classes named and in that order."""
    result = dict(evaluation)
    if per_class := evaluation.get("per_class"):
        labels = list(per_class)
        result["per_class"] = {
            sentence_name(names, labels[index]): per_class[labels[index]] for index in order
        }
    if matrix := evaluation.get("confusion"):
        result["confusion"] = reorder_matrix(matrix, order)
    if baseline := evaluation.get("baseline"):
        result["baseline"] = baseline | {"class": sentence_name(names, baseline["class"])}
    return result


def _name_partition(
    partition: Mapping[str, Any] | None,
    classes: Sequence[str],
    order: Sequence[int],
    names: ProductNames,
) -> dict[str, Any] | None:
    """Return a partition with its classes named and ordered; unchanged if it has other classes."""
    if partition is None or list(partition["classes"]) != list(classes):
        return None if partition is None else dict(partition)
    stores = {
        store: [counts[index] for index in order] for store, counts in partition["stores"].items()
    }
    return {"classes": ordered_names(classes, order, names), "stores": stores}
