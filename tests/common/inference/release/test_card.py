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


def test_a_locators_card_has_its_boxes_its_counts_and_its_limits() -> None:
    description = ModelDescription(
        spec_of("locator", ("product",), 160),
        ("product",),
        provenance={"dataset": "shelf-scenes", "strategy": "fedavg"},
    )
    figures = {"ap": 0.39, "ap_50": 0.83, "ap_75": 0.31, "count_share": 0.25, "accuracy": 0.1}
    summary = {
        "stores": 2,
        "test": {**figures, "images": 200},
        "per_store_from": "validation",
        "per_store": {"oslo": {**figures, "ap_50": 0.9, "images": 20}},
        "counting": {
            "threshold": 0.24,
            "chosen_on": "validation",
            "count_error": 1.88,
            "count_share": 0.175,
            "count_bias": -0.53,
        },
    }
    card = model_card(description, summary, {}, "", "boxes")
    lines = card.split("\n")
    assert lines[0] == "# locator that finds products on photos of scenes"
    assert "| store | AP50 | AP75 | count error | images |" in lines
    assert "| oslo | 90.0% | 31.0% | 25.0% | 20 |" in lines
    assert "AP50 83.0%, AP75 31.0%, AP 39.0%" in card
    assert "counts: 0.24, chosen on validation photos" in card
    assert "off by 1.88 products (17.5% of the products), and -0.53 on the average" in card
    assert "only what is in view" in card
    assert "drawn shelves alone" in card
    assert "does not name them" in card
    assert "10.0%" not in card  # the share of faultless photos says little


def test_a_mask_networks_card_tells_overlaps_and_no_counts() -> None:
    description = ModelDescription(
        spec_of("unet", ("background", "product"), 64),
        ("background", "product"),
        provenance={"dataset": "/home/somebody/shelves"},
    )
    summary = {"test": {"iou": 0.75, "images": 9}, "per_store": {"oslo": {"iou": 0.5, "images": 2}}}
    card = model_card(description, summary, {}, "", "masks")
    assert "IoU 75.0%" in card
    assert "| oslo | 50.0% | 2 |" in card
    assert "pixels are no count" in card
    assert "drawn shelves alone" not in card
    assert "Temperature" not in card


def test_a_mask_network_with_classes_tells_them_apart() -> None:
    spec = spec_of("unet", ("background", "can", "box"), 64)
    summary = {"test": {"iou": 0.75, "images": 9}}
    card = model_card(ModelDescription(spec, spec.classes), summary, {}, "", "masks")
    assert "the mean over the background and the classes of the pixels" in card
    assert "a product of 2 classes that it knows" in card
    assert "not which product" not in card


def test_a_locator_with_classes_names_them() -> None:
    spec = spec_of("locator", ("can", "box"), 160)
    card = model_card(ModelDescription(spec, spec.classes), {}, {}, "", "boxes")
    assert "It knows 2 classes of products alone." in card
    assert "does not name them" not in card
    assert "The run was not evaluated." in card
    assert "0.3 is usual" in card


def test_a_locator_with_classes_tells_how_well_it_finds_each() -> None:
    """One without, whose summary has the same figures of its one class, has no such table."""
    spec = spec_of("locator", ("can", "box"), 160)
    figures = {"ap": 0.25, "ap_50": 0.5, "ap_75": 0.1, "images": 9}
    rows = {
        "can": {"ap": 0.4, "ap_50": 0.75, "products": 30, "count_error": 1.0},
        "box": {"ap": None, "ap_50": None, "products": 0},
    }
    summary = {"test": {**figures, "per_class": rows}}
    named = ModelDescription(spec, ("Can | 33 cl", "Box"))
    lines = model_card(named, summary, {}, "", "boxes").split("\n")
    head = lines.index("| class | AP | AP50 | products |")
    assert lines[head + 2 : head + 4] == [
        r"| Can \| 33 cl | 40.0% | 75.0% | 30 |",
        "| Box | - | - | 0 |",
    ]
    spec = spec_of("locator", ("product",), 160)
    summary = {"test": {**figures, "per_class": {"product": rows["can"]}}}
    card = model_card(ModelDescription(spec, spec.classes), summary, {}, "", "boxes")
    assert "| class |" not in card
    spec = spec_of("locator", ("can",), 160)
    card = model_card(ModelDescription(spec, spec.classes), summary, {}, "", "boxes")
    assert "It knows 1 class of products alone." in card
