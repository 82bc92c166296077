from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fedshelf.client.health.checks import (
    CHECKS,
    classes,
    copies,
    files,
    machine,
    quality,
    server,
)
from fedshelf.client.health.evidence.finding import Finding, Severity
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.evidence.label_errors import LabelError, LabelErrors, find_suspects
from fedshelf.client.health.evidence.machine import Disk
from fedshelf.client.health.evidence.photos import PhotoEvidence
from fedshelf.client.health.evidence.server_probe import ServerProbe
from fedshelf.client.health.run_checks import exit_code
from tests.helpers.store_photos import GIB, MACHINE, counts, of, seen, thing


def told(findings: object) -> list[tuple[Severity, str]]:
    return [(one.severity, one.what) for one in findings]  # type: ignore[attr-defined]


def test_a_good_store_gives_no_finding_but_that_of_its_processor() -> None:
    good = of(
        *(
            seen(f"{label}/{n}.jpg", thing(40 * i + n))
            for i, label in enumerate(("hat", "boot"))
            for n in range(40)
        )
    )
    many = replace(good, photos=PhotoEvidence(usable=good.photos.usable * 9))
    assert told(files.splits(many)) == []
    found = [
        (check.title, one.what)
        for check in CHECKS
        for one in check.find(good)
        if check.find is not files.splits
    ]
    assert found == [
        (
            "The graphics card works",
            "There is no graphics card; the store trains on 8 processor cores.",
        )
    ]


def test_files() -> None:
    left_out = (("hat/1.jpg", "empty file"), ("hat/2.jpg", "truncated"), ("hat/3.jpg", "truncated"))
    some = replace(
        counts(hat=9), photos=PhotoEvidence(usable=counts(hat=9).photos.usable, left_out=left_out)
    )
    (finding,) = files.readable(some)
    assert finding.what == "3 files cannot be used: 2 truncated, 1 empty file."
    assert [one.name for one in finding.exhibits] == ["hat/1.jpg", "hat/2.jpg", "hat/3.jpg"]
    assert told(files.readable(Evidence(PhotoEvidence(left_out=left_out), MACHINE))) == [
        ("problem", "There is no photo that can be used.")
    ]
    assert told(files.readable(Evidence(PhotoEvidence("No folder."), MACHINE))) == [
        ("problem", "No folder.")
    ]


def test_what_to_do_fits_the_reason() -> None:
    photos = counts(hat=9).photos
    for reason, is_table, way in (
        ("truncated", False, "Copy broken photos again"),
        ("truncated", True, "Copy broken photos again"),
        ("no label", True, "Correct their lines in the CSV file"),
        ("no such file", True, "Correct their lines in the CSV file"),
        ("not a file name", True, "Correct their lines in the CSV file"),
        (
            "not in a class folder",
            False,
            "Move photos that lie beside the class folders into one of them.",
        ),
        ("empty class", False, "Put photos into the folder of an empty class"),
    ):
        left_out = replace(photos, left_out=(("a", reason),), is_table=is_table)
        (finding,) = files.readable(replace(counts(hat=9), photos=left_out))
        assert finding.advice.startswith(f"They are left out of training. {way}")


def test_splits() -> None:
    assert told(files.splits(counts(hat=30)))[0][1].startswith("Of 30 photos, only ")
    assert told(files.splits(counts(hat=600))) == []
    held_out = of(
        *(
            seen(f"{split}/hat/{n}.jpg", split=split)
            for split in ("validation", "test")
            for n in range(30)
        )
    )
    assert told(files.splits(held_out))[0][0] == "problem"


