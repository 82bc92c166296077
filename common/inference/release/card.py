"""The model card of a release: what the model is, how good it is and for whom, in Markdown.

After Mitchell et al. 2019, "Model Cards for Model Reporting": the model, its training, its results
for each group, its limits.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.text import sanitize

_NO_LICENCE = "None was given: ask whoever sent you this release before you pass it on."


def model_card(
    description: ModelDescription,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    licence: str,
) -> str:
    """Return the card of a run's model.

    Args:
        description: of the model
        summary: the run's `summary.json`; results that it lacks are left out
        config: the run's `config.toml`
        licence: the operator's words; empty: none
    """
    parts = [
        [f"# {_cell(description.spec.name)} for {len(description.classes)} classes of products"],
        _model(description),
        _training(description, summary, config),
        _results(description, summary),
        _calibration(description, summary),
        _limits(description),
        _privacy(config),
        ["## Licence", "", sanitize(licence, 10_000) if licence else _NO_LICENCE],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _model(description: ModelDescription) -> list[str]:
    spec = description.spec
    names = ", ".join(_cell(name) for name in description.class_names)
    return [
        "## Model",
        "",
        f"- Network: {_cell(spec.name)}, photos of {spec.image_size} x {spec.image_size} pixels",
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
        *(f"- {name}: {_cell(value)}" for name, value in facts.items() if value not in (None, "")),
    ]


def _results(description: ModelDescription, summary: Mapping[str, Any]) -> list[str]:
    lines = ["## Results"]
    test = summary.get("test") or {}
    if test.get("accuracy") is not None:
        low, high = test.get("interval") or (None, None)
        interval = f" (95% interval {_share(low)} to {_share(high)})" if low is not None else ""
        lines += [
            "",
            f"{_share(test['accuracy'])} of {test.get('images')} test photos are told"
            f" rightly{interval}; macro F1 {_share(test.get('macro_f1'))}.",
        ]
    if per_class := test.get("per_class"):
        shown = dict(zip(description.classes, description.class_names, strict=True))
        columns = ("precision", "recall", "f1", "images")
        lines += _table(
            ("class", *columns),
            ((shown.get(name, name), *_values(row, columns)) for name, row in per_class.items()),
        )
    if per_store := summary.get("per_store"):
        measures = ("accuracy", "macro_f1", "images")
        lines += [
            "",
            f"At the stores, on their {_cell(summary.get('per_store_from') or 'own')} photos:",
            *_table(
                ("store", *measures),
                ((name, *_values(row, measures)) for name, row in per_store.items()),
            ),
        ]
    return lines if len(lines) > 1 else [*lines, "", "The run was not evaluated."]


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
        return [*lines, *(f"- {_cell(key)}: {_cell(value)}" for key, value in settings.items())]
    return [
        *lines,
        "Photos stayed at the stores; updates went to the server without noise. A model can tell"
        " something of the photos that it was trained on: nothing here proves that it does not.",
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return a table in Markdown, with an empty line before it."""
    lines = [header, ["---"] * len(header), *rows]
    return ["", *("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)]


def _values(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    return [
        str(row.get(name, "-")) if name == "images" else _share(row.get(name)) for name in columns
    ]


def _share(value: Any) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def _cell(value: Any) -> str:
    """Return a value as text that cannot end a cell or begin something else in Markdown."""
    text = sanitize(str(value), 500)
    for mark in "\\|<>[]`*_#":
        text = text.replace(mark, f"\\{mark}")
    return text


def _folder_name(path: Any) -> str | None:
    return Path(path).name if isinstance(path, str) and path else None
