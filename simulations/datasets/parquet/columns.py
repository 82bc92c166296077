"""Detection of the columns of a parquet file that hold its images and its labels.

Hugging Face features in the schema metadata name them (`Image`, `ClassLabel`;
https://huggingface.co/docs/datasets/about_dataset_features); without these the usual column names
do. Nothing else is guessed: an `image_id` is no class, and a `mask` is no picture.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedshelf.common.errors import DataError

IMAGE_NAMES = ("image", "img", "pixels")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "fine_label")

Kind = Literal["Image", "ClassLabel"]


@dataclass(frozen=True)
class ParquetColumns:
    """The names of the columns of images and labels.

    Attributes:
        image: the column of images
        label: the column of labels
        names: class names of the labels 0, 1, ...; empty if the file has none
    """

    image: str
    label: str
    names: tuple[str, ...] = ()


def find_columns(path: Path, schema: Any) -> ParquetColumns:
    """Choose the columns of images and labels of a file.

    Args:
        path: the file, for the message
        schema: its pyarrow schema

    Raises:
        DataError: there is no column of a kind, or more than one; the message lists the columns.
    """
    features = _features(schema)
    image = _choose(path, schema, features, "Image", IMAGE_NAMES, _may_be_images)
    label = _choose(path, schema, features, "ClassLabel", LABEL_NAMES, _may_be_labels)
    return ParquetColumns(image, label, _names(features.get(label)))


def same_columns(path: Path, schema: Any, first: Path, wanted: ParquetColumns) -> ParquetColumns:
    """Check that a further file has the columns of the first one.

    Args:
        path: the further file
        schema: its pyarrow schema
        first: the first file
        wanted: the columns of the first file

    Returns:
        The same columns, with the further file's own class names.

    Raises:
        DataError: it has others; the message lists the columns.
    """
    kinds = {field.name: field.type for field in schema}
    fits = {wanted.image: _may_be_images, wanted.label: _may_be_labels}
    if any(name not in kinds or not fits[name](kinds[name]) for name in fits):
        raise DataError(
            f"{path} has the columns {_listed(schema)}; expected {wanted.image} and {wanted.label},"
            f" as in {first}: rename them, or take the file out of the folder."
        )
    return ParquetColumns(wanted.image, wanted.label, _names(_features(schema).get(wanted.label)))


def _choose(
    path: Path,
    schema: Any,
    features: Mapping[str, Any],
    kind: Kind,
    usual_names: tuple[str, ...],
    fits: Callable[[Any], bool],
) -> str:
    fitting = [field.name for field in schema if fits(field.type)]
    by_feature = [
        name
        for name in fitting
        if isinstance(features.get(name), dict) and features[name].get("_type") == kind
    ]
    by_name = [name for name in by_feature or fitting if name.casefold() in usual_names]
    candidates = by_feature if len(by_feature) == 1 else by_name or by_feature
    if len(candidates) == 1:
        name: str = candidates[0]
        return name
    kind_in_words = "encoded images" if kind == "Image" else "labels"
    wanted = (
        f"one of {kind_in_words}, by its Hugging Face feature {kind} or by its name"
        f" ({', '.join(usual_names)})"
    )
    if candidates:
        got = f"more than one may be that ({', '.join(candidates)})"
        advice = "rename the others"
    elif misfits := [field.name for field in schema if field.name.casefold() in usual_names]:
        got = f"{', '.join(misfits)} cannot be that by its type"
        advice = "write it as such"
    else:
        got = "none is that"
        advice = "rename the one that is meant"
    raise DataError(
        f"{path} has the columns {_listed(schema)}; expected {wanted}, but {got}: {advice}."
    )


def _features(schema: Any) -> dict[str, Any]:
    """Return the Hugging Face features, by column; empty if there are none that can be read."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"][
            "features"
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _names(feature: Any) -> tuple[str, ...]:
    names = (
        feature.get("names")
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        else None
    )
    return (
        tuple(names)
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
        else ()
    )


def _may_be_images(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(
            kind.field(field_index).name in ("bytes", "path")
            for field_index in range(kind.num_fields)
        )
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _may_be_labels(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _may_be_labels(kind.value_type)
    checks = (
        types.is_integer,
        types.is_boolean,
        types.is_floating,
        types.is_string,
        types.is_large_string,
    )
    return any(check(kind) for check in (*checks, types.is_string_view))


def _listed(schema: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
