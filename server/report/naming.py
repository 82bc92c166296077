"""Classes as people read them: numbers in their order, and called classes, in everything that a report is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from server.report.contents import Contents
from server.report.words import class_name


def order(classes: Sequence[str]) -> list[int]:
    """Places of the classes in the order in which they are read: numbers by size, if all are numbers.

    A model keeps its own order, in which their text sorts: "10" before "2".
    """
    places = list(range(len(classes)))
    return sorted(places, key=lambda place: int(classes[place])) if all(map(str.isdecimal, classes)) else places


def for_people(run: Contents) -> Contents:
    """The contents with every class called, and in the place, as people read it."""
    if not (names := (run.summary.get("model") or {}).get("classes") or (run.partition or {}).get("classes") or []):
        return run
    ordered = order(names)
    test = run.summary.get("test")
    summary = run.summary | {"test": _judged(test, ordered) if test else test}
    if "model" in summary:
        summary["model"] = summary["model"] | {"classes": _names(summary["model"]["classes"], ordered)}
    if old := summary.get("old_classes"):
        summary["old_classes"] = old | {
            "per_class": {class_name(name): row for name, row in (old.get("per_class") or {}).items()},
        }
    evaluation = run.evaluation
    if evaluation:
        stores = {name: _judged(found, ordered) for name, found in (evaluation.get("stores") or {}).items()}
        evaluation = evaluation | {"classes": _names(evaluation["classes"], ordered), "stores": stores}
    return replace(run, summary=summary, evaluation=evaluation, partition=_dealt(run.partition, names, ordered))


def _names(classes: Sequence[str], ordered: Sequence[int]) -> list[str]:
    return (
        [class_name(classes[place]) for place in ordered]
        if len(classes) == len(ordered)
        else list(map(class_name, classes))
    )


def _judged(found: Mapping[str, Any], ordered: Sequence[int]) -> dict[str, Any]:
    """An evaluation, its classes in that order."""
    result = dict(found)
    if per_class := found.get("per_class"):
        names = list(per_class)
        result["per_class"] = {class_name(names[place]): per_class[names[place]] for place in ordered}
    if matrix := found.get("confusion"):
        result["confusion"] = [[matrix[row][column] for column in ordered] for row in ordered]
    if baseline := found.get("baseline"):
        result["baseline"] = baseline | {"class": class_name(baseline["class"])}
    return result


def _dealt(partition: Mapping[str, Any] | None, names: Sequence[str], ordered: Sequence[int]) -> dict[str, Any] | None:
    """What stores hold, in that order; untouched if it is of other classes."""
    if partition is None or list(partition["classes"]) != list(names):
        return None if partition is None else dict(partition)
    stores = {store: [counts[place] for place in ordered] for store, counts in partition["stores"].items()}
    return {"classes": _names(names, ordered), "stores": stores}
