"""The model card of a release: what the model is, how good it is and for whom, in Markdown.

After Mitchell et al. 2019, "Model Cards for Model Reporting": the model, its training, its results
for each group, its limits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.release.markdown import cell, share, store_table, table
from fedshelf.common.inference.release.scene_card import (
    counting_lines,
    located_results,
    locator_limits,
    mask_limits,
    mask_results,
)
from fedshelf.common.models.spec import Output
from fedshelf.common.text import sanitize

_NO_LICENCE = "None was given: ask whoever sent you this release before you pass it on."


def model_card(
    description: ModelDescription,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    licence: str,
    output: Output = "classes",
) -> str:
    """Return the card of a run's model.

    Args:
        description: of the model
        summary: the run's `summary.json`; results that it lacks are left out
        config: the run's `config.toml`
        licence: the operator's words; empty: none
        output: the kind of the model's result
    """
    parts = [
        [f"# {cell(description.spec.name)} {_purpose(description, output)}"],
        _model(description),
        _training(description, summary, config),
        *_own_parts(description, summary, output),
        _privacy(config),
        ["## Licence", "", sanitize(licence, 10_000) if licence else _NO_LICENCE],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _purpose(description: ModelDescription, output: Output) -> str:
    """Return the use of a model, for the card's title."""
    if output == "boxes":
        return "that finds products on photos of scenes"
    if output == "masks":
        return "that tells the pixels of products on photos of scenes"
    return f"for {len(description.classes)} classes of products"


def _own_parts(
    description: ModelDescription, summary: Mapping[str, Any], output: Output
) -> list[list[str]]:
    """Return the sections that each kind of model has in its own way."""
    if output == "boxes":
        found = located_results(description, summary)
        return [_told_results(found), counting_lines(summary), locator_limits(description)]
    if output == "masks":
        return [_told_results(mask_results(description, summary)), mask_limits(description)]
    return [
        _told_results(_class_results(description, summary)),
        _calibration(description, summary),
        _limits(description),
    ]


def _told_results(lines: list[str]) -> list[str]:
    """Return the section of results."""
    return ["## Results", *(lines or ["", "The run was not evaluated."])]


def _model(description: ModelDescription) -> list[str]:
    spec = description.spec
    names = ", ".join(cell(name) for name in description.class_names)
    return [
        "## Model",
        "",
        f"- Network: {cell(spec.name)}, photos of {spec.image_size} x {spec.image_size} pixels",
        f"- Classes: {names}",
        f"- Median filter over a photo: {description.denoise or 'none'}",
    ]


def _training(
    description: ModelDescription, summary: Mapping[str, Any], config: Mapping[str, Any]
) -> list[str]:
    made = description.provenance or {}
    initial = made.get("initial_weights") or {}
    facts = {
        "Stores": summary.get("stores"),
        "Photos": _folder_name(made.get("dataset")),
        "Strategy": made.get("strategy"),
        "Rounds": summary.get("rounds"),
        "Round of this model": made.get("round"),
        "Chosen as": made.get("delivered_because"),
        "Initial weights": initial.get("source", "drawn at random"),
        "Recipe": config.get("run", {}).get("recipe"),
        "Made": made.get("made"),
        "Run": made.get("run_id"),
        "Versions": ", ".join(f"{name} {v}" for name, v in (made.get("versions") or {}).items()),
    }
    return [
        "## Training",
        "",
        "Trained across stores whose photos never left them.",
        "",
        *(f"- {name}: {cell(value)}" for name, value in facts.items() if value not in (None, "")),
    ]


def _class_results(description: ModelDescription, summary: Mapping[str, Any]) -> list[str]:
    """Return the results in all, for each class and for each store; empty: nobody measured them."""
    lines = []
    test = summary.get("test") or {}
    if test.get("accuracy") is not None:
        low, high = test.get("interval") or (None, None)
        interval = f" (95% interval {share(low)} to {share(high)})" if low is not None else ""
        lines += [
            "",
            f"{share(test['accuracy'])} of {test.get('images')} test photos are told"
            f" rightly{interval}; macro F1 {share(test.get('macro_f1'))}.",
        ]
    if per_class := test.get("per_class"):
        shown = dict(zip(description.classes, description.class_names, strict=True))
        measures = ("precision", "recall", "f1")
        lines += table(
            ("class", *measures, "images"),
            (
                (
                    shown.get(name, name),
                    *(share(row.get(key)) for key in measures),
                    row.get("images", "-"),
                )
                for name, row in per_class.items()
            ),
        )
    return lines + store_table(summary, {"accuracy": "accuracy", "macro F1": "macro_f1"})


def _calibration(description: ModelDescription, summary: Mapping[str, Any]) -> list[str]:
    measured = summary.get("calibration") or {}
    lines = ["## Calibration", "", f"- Temperature: {description.temperature:.3f}"]
    for key, words in (("unscaled", "without it"), ("scaled", "with it")):
        error = (measured.get(key) or {}).get("ece")
        if error is not None:
            lines.append(f"- Calibration error {words}: {error:.3f}")
    threshold = description.energy_threshold
    told = "not measured" if threshold is None else f"{threshold:.3f}"
    return [*lines, f"- Energy below which a photo is like nothing that it knows: {told}"]


def _limits(description: ModelDescription) -> list[str]:
    return [
        "## Limits",
        "",
        f"- It knows these {len(description.classes)} classes alone. A photo of something else gets"
        " one of them, too; the verdict `unknown` catches many such photos, and not all.",
        "- It was judged on photos like those of its stores. Other cameras, lights and shops may"
        " give worse results: measure it on photos of your own before you rely on it.",
        "- It tells a product's class, not the single product, its price or its state.",
    ]


def _privacy(config: Mapping[str, Any]) -> list[str]:
    settings = config.get("privacy") or {}
    lines = ["## Privacy", ""]
    if settings:
        return [*lines, *(f"- {cell(key)}: {cell(value)}" for key, value in settings.items())]
    return [
        *lines,
        "Photos stayed at the stores; updates went to the server without noise. A model can tell"
        " something of the photos that it was trained on: nothing here proves that it does not.",
    ]


def _folder_name(path: Any) -> str | None:
    return Path(path).name if isinstance(path, str) and path else None
