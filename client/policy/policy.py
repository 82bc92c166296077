"""A store's policy: `policy.toml` in the store's home, which no server can override.

A field's description is its documentation: the file that `flower-client policy` writes and the
errors print it.
"""

import hashlib
import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fedshelf.client.policy.schedule import Window, parse_window
from fedshelf.client.privacy.charges import Budget
from fedshelf.client.privacy.ledger import PrivacyLimits
from fedshelf.common.errors import ConfigError
from fedshelf.common.suggest import did_you_mean

POLICY_FILE = "policy.toml"

Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Policy(BaseModel):
    """All limits that a store sets itself. Without a file all that an honest run needs is
    allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    metrics: Literal["confusion", "accuracy"] = Field(
        "confusion",
        description=(
            "metrics that may leave: confusion (how many images of each class the model took"
            " for which class, and how sure it was, in steps), or accuracy (the number of"
            " images, how many were right, and the loss)"
        ),
    )
    further_metrics: tuple[str, ...] = Field(
        (),
        description=(
            "with metrics confusion: the further metrics of a run whose sums may leave, by the"
            ' names in its evaluation.metrics: ["top3", "auroc"]; empty: all that Fedshelf itself'
            " has, and none of another package's"
        ),
    )
    class_names: bool = Field(
        True,
        description=(
            "whether the names of the store's classes may leave; false goes with metrics accuracy"
        ),
    )
    least_images_per_class: Annotated[int, Field(ge=1)] = Field(
        1,
        description=(
            "images: a class with fewer training, validation or test images has no part in"
            " that split: its images there are neither trained on nor evaluated nor reported,"
            " so that nothing that leaves depends on them"
        ),
    )
    images_least: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "images: fewest training images that an update may stand for; a store with fewer does"
            " not train, and an order with a time limit, which may end after one batch, needs"
            " batches of so many; 0: no limit. An update of one photo shows that photo, one of 64"
            " hardly any"
        ),
    )
    hours: tuple[str, ...] = Field(
        (),
        description=(
            'local hours in which work may begin: ["22:00-06:00"], ["mon-fri 22:00-06:00", "sun'
            ' 00:00-24:00"]; empty: always'
        ),
    )
    rounds_per_day: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "trainings that may begin in a day, with at most three times as many evaluations"
            " of a model; 0: no limit"
        ),
    )
    gpu_minutes_per_day: Limit = Field(
        0.0,
        description="minutes of computing a day, on a GPU or any other device; 0: no limit",
    )
    gpu_memory_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of the GPU's memory that may be used, 0.5 for half of it"
    )
    megabytes_down_per_day: Limit = Field(
        0.0, description="MB (10^6 bytes) received a day; 0: no limit"
    )
    megabytes_up_per_day: Limit = Field(0.0, description="MB (10^6 bytes) sent a day; 0: no limit")
    epochs_per_round: Annotated[int, Field(ge=1)] = Field(
        100,
        description=(
            "largest number of passes over the training images that one order may ask for; with"
            " privacy.clip: steps times rate times copies"
        ),
    )
    models: tuple[str, ...] = Field(
        (),
        description=(
            'networks that may be trained here: ["cnn"]; empty: all but code of another one,'
            ' which is installed here and listed as "module:Object"'
        ),
    )
    strategies: tuple[str, ...] = Field(
        (),
        description=(
            'federated algorithms that may be used here: ["fedavg", "fedprox"]; empty: all but'
            ' code of another one, which is installed here and listed as "module:Object"'
        ),
    )
    augmentations: tuple[str, ...] = Field(
        (),
        description=(
            "changes of training images by code of another one that may be used here, which is"
            ' installed here: ["module:Object"]; empty: none'
        ),
    )
    classes: tuple[str, ...] = Field(
        (),
        description=(
            "the classes that a run must have, these and no others; empty: whatever the server says"
        ),
    )
    model_delivery: bool = Field(
        True,
        description="whether delivered models are accepted and kept here, in the folder models",
    )
    megabytes_of_models: Limit = Field(
        4000.0,
        description=(
            "MB (10^6 bytes) that the models in the folder models may take together; 0: no limit"
        ),
    )
    secure_sum: bool = Field(
        False,
        description=(
            "whether updates may leave in secure sums only, in which the server sees the sum over"
            " several stores and no single update; other runs are refused"
        ),
    )
    secure_sum_least: Annotated[int, Field(ge=2)] = Field(
        3,
        description=(
            "stores: fewest that a secure sum must be over, this one among them, whatever the"
            " server does; a round with fewer is refused"
        ),
    )
    epsilon: Limit = Field(
        0.0,
        description=(
            "most that all trainings together may tell of one photo, for as long as it is at this"
            " store, over all runs and servers: the epsilon of differential privacy, 8 or less;"
            " other trainings are refused, and so are those that would pass it; 0: no demand"
        ),
    )
    delta: Annotated[float, Field(gt=0, le=1e-5)] = Field(
        1e-5,
        description=(
            "the delta at which epsilon holds, at most 0.00001; with more than 10,000 photos take"
            " 0.1 / photos"
        ),
    )
    epsilon_judging: Limit = Field(
        0.0,
        description=(
            "as epsilon, for the photos held out, on which models are evaluated; 0: with epsilon,"
            " no evaluation leaves; without, no demand"
        ),
    )
    counts: Literal["exact", "noised", "none"] = Field(
        "exact",
        description=(
            "numbers of images per class that leave: exact, noised (once, the same answer for"
            " ever) or none; epsilon needs noised or none"
        ),
    )

    @field_validator("hours")
    @classmethod
    def _check_hours(cls, hours: tuple[str, ...]) -> tuple[str, ...]:
        for text in hours:
            parse_window(text)
        return hours

    @model_validator(mode="after")
    def _check_consistency(self) -> "Policy":
        if not self.class_names and self.metrics == "confusion":
            raise ValueError(
                'class_names = false needs metrics = "accuracy": counts per class reveal the'
                " classes"
            )
        if self.epsilon and self.counts == "exact":
            raise ValueError(
                'epsilon needs counts = "noised" or counts = "none": exact counts of images per'
                " class tell of single photos"
            )
        if self.epsilon and not self.classes:
            raise ValueError(
                "epsilon needs classes: asked with one list of classes after another, the numbers"
                " of images would tell the class of each photo"
            )
        if self.epsilon and self.least_images_per_class > 1:
            raise ValueError(
                "epsilon needs least_images_per_class = 1: one photo more or less would decide on"
                " all photos of its class"
            )
        if self.epsilon_judging and not self.epsilon:
            raise ValueError("epsilon_judging needs epsilon: the photos trained on come first")
        return self

    @property
    def windows(self) -> tuple[Window, ...]:
        """`hours`, parsed."""
        return tuple(parse_window(text) for text in self.hours)

    @property
    def privacy_limits(self) -> PrivacyLimits:
        """The limits of the ledger."""
        limits: dict[Budget, float] = {
            "epsilon": self.epsilon,
            "epsilon_judging": self.epsilon_judging,
        }
        return PrivacyLimits(limits, self.delta)

    def told_seconds(self, seconds: float) -> float:
        """Return the part of a duration (s) that may leave: with `epsilon`, rounded up to 10 s."""
        return 10.0 * math.ceil(seconds / 10) if self.epsilon else seconds

    def changed_values(self) -> dict[str, object]:
        """Return the values that differ from the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def sha256(self) -> str:
        """Return the SHA-256 of the policy's values; comments and order in the file do not change
        it.
        """
        return hashlib.sha256(
            json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()
        ).hexdigest()