def test_classes_that_the_chain_does_not_teach() -> None:
    store = counts(hat=10, Shirt=9, shoez=3, misc=1)
    assert told(classes.unknown(store)) == []
    silent = replace(store, probe=ServerProbe("shop.example:9092", status=200))
    assert told(classes.unknown(silent)) == [
        ("note", "The server has not said which classes it teaches.")
    ]
    found = list(
        classes.unknown(
            replace(silent, probe=replace(silent.probe, classes=("hat", "shirt ", "shoes")))
        )
    )
    assert told(found) == [
        ("problem", 'The chain does not teach the class "Shirt" (9 photos).'),
        ("problem", 'The chain does not teach the class "misc" (1 photo).'),
        ("problem", 'The chain does not teach the class "shoez" (3 photos).'),
    ]
    assert [one.advice.partition(",")[0] for one in found] == [
        'Rename the folder to "shirt " if that is meant',
        "Rename or move that folder",
        'Rename the folder to "shoes" if that is meant',
    ]
    merging = replace(silent.probe, classes=("hat", "shirt ", "shoez", "misc"), merges=True)
    assert told(classes.unknown(replace(silent, probe=merging))) == []
    assert (
        told(
            classes.unknown(
                replace(counts(hat=10), probe=replace(silent.probe, classes=("hat", "bag")))
            )
        )
        == []
    )


def test_class_sizes() -> None:
    assert told(classes.sizes(counts(hat=10, boot=10))) == []
    assert told(classes.sizes(counts(hat=10, boot=9, shirt=1))) == [
        ("warning", "2 classes have fewer than 10 photos: boot (9), shirt (1).")
    ]
    assert told(classes.sizes(counts(hat=50))) == [
        ("warning", 'All photos are of one class, "hat".')
    ]
    empty = replace(
        counts(hat=10, boot=10), photos=replace(counts(hat=10, boot=10).photos, empty=("old",))
    )
    assert told(classes.sizes(empty)) == [("note", "1 class folder holds no usable photo: old.")]


def test_balance() -> None:
    assert told(classes.balance(counts(hat=100, boot=30))) == []
    assert told(classes.balance(counts(hat=90, boot=80, shirt=8)))[0][0] == "note"
    assert told(classes.balance(counts(hat=90, boot=10))) == [
        ("warning", "90% of the photos are of one class: hat has 90 photos, boot has 10.")
    ]


@pytest.mark.parametrize(
    ("one", "photos", "other", "others"),
    [
        ("shirt", 50, "Shirt", 50),
        ("t-shirt", 50, "T Shirt", 50),
        ("shoe", 9, "shoes", 90),
        ("dress", 5, "dresses", 5),
        ("jacket", 200, "jaket", 3),
        ("jacket", 200, "jacekt", 3),
        ("jacket", 200, "jackel", 2),
        ("jacket", 99, "jackets", 1),
    ],
)
def test_names_that_are_one_class(one: str, photos: int, other: str, others: int) -> None:
    assert len(told(classes.names(counts(**{one: photos, other: others})))) == 1


@pytest.mark.parametrize(
    ("one", "photos", "other", "others"),
    [
        ("shirt", 345, "skirt", 136), ("t-shirt", 900, "shirt", 345), ("hat", 100, "cat", 1),
        ("dress", 50, "dres", 50), ("pants", 50, "shorts", 1), ("size 1", 50, "size 2", 50),
        ("boots", 60, "boats", 50), ("s", 5, "", 5),
    ],
)  # fmt: skip
def test_names_that_are_two_classes(one: str, photos: int, other: str, others: int) -> None:
    assert told(classes.names(counts(**{one: photos, other or "x": others}))) == []


def stops(image: Image.Image, number: float) -> Image.Image:
    """As a camera sees it with 2^number times the light (gamma 2.2)."""
    light = (np.asarray(image) / 255) ** 2.2 * 2.0**number
    return Image.fromarray((255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8))


def test_each_fault_of_a_photo_is_found_and_no_other() -> None:
    bad = {
        quality.dark: stops(thing(1), -4),
        quality.burnt: stops(Image.new("RGB", (90, 90), (200, 210, 220)), 2).resize((90, 90)),
        quality.blurred: thing(3, 256).filter(ImageFilter.GaussianBlur(3)),
        quality.shape: thing(4, 63),
        quality.blank: Image.new("RGB", (99, 99), (90, 120, 30)),
    }
    bad[quality.burnt].paste((10, 10, 10), (0, 0, 90, 9))
    good = [seen(f"hat/good-{n}.jpg", thing(n)) for n in range(20)]
    for check, image in bad.items():
        evidence = of(*good, seen("hat/bad.jpg", image))
        for other in bad:
            names = [exhibit.name for finding in other(evidence) for exhibit in finding.exhibits]
            assert names == (["hat/bad.jpg"] if other is check else []), (check, other)


