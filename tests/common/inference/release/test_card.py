"""The card says what the run says, and names from stores cannot break it."""

from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.release.card import model_card
from tests.helpers.saved_models import spec_of

DESCRIPTION = ModelDescription(
    spec_of(classes=("a", "b")),
    ("Boots", "Hats | caps"),
    temperature=1.25,
    energy_threshold=2.5,
    provenance={"dataset": "/home/somebody/shop", "strategy": "fedavg", "run_id": "r1"},
)
SUMMARY = {
    "stores": 2,
    "rounds": 7,
    "test": {
        "accuracy": 0.5,
        "interval": [0.4, 0.6],
        "macro_f1": 0.25,
        "images": 40,
        "per_class": {
            "a": {"precision": 1.0, "recall": 0.5, "f1": 0.667, "images": 30},
            "b": {"precision": None, "recall": 0.0, "f1": None, "images": 10},
        },
    },
    "per_store_from": "validation",
    "per_store": {"oslo\n# hacked": {"accuracy": 0.75, "macro_f1": 0.7, "images": 8}},
    "calibration": {"unscaled": {"ece": 0.2}, "scaled": {"ece": 0.05}},
}


def test_it_has_the_results_for_each_class_and_store() -> None:
    lines = model_card(DESCRIPTION, SUMMARY, {"run": {"recipe": "ridge"}}, "CC BY 4.0").split("\n")
    for line in (
        "# cnn for 2 classes of products",
        "- Stores: 2",
        "- Photos: shop",
        "- Recipe: ridge",
        "50.0% of 40 test photos are told rightly (95% interval 40.0% to 60.0%); macro F1 25.0%.",
        "| Boots | 100.0% | 50.0% | 66.7% | 30 |",
        r"| Hats \| caps | - | 0.0% | - | 10 |",
        "- Temperature: 1.250",
        "- Calibration error with it: 0.050",
        "- Energy below which a photo is like nothing that it knows: 2.500",
        "CC BY 4.0",
    ):
        assert line in lines
    assert "/home" not in "\n".join(lines)
    (oslo,) = (line for line in lines if "oslo" in line)
    assert oslo.endswith("| 75.0% | 70.0% | 8 |")


def test_a_run_that_measured_nothing_has_a_card_too() -> None:
    bare = ModelDescription(spec_of(), spec_of().classes)
    card = model_card(bare, {}, {}, "")
    assert "The run was not evaluated." in card
    assert "None was given" in card
    assert "not measured" in card
    assert "None" not in card.replace("None was given", "")
