"""`flower-client planogram`, as a person runs it: two shelves of coloured squares."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.client_command import refused, run
from tests.helpers.hand_made_models import write_colour_classifier, write_square_locator
from tests.helpers.squares import write_shelf


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The command but for its options: a plan of r g b above b b b, a photo of r r b and b _ b."""
    locator = write_square_locator(tmp_path / "models" / "locator.onnx")
    classifier = write_colour_classifier(tmp_path / "models" / "model.onnx")
    write_shelf(tmp_path / "photos" / "shelf.png")
    lines = ["shelf,column,product"]
    for row, names in enumerate((("red", "green", "blue"), ("blue",) * 3), start=1):
        lines += [f"{row},{column},{name}" for column, name in enumerate(names, start=1)]
    (tmp_path / "plan.csv").write_text("\n".join(lines))
    photos = str(tmp_path / "photos")
    plan = str(tmp_path / "plan.csv")
    return ["planogram", str(locator), plan, photos, "--classifier", str(classifier)]


def test_gaps_and_wrong_products_are_named(tmp_path: Path, command: list[str]) -> None:
    done = run(tmp_path, *command, "--pictures", str(tmp_path / "pictures"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "photos/shelf.png: 6 places: 4 right, 1 wrong, 0 unsure, 0 unknown and 1 gap",
        "  shelf 1, column 2: red, expected green",
        "  shelf 2, column 2: gap, expected blue",
    ]
    with Image.open(tmp_path / "pictures" / "photos" / "shelf.png.jpg") as picture:
        assert picture.size == (160, 160)


def test_json_has_every_place(tmp_path: Path, command: list[str]) -> None:
    told = json.loads(run(tmp_path, *command, "--json").stdout)
    assert [place["outcome"] for place in told["places"]] == [
        "right", "wrong", "right", "right", "gap", "right",
    ]  # fmt: skip
    assert told["places"][1]["seen"]["box"] == [54, 50, 70, 66]
    assert told["places"][4] == {
        "place": "shelf 2, column 2",
        "expected": "blue",
        "outcome": "gap",
        "seen": None,
    }
    assert told["extra"] == []


def test_a_plan_of_other_products_is_refused(tmp_path: Path, command: list[str]) -> None:
    Path(command[2]).write_text("shelf,column,product\n1,1,reed\n")
    assert "Did you mean red?" in refused(tmp_path, 3, *command)
    assert "is a locator" in refused(tmp_path, 3, *command[:-1], command[1])
    assert "A planogram is for names: give --classifier MODEL" in refused(
        tmp_path, 2, *command[:-2]
    )


def test_a_locator_with_classes_needs_no_classifier(tmp_path: Path, command: list[str]) -> None:
    """The plan has its names; a classifier that is given has the names of the plan instead."""
    named = str(write_square_locator(tmp_path / "named.onnx", classes=("cherry", "leaf", "sky")))
    plan = tmp_path / "names.csv"
    plan.write_text("shelf,column,product\n1,1,cherry\n1,2,leaf\n1,3,sky\n2,1,sky\n2,2,leaf\n")
    assert run(tmp_path, command[0], named, str(plan), command[3]).stdout.splitlines() == [
        "photos/shelf.png: 5 places: 3 right, 2 wrong, 0 unsure, 0 unknown and 0 gap",
        "  shelf 1, column 2: cherry, expected leaf",
        "  shelf 2, column 2: sky, expected leaf",
    ]
    by_classifier = run(tmp_path, command[0], named, *command[2:])
    assert "6 places: 4 right, 1 wrong" in by_classifier.stdout