def test_a_narrow_photo() -> None:
    evidence = of(
        seen("hat/a.jpg", thing(1, 400).resize((65, 400))),
        *(seen(f"hat/{n}.jpg", thing(n)) for n in range(3)),
    )
    assert told(quality.shape(evidence)) == [
        ("warning", "1 photo is more than 4 times as long as wide.")
    ]


def test_a_studio_with_a_white_ground_is_not_over_exposed() -> None:
    white = Image.new("RGB", (90, 90), "white")
    white.paste((20, 20, 20), (40, 40, 60, 60))
    assert told(quality.burnt(of(*(seen(f"hat/{n}.jpg", white) for n in range(5))))) == []


def test_copies() -> None:
    one = seen("hat/1.jpg", thing(1))
    two = seen("hat/2.jpg", thing(1))
    other = seen("boot/3.jpg", thing(1))
    assert told(copies.exact(of(one, seen("hat/4.jpg", thing(4))))) == []
    assert told(copies.exact(of(one, two))) == [
        ("note", "1 photo is a copy of another in the same class.")
    ]
    (found,) = copies.exact(of(one, other))
    assert found.what == "1 pair of photos in two classes is the same file."
    assert [exhibit.remark for exhibit in found.exhibits] == ["hat, or boot?", "boot, or hat?"]
    leak = of(seen("train/hat/1.jpg", thing(1), "train"), seen("test/hat/2.jpg", thing(1), "test"))
    assert ("warning", "1 photo to train on is also held out for validation or test.") in told(
        copies.exact(leak)
    )


def test_suspects_by_hand() -> None:
    """Only who is sure at 0.98 is heard, and surest first: by what the other class has more."""
    chances = np.array([[0.99, 0.01], [0.25, 0.75], [0.99, 0.01], [0.015, 0.985]], np.float32)
    assert find_suspects(chances, np.array([0, 0, 1, 1])) == [(2, 0)]
    assert find_suspects(chances, np.array([0, 0, 1, 0])) == [(2, 0), (3, 1)]
    assert find_suspects(chances[:0], np.array([], np.int64)) == []


def test_a_class_is_believed_only_where_it_is_as_sure_as_on_its_own_photos() -> None:
    """On its own two photos class 1 has 1.0 and 0.99, 0.995 in the mean: 0.985 elsewhere is less
    than that.
    """
    chances = np.array([[0.0, 1.0], [0.01, 0.99], [0.015, 0.985]], np.float32)
    assert find_suspects(chances, np.array([1, 1, 0])) == []


def test_doubts_of_a_good_model_only() -> None:
    doubt = LabelError(seen("hat/1.jpg"), "boot", 0.98)
    evidence = counts(hat=20, boot=20)
    assert told(classes.doubts(evidence)) == []
    good = replace(evidence, label_errors=LabelErrors(40, 38, (), (doubt,)))
    (finding,) = classes.doubts(good)
    assert finding.severity == "warning"
    assert [(one.name, one.remark) for one in finding.exhibits] == [("hat/1.jpg", "boot? (98%)")]
    assert (
        told(classes.doubts(replace(evidence, label_errors=LabelErrors(40, 20, (), (doubt,)))))[0][
            0
        ]
        == "note"
    )
    assert (
        "does not know hat"
        in told(classes.doubts(replace(evidence, label_errors=LabelErrors(0, 0, ("hat",), ()))))[0][
            1
        ]
    )


