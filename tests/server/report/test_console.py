import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from fedshelf.common.tasks.masks import RIGHT_MEAN_IOU
from fedshelf.server.report.console import RoundTable, format_round, print_outcome
from tests.helpers.sample_run import history

STORES = [f"store-{index:02d}" for index in range(10)]
RECORD: dict[str, Any] = {
    "round": 3, "lr": 0.05, "sampled": STORES,
    "stores": {store: {"images": 500, "loss": 1.2, "seconds": 0.3} for store in STORES[1:]},
    "failed": {"store-00": {"code": "timeout", "reason": "no answer within 30 s"}},
    "train": {"loss": 1.23, "images": 4500}, "test": {"accuracy": 0.8123},
    "validation": {"accuracy": 0.799}, "seconds": {"total": 0.31}, "bytes": {"down": 1, "up": 1},
}  # fmt: skip


def plain() -> Console:
    return Console(file=io.StringIO(), width=40)


def terminal(height: int = 40) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=110,
        height=height,
        _environ={"TERM": "xterm-256color"},
    )


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def last_frame(console: Console) -> str:
    """Return the last picture of the terminal: all after the last time that the table's head was
    drawn.
    """
    written = text(console)
    return written[written.rindex("train loss") - 20 :]


def test_plain_line() -> None:
    assert (
        format_round(RECORD, 20, 5.27)
        == "round=3/20 loss=1.2300 test=0.8123 validation=0.7990 stores=9/10"
        " failed=store-00:timeout seconds=0.310 eta=5"
    )


def test_on_scenes_the_precision_of_boxes_stands_for_the_accuracy() -> None:
    """The share of photos without any mistake says little of a locator."""
    figures = {"accuracy": 0.01, "ap": 0.5, "ap_50": 0.9, "images": 200, "on": "server"}
    line = format_round(RECORD | {"failed": {}, "test": figures, "validation": None}, 20, 0.0)
    assert " test=0.5000 " in line
    console = terminal()
    with RoundTable(20, console=console) as table:
        table.row(RECORD | {"failed": {}, "test": figures, "validation": None})
        table.row(RECORD | {"round": 4, "failed": {}, "test": None, "validation": None})
    assert "test AP" in last_frame(console)
    counting = {"threshold": 0.3, "count_error": 1.25, "count_share": 0.1}
    summary = {"status": "finished", "test": figures, "counting": counting}
    console = plain()
    print_outcome(summary, Path("run"), console=console)
    assert (
        "AP 50.0%, AP50 90.0% on the server's 200 test photos; counting boxes from a score of 0.3"
        " on is off by 1.2 products a photo (10.0% of them)." in text(console)
    )
    assert "accuracy" not in text(console)


def test_the_outcome_of_scenes_without_ap_says_that_the_share_is_of_photos() -> None:
    """Noised counts leave nothing but the share of right photos, which is no accuracy of names."""
    test = {"accuracy": 2 / 3, "images": 12, "on": "stores", "baseline": {"class": "product"}}
    summary = {
        **{"status": "finished", "rounds": 4, "test": test, "delivered_round": 3},
        **{"best": {"round": 3, "accuracy": 0.5, "on": "validation"}, "delivered_because": "it is"},
    }
    for objective, right in (
        ("boxes", "without a mistake"),
        ("masks", f"with a mean IoU of {RIGHT_MEAN_IOU:.0%} or more"),
    ):
        console = plain()
        print_outcome(summary | {"objective": objective}, Path("run"), console=console)
        told = f"Share of photos {right}: 66.7% on the stores' 12 test photos."
        assert told in text(console)
        assert "accuracy" not in text(console)


def test_plain_line_leaves_out_what_was_not_measured() -> None:
    record = RECORD | {"failed": {}, "test": None, "validation": None, "train": {"loss": None}}
    assert format_round(record, 20, 0.0) == "round=3/20 stores=9/10 seconds=0.310 eta=0"


def test_plain_line_shortens_many_failures_and_stays_one_word_per_key() -> None:
    failed = {f"my store {index}\n": {"code": "error", "reason": ""} for index in range(10)}
    words = format_round(RECORD | {"failed": failed}, 20, 0.0).split(" ")
    assert "failed=my_store_0\ufffd:error,my_store_1\ufffd:error,my_store_2\ufffd:error,+7" in words
    assert all("=" in word for word in words)


