import html.parser
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from fedshelf.server.report.naming import with_display_names
from fedshelf.server.report.page import write_report
from fedshelf.server.report.run_data import read_run
from tests.helpers.sample_run import confusion, make_run, per_class, write_history


class Page(html.parser.HTMLParser):
    """Tags with attributes, texts, and whether every tag is closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    @property
    def sections(self) -> list[str | None]:
        return [attributes.get("id") for tag, attributes in self.tags if tag == "section"]


def page_of(directory: Path) -> tuple[str, Page]:
    markup = write_report(directory).read_text(encoding="utf-8")
    page = Page(markup)
    assert page.open == []
    return markup, page


def change_summary(directory: Path, **changes: Any) -> None:
    path = directory / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_finished_run_has_every_section(finished_run: Path) -> None:
    _, page = page_of(finished_run)
    assert page.sections == [
        "curves", "stores", "confusion", "classes", "calibration", "partition", "failures", "time",
        "configuration",
    ]  # fmt: skip


def test_the_page_asks_nothing_of_the_network(finished_run: Path) -> None:
    markup, page = page_of(finished_run)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", markup)
    assert not {tag for tag, _ in page.tags} & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    }
    assert [attributes["href"] for tag, attributes in page.tags if tag == "link"] == ["data:,"]
    policy = next(
        found["content"]
        for _, found in page.tags
        if found.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_numbers_are_there(finished_run: Path) -> None:
    summary = json.loads((finished_run / "summary.json").read_text())
    _, page = page_of(finished_run)
    assert f"{100 * summary['test']['accuracy']:.1f}%" in page.texts
    assert str(summary["best"]["round"]) in page.texts
    for name, found in summary["per_store"].items():
        assert page.texts.count(name) >= 1
        assert f"{100 * found['accuracy']:.1f}%" in page.texts
    for found in summary["test"]["per_class"].values():
        assert f"{100 * found['f1']:.1f}%" in page.texts
    assert summary["weights_sha256"] in page.texts
    assert "its device ran out of memory" in page.texts


def test_the_curves_pass_through_the_history(finished_run: Path) -> None:
    _, page = page_of(finished_run)
    lines = [
        found["d"] or ""
        for tag, found in page.tags
        if tag == "path" and found.get("class") == "line test"
    ]
    assert len(lines) == 2  # accuracy and loss
    assert all(line.count("L") == 19 for line in lines)
    heights = [int(point.split()[1]) for point in re.split("[ML]", lines[0])[1:]]
    accuracies = [
        json.loads(line)["test"]["accuracy"]
        for line in (finished_run / "history.jsonl").read_text().splitlines()
    ]
    # The axis runs from 20% to 100%, drawn from 1000 up to 0.
    assert heights == pytest.approx(
        [1000 * (1 - accuracy) / 0.8 for accuracy in accuracies], abs=0.51
    )


def test_the_stores_spread_is_told_and_each_store_is_drawn(finished_run: Path) -> None:
    summary = json.loads((finished_run / "summary.json").read_text())
    _, page = page_of(finished_run)
    told = summary["per_store_spread"]
    text = " ".join(page.texts)
    assert (
        f"At {told['worst_store']} the model is right on {100 * told['accuracy']['worst']:.1f}% of"
        " its 60" in text
    )
    assert (
        f"{100 * told['accuracy']['gap']:.1f} points between the worst and the best store" in text
    )
    drawn = [
        found
        for tag, found in page.tags
        if tag == "svg" and found.get("aria-label") == "Confusion matrix"
    ]
    assert len(drawn) == 1 + 10
    assert "Where each store is weak" in page.texts


def test_what_each_store_contributed_stands_beside_it_where_that_is_known(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run")
    assert "Part" not in page_of(directory)[1].texts
    change_summary(directory, contribution={"store-00": 1.021, "store-01": -0.021})
    _, page = page_of(directory)
    assert {"Part", "102.1%", "-2.1%"} <= set(page.texts)


def test_confused_pairs_and_confidence_are_in_words_and_pictures(finished_run: Path) -> None:
    summary = json.loads((finished_run / "summary.json").read_text())
    _, page = page_of(finished_run)
    pair = summary["confused"][0]
    text = " ".join(page.texts)
    for way in pair["ways"]:
        share = f"{100 * way['share']:.1f}%"
        found = (
            f"of {way['of']:,} images of {way['class']}, {way['images']:,} ({share}) taken for"
            f" {way['taken_for']}"
        )
        assert found in page.texts
    calibration = summary["calibration"]
    assert f"its confidence is off by {100 * calibration['unscaled']['ece']:.1f} points" in text
    assert (
        f"give confidences that are off by {100 * calibration['scaled']['ece']:.1f} points" in text
    )
    assert "As trained" in page.texts
    assert "Temperature 1.30" in page.texts


def test_an_outcome_that_names_no_evaluation_is_not_told_by_an_earlier_ones(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", rounds=2)
    change_summary(directory, status="failed", test=None, evaluation_file=None)
    _, page = page_of(directory)
    assert "calibration" not in page.sections
    assert "Where each store is weak" not in page.texts


def test_settings_that_were_changed_are_marked_with_their_default(finished_run: Path) -> None:
    _, page = page_of(finished_run)
    assert sum(tag == "tr" and found.get("class") == "changed" for tag, found in page.tags) == 3
    assert "default: 0.05" in page.texts
    assert "learning rate of the first round" in page.texts
    assert page.texts.count("1 changed") == 3  # the partition, the learning rate, the rounds


def test_a_run_on_scenes_tells_of_boxes_and_not_of_classes(
    finished_run: Path, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(finished_run, tmp_path / "scenes"))
    path = directory / "history.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    figures = {"ap": 0.25, "ap_50": 0.75}
    for record in records:
        record["test"] |= figures
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    summary = json.loads((directory / "summary.json").read_text())
    change_summary(directory, test=summary["test"] | figures)
    _, page = page_of(directory)
    assert {"Test AP", "25.0%", "AP50 75.0%", "ap_50", "0.750"} <= set(page.texts)
    assert "metrics" in page.sections
    assert {"stores", "classes", "confusion"}.isdisjoint(page.sections)


def test_hostile_names_are_shown_and_do_nothing(tmp_path: Path) -> None:
    evil = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>\u202e{{ 7*7 }}"""
    directory = make_run(tmp_path / "run", stores=3, rounds=4, classes=2)
    for name in ("summary.json", "partition.json", "history.jsonl"):
        content = (directory / name).read_text()
        for victim in ("store-01", "product 01"):
            content = content.replace(json.dumps(victim), json.dumps(evil))
        (directory / name).write_text(content)
    records = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    records[0]["failed"] = {evil: {"code": evil, "reason": evil}}
    write_history(directory, records)
    change_summary(directory, reason=evil, status="failed")
    markup, page = page_of(directory)
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert not any(name.startswith("on") for _, found in page.tags for name in found)
    assert "<script>alert(1)</script>" in " ".join(page.texts)
    assert "{{ 7*7 }}" in markup
    assert "\u202e" not in markup  # right-to-left override