def test_the_machine() -> None:
    def on(**changes: object) -> Evidence:
        return Evidence(PhotoEvidence(), replace(MACHINE, **changes))  # type: ignore[arg-type]

    assert (
        "cannot be used"
        in told(machine.device(on(device_trouble="no kernel", driver="535.1")))[0][1]
    )
    assert (
        told(
            machine.device(on(device="cuda", device_name="L4", device_memory=(20 * GIB, 24 * GIB)))
        )
        == []
    )
    assert told(
        machine.device(on(device="cuda", device_name="L4", device_memory=(GIB, 24 * GIB)))
    ) == [("warning", "Only 1.0 GiB of the 24.0 GiB of the L4 are free.")]
    assert told(machine.memory(on(memory=(GIB, 4 * GIB))))[0][0] == "warning"
    assert told(machine.memory(on(memory=None))) == []
    full = Disk("keys", Path("/keys"), 2**20)
    locked = Disk("keys", Path("/keys"), 9 * GIB, "Permission denied")
    for disk, severity in (
        (full, "problem"),
        (locked, "problem"),
        (Disk("keys", Path("/k"), GIB // 2), "warning"),
    ):
        assert [one for one, _ in told(machine.disks(on(disks=(disk,))))] == [severity]


def test_the_server() -> None:
    def line(**parts: object) -> Evidence:
        return Evidence(PhotoEvidence(), MACHINE, probe=ServerProbe("shop.example:9092", **parts))  # type: ignore[arg-type]

    def all_of(evidence: Evidence) -> list[Finding]:
        return [
            one
            for check in (server.answers, server.certificate, server.clock)
            for one in check(evidence)
        ]

    later = datetime.now(UTC) + timedelta(days=300)
    assert all_of(line(status=200, ends=later, skew=29.0)) == []
    assert told(all_of(line(status=200, ends=later, skew=-31.0))) == [
        ("warning", "This machine's clock is 31 s ahead of the server's.")
    ]
    assert told(all_of(line(status=200, ends=later, skew=301.0))) == [
        # `join` goes by the server's clock
        ("warning", "This machine's clock is 5 min 1 s behind the server's.")
    ]
    soon = datetime.now(UTC) + timedelta(days=13, hours=1)
    assert told(all_of(line(status=200, ends=soon)))[0][1].startswith(
        "The server's certificate ends in 13 days"
    )
    troubles = [
        {"trouble": kind} for kind in ("unreachable", "proxy", "protocol", "certificate", "name")
    ]
    for parts in (*troubles, {"status": 404}):
        assert [severity for severity, _ in told(all_of(line(**parts)))] == ["problem"]
    assert told(all_of(line(status=503)))[0][0] == "warning"


def test_exit_codes() -> None:
    def finding(kind: str, severity: str) -> Finding:
        return Finding(kind, severity, "", "")  # type: ignore[arg-type]

    assert (
        exit_code([]) == exit_code([finding("photos", "warning"), finding("server", "note")]) == 0
    )
    assert exit_code([finding("photos", "problem"), finding("server", "problem")]) == 3
    assert exit_code([finding("settings", "problem"), finding("server", "problem")]) == 6
    assert (
        exit_code([finding("machine", "problem")])
        == exit_code([finding("settings", "problem")])
        == 2
    )
    assert told(machine.policy(Evidence(PhotoEvidence(), MACHINE, policy_error="bad"))) == [
        ("problem", "bad")
    ]


def test_folders_of_splits_or_stores_taken_for_classes_are_a_warning() -> None:
    names = [
        f"{top}/{label}/{n}.jpg"
        for top in ("Test set", "Training set")
        for label in ("hat", "shoe")
        for n in (1, 2)
    ]
    found = told(
        classes.deep(of(*(seen(name, thing(number)) for number, name in enumerate(names))))
    )
    assert [severity for severity, _ in found] == ["warning"]
    assert "The classes are Test set, Training set" in found[0][1]
    assert found[0][1].endswith("some of these have the same name: hat, shoe.")
    assert (
        told(
            classes.deep(
                of(
                    seen("hat/1/1.jpg", thing(1)),
                    seen("shoe/1/2.jpg", thing(2)),
                    seen("shoe/3.jpg", thing(3)),
                )
            )
        )
        == []
    )