def load_policy(path: Path) -> Policy:
    """Read a policy.

    Raises ConfigError for a file that cannot be read, an unknown key or an invalid value.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the policy {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The policy {path} is not valid TOML: {error}.") from None
    _translate_differential_privacy(document, path)
    if unknown := [key for key in document if key not in Policy.model_fields]:
        raise ConfigError(
            f"The policy {path} has the unknown key {unknown[0]!r}.{_key_hint(unknown[0])}"
        )
    try:  # via JSON: pydantic then accepts lists for tuples, but no text for a number
        return Policy.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        raise ConfigError(f"The policy {path}: {_describe_error(error)}") from None


def policy_of(home: Path) -> Policy:
    """Return the policy in a store's home; the default if there is none. Raises ConfigError."""
    path = home / POLICY_FILE
    return load_policy(path) if path.exists() else Policy()


def policy_template() -> str:
    """Return a policy file with every key, its meaning and its default."""
    lines = [
        (
            "# What this store allows. The server cannot override any of it; changes count from the"
            " next start on."
        ),
        "",
    ]
    for name, field in Policy.model_fields.items():
        lines += [f"# {field.description}", tomli_w.dumps({name: field.get_default()}).strip(), ""]
    return "\n".join(lines)


def _translate_differential_privacy(document: dict[str, object], path: Path) -> None:
    """Remove a key of earlier versions, `differential_privacy`, of which `epsilon` is the amount.

    Raises ConfigError if the key demands privacy, but no epsilon says how much.
    """
    demanded = document.pop("differential_privacy", False)
    if demanded is not False and not document.get("epsilon"):
        raise ConfigError(
            f"The policy {path}: differential_privacy got {demanded!r}, and needs an epsilon, which"
            " says how much may be told of one photo: add epsilon = 8.0, or less."
        )


def _key_hint(key: str) -> str:
    return did_you_mean(key, Policy.model_fields) or f" Keys are {', '.join(Policy.model_fields)}."


def _describe_error(error: ValidationError) -> str:
    """Describe the first problem in one sentence or two: key, got, allowed, meaning."""
    problem = error.errors()[0]
    allowed = (
        problem["msg"]
        .replace("Input should be ", "")
        .removeprefix("Value error, ")
        .removeprefix("a ")
    )
    if not problem["loc"]:
        return f"{allowed}."
    name = str(problem["loc"][0])
    return (
        f"{name} got {problem['input']!r}; allowed: {allowed}. It means:"
        f" {Policy.model_fields[name].description}."
    )