def test_a_long_run_of_many_stores_and_classes_stays_small(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", stores=60, rounds=300, classes=80)
    records = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    for record in records:
        del record["validation"]["stores"]
    write_history(
        directory,
        [record | {"round": 300 * lap + record["round"]} for lap in range(5) for record in records],
    )
    markup, page = page_of(directory)
    assert len(markup.encode()) < 700_000
    assert "The weakest stores" in page.texts
    assert "The other 60 classes" in page.texts


@pytest.mark.parametrize("classes", [1, 2, 12, 13, 80])
@pytest.mark.parametrize("stores", [1, 41])
def test_sizes(tmp_path: Path, stores: int, classes: int) -> None:
    _, page = page_of(make_run(tmp_path / "run", stores=stores, rounds=1, classes=classes))
    assert len(page.sections) == 9


def test_an_empty_directory_is_an_unfinished_run(tmp_path: Path) -> None:
    _, page = page_of(tmp_path)
    assert "Unfinished" in page.texts
    assert page.sections == ["curves", "failures"]


def test_a_run_that_failed_before_its_first_round(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run")
    (directory / "history.jsonl").unlink()
    (directory / "partition.json").unlink()
    nothing = {"test": None, "best": None, "per_store": None, "evaluation_file": None, "rounds": 0}
    change_summary(
        directory, status="failed", reason="only 1 of 3 stores joined within 600 s", **nothing
    )
    _, page = page_of(directory)
    assert "Failed" in page.texts
    assert any(
        "Reason: only 1 of 3 stores joined within 600\N{NO-BREAK SPACE}s." in text
        for text in page.texts
    )
    assert page.sections == ["curves", "failures", "time", "configuration"]


def test_a_run_without_test_set_and_validation(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run")
    records = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    write_history(directory, [record | {"test": None, "validation": None} for record in records])
    change_summary(directory, test=None, best=None, per_store=None, evaluation_file=None)
    _, page = page_of(directory)
    assert page.sections == ["curves", "partition", "failures", "time", "configuration"]
    assert [
        found["class"]
        for tag, found in page.tags
        if tag == "path" and "line" in (found.get("class") or "")
    ] == [
        "line train",
        "line asked",
        "line used",
        "line total",
    ]


def test_half_a_last_line_from_a_kill_is_passed_over(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", rounds=5)
    path = directory / "history.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    (directory / "summary.json").unlink()
    _, page = page_of(directory)
    line = next(
        found["d"]
        for tag, found in page.tags
        if tag == "path" and found.get("class") == "line train"
    )
    assert line is not None
    assert line.count("L") == 3  # four rounds


@pytest.mark.parametrize(
    ("rounds", "deliver", "is_flattered"),
    [(3, "auto", True), (1, "auto", False), (3, "last", False)],
)
def test_figures_by_which_a_round_was_chosen_are_called_too_good(
    tmp_path: Path, rounds: int, deliver: str, is_flattered: bool
) -> None:
    directory = make_run(tmp_path / "run", rounds=rounds)
    best = {"round": rounds, "accuracy": 0.7, "on": "validation"}
    change_summary(
        directory, best=best, delivered_round=rounds, per_store_from="validation", rounds=rounds
    )
    config = directory / "config.toml"
    config.write_text(config.read_text().replace('deliver = "auto"', f'deliver = "{deliver}"'))
    markup, _ = page_of(directory)
    assert "Measured on the validation images" in markup
    assert ("these figures are a little too good" in markup) == is_flattered


def test_a_run_that_trains_nothing_shows_no_loss_of_training(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", rounds=2)
    assert "at the stores, during training" in page_of(directory)[0]
    records = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    for record in records:
        record["train"]["loss"] = None
    write_history(directory, records)
    markup, page = page_of(directory)
    assert "at the stores, during training" not in markup
    assert "line train" not in {found.get("class") for _, found in page.tags}


def test_a_loss_that_policies_withhold_is_told_in_words_and_not_drawn(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", rounds=2)
    assert "withheld" not in page_of(directory)[0]
    records = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    for record in records:
        record["train"]["loss"] = None
        for store in ("store-00", "store-01"):
            record["stores"][store] = {"images": 50, "steps": 9, "loss": None, "seconds": 10.0}
    write_history(directory, records)
    markup, page = page_of(directory)
    assert "The training loss of 2 stores is withheld by policy" in markup
    assert "nan" not in markup.lower().split("<main>")[1].split("</main>")[0]
    assert "line train" not in {found.get("class") for _, found in page.tags}


def test_evaluations_that_policies_withhold_are_told_in_words(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", rounds=1)
    path = directory / "summary.json"
    names = [f"oslo-{number}" for number in range(12)]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"withholding": names}))
    markup, _ = page_of(directory)
    assert "The evaluations of 12 stores are withheld by policy: oslo-0, oslo-1," in markup
    assert "oslo-9 and 2 more." in markup
    assert "oslo-10" not in markup


def test_a_loss_that_exploded_and_values_that_are_null(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", rounds=5)
    records = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    records[2]["train"]["loss"] = 1e30
    records[3]["train"]["loss"] = None
    records[4]["test"] |= {"loss": None, "macro_f1": None}
    write_history(directory, records)
    change_summary(
        directory,
        per_store={"store-00": {"accuracy": None, "macro_f1": None, "loss": None, "images": 0}},
    )
    _, page = page_of(directory)
    assert "stores" not in page.sections


def test_a_class_without_test_images(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", classes=10)
    classes = ["a", "b", "c"]
    matrix = [*confusion(2, 10), [0, 0]]
    matrix = [[*row, 0] for row in matrix]
    test = json.loads((directory / "summary.json").read_text())["test"]
    change_summary(
        directory,
        test=test | {"confusion": matrix, "per_class": per_class(classes, matrix)},
        model={"name": "cnn", "classes": classes},
    )
    _, page = page_of(directory)
    assert "confusion" in page.sections


def test_a_damaged_history_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"round": 1}\nnonsense\n')
    with pytest.raises(ValueError, match="Expecting value"):
        write_report(tmp_path)


def test_stores_under_suspicion_are_named_and_those_set_aside_come_first(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", rounds=2)
    records = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    standing = {
        "suspects": {"ost": "seems to take hats for <shoes>", "a": "same"},
        "set_aside": {"ost": "3 bad rounds"},
    }
    capped = {"süd": {"claimed": 10**9, "counted": 1000}}
    write_history(
        directory,
        [
            *records[:-1],
            records[-1] | {"standing": standing, "capped": capped, "clipped": {"a": 0.2}},
        ],
    )
    markup, page = page_of(directory)
    assert "doubts" in page.sections
    assert "<b>süd</b>: it says it has 1000000000 training images and counts for 1000; if" in markup
    assert markup.index("<b>ost</b> was set aside: 3 bad rounds.") < markup.index(
        "<b>a</b>: same; its update was made smaller in 1 round."
    )


def test_the_raw_accuracy_stands_beside_the_one_of_the_model_as_stores_use_it(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "run", stores=3)
    summary = json.loads((run / "summary.json").read_text())
    both = {
        way: {"accuracy": share, "macro_f1": share, "loss": 1 - share, "images": 180}
        for way, share in (("raw", 0.4321), ("adjusted", 0.876))
    }
    found = {
        "used": "adjusted",
        "chosen_on": "validation",
        "validation": both,
        "test": None,
        "temperature": None,
    }
    for row in summary["per_store"].values():
        row["raw_accuracy"] = 0.1236
    (run / "summary.json").write_text(json.dumps(summary | {"adjustment": found}))
    write_report(run)
    _, page = page_of(run)
    assert "Raw" in page.texts
    assert page.texts.count("12.4%") == 3
    assert "87.6% of their 180 validation images, as it is on 43.2%" in " ".join(page.texts)
    (run / "summary.json").write_text(json.dumps(summary | {"adjustment": found | {"used": "raw"}}))
    write_report(run)
    assert "Raw" not in page_of(run)[1].texts


def test_classes_that_are_numbers_are_called_so_and_stand_in_their_order(tmp_path: Path) -> None:
    directory = make_run(tmp_path / "run", classes=12)
    numbers = sorted(map(str, range(12)))  # as a model has them: 0, 1, 10, 11, 2, ...
    for name in ("summary.json", "partition.json", "evaluation.json"):
        text = (directory / name).read_text()
        for place, number in enumerate(numbers):
            text = text.replace(f'"product {place:02}"', f'"{number}"')
        (directory / name).write_text(text)
    summary = json.loads((directory / "summary.json").read_text())
    shown = with_display_names(read_run(directory))
    in_order = [f"class {number}" for number in range(12)]
    assert shown.summary["model"]["classes"] == shown.evaluation["classes"] == in_order
    assert list(shown.summary["test"]["per_class"]) == shown.partition["classes"] == in_order
    confusion = summary["test"]["confusion"]
    ten = numbers.index("10")
    assert shown.summary["test"]["confusion"][10][2] == confusion[ten][numbers.index("2")]
    assert (
        sum(shown.summary["test"]["confusion"][10]) == summary["test"]["per_class"]["10"]["images"]
    )
    partition = json.loads((directory / "partition.json").read_text())
    assert shown.partition["stores"]["store-00"][10] == partition["stores"]["store-00"][ten]
    _, page = page_of(directory)
    told = [text.replace("\N{NO-BREAK SPACE}", " ") for text in page.texts]
    assert any(
        re.match(r"of [\d,]+ images of class \d+, \d+ .* taken for class \d+$", text)
        for text in told
    )


def test_what_the_accuracy_is_worth_and_how_to_run_it_again_stand_on_top(
    finished_run: Path,
) -> None:
    test = json.loads((finished_run / "summary.json").read_text())["test"]
    change_summary(finished_run, ended="2026-11-28T17:00:00+00:00", version="1.2.3")
    _, page = page_of(finished_run)
    text, (low, high) = " ".join(page.texts), test["interval"]
    assert f"(95% interval {100 * low:.1f} to {100 * high:.1f}%)" in text
    assert (
        f"always naming their commonest class, {test['baseline']['class']}, would be right on"
        in text
    )
    assert "Ended 2026-11-28 17:00:00 UTC, Fedshelf 1.2.3." in text
    assert "flower-simulation run --config" in text
    assert not [found for tag, found in page.tags if tag == "details" and "open" in found]
    assert text.index("Time and traffic") < text.index("Configuration")