def test_without_a_terminal_a_round_is_one_unbroken_line() -> None:
    console = plain()
    records = history(STORES, 12)
    with RoundTable(12, console=console) as table:
        for record in records:
            table.training(record["round"], 5, 10)
            table.row(record)
        table.note("store-03 joined again")
    lines = text(console).splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [
        f"round={number}/12" for number in range(1, 13)
    ]
    assert lines[-1] == "store-03 joined again"
    assert "\x1b" not in text(console)


def test_eta_is_the_pace_of_the_latest_rounds() -> None:
    console = plain()
    with RoundTable(5, console=console) as table:
        for number, seconds in ((1, 2.0), (2, 4.0)):
            table.row(RECORD | {"round": number, "seconds": {"total": seconds}})
    assert [line.rpartition(" ")[2] for line in text(console).splitlines()] == ["eta=8", "eta=9"]


def test_in_a_terminal_the_latest_rounds_stand_above_the_progress() -> None:
    console = terminal()
    with RoundTable(1500, console=console) as table:
        for record in history(STORES, 40, failures=False):
            table.training(record["round"], 5, 10)
            table.row(record)
    frame = last_frame(console)
    shown = [line.split()[0] for line in frame.splitlines() if line.strip()[:1].isdigit()]
    assert shown == [str(number) for number in range(26, 41)]
    assert "40/1500 rounds" in frame
    assert "left" in frame
    assert "test accuracy" in frame
    assert "validation accuracy" in frame


def test_the_table_shows_failures_and_the_best_round() -> None:
    console = terminal()
    with RoundTable(20, first_round=3, console=console) as table:
        table.row(RECORD)
    frame = last_frame(console)
    assert "9/10" in frame
    assert "store-00:timeout" in frame
    assert "best 79.9% in round 3" in frame


def test_the_table_of_a_run_that_trains_nothing_has_no_loss() -> None:
    for loss, is_shown in ((0.5, True), (None, False)):
        console = terminal()
        with RoundTable(20, first_round=3, console=console) as table:
            table.row(RECORD | {"train": {"loss": loss}})
        assert ("train loss" in text(console)) == is_shown


def test_a_low_terminal_gets_fewer_rows() -> None:
    console = terminal(height=12)
    with RoundTable(40, console=console) as table:
        for record in history(STORES, 40, failures=False):
            table.row(record)
    shown = [
        line.split()[0] for line in last_frame(console).splitlines() if line.strip()[:1].isdigit()
    ]
    assert shown == ["37", "38", "39", "40"]


def test_many_quick_rounds_are_drawn_a_few_times_only() -> None:
    console = terminal()
    with RoundTable(1500, console=console) as table:
        for record in history(STORES[:2], 1500, failures=False):
            table.row(record)
    # Drawn on entering and on leaving, and in between at most once per 150 times what drawing
    # takes.
    assert 2 <= text(console).count("train loss") < 150


def test_store_names_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;owned\x07[bold red]x[/]"
    for console in (plain(), terminal()):
        with RoundTable(3, console=console) as table:
            table.row(RECORD | {"failed": {evil: {"code": "error", "reason": evil}}})
            table.note(evil)
        assert "\x1b]0;" not in text(console)
        assert "\x07" not in text(console)
        assert "[bold red]x[/]" in text(console)


def test_closing_ends_with_the_model(finished_run: Path, tmp_path: Path) -> None:
    summary = json.loads((finished_run / "summary.json").read_text())
    for name in ("report.html", "model.safetensors"):
        (tmp_path / name).touch()
    console = plain()
    print_outcome(summary, tmp_path, console=console)
    lines = text(console).splitlines()
    assert lines[0].startswith("Finished: 20 rounds with 10 stores in ")
    assert lines[-2:] == [f"Report: {tmp_path}/report.html", f"Model: {tmp_path}/model.safetensors"]


def test_closing_says_that_there_is_no_model(tmp_path: Path) -> None:
    console = plain()
    print_outcome(
        {"status": "failed", "reason": "no store joined", "rounds": 0, "stores": 0},
        tmp_path,
        console=console,
    )
    assert text(console).splitlines() == [
        "Failed: 0 rounds with 0 stores. Reason: no store joined.",
        "Model: none was written",
    ]
