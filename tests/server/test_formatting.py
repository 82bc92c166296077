import unicodedata
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.common.protocol.messages import FailureCode
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server import formatting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0, "0 ms"), (0.0123, "12 ms"), (0.9996, "1.0 s"), (3.21, "3.2 s"),
        (59.94, "59.9 s"), (59.96, "1 min 0 s"), (192, "3 min 12 s"), (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)  # fmt: skip
def test_duration(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (2e12, "2.0 TB"),
    ],
)
def test_size(number: float | None, text: str) -> None:
    assert formatting.size(number) == text


def test_numbers() -> None:
    assert formatting.percent(0.8342) == "83.4%"
    assert formatting.decimal(1.23456) == "1.235"
    assert formatting.decimal(1e30) == "1e+30"
    assert formatting.whole(12345.6) == "12,346"
    assert format_count(1, "round") == "1 round"
    assert format_count(1500, "round") == "1,500 rounds"


def test_rounds_are_named_as_stretches() -> None:
    assert formatting.rounds([1, 2, 3, 7]) == "1–3, 7"
    assert formatting.rounds([7, 3, 1, 2, 2]) == "1–3, 7"
    assert formatting.rounds(range(1, 30, 2), max_stretches=3) == "1, 3, 5, …"


@given(st.sets(st.integers(1, 60), min_size=1))
def test_rounds_lose_none(numbers: set[int]) -> None:
    named: set[int] = set()
    for stretch in formatting.rounds(numbers, max_stretches=60).split(", "):
        first, _, last = stretch.partition("–")
        named |= set(range(int(first), int(last or first) + 1))
    assert named == numbers


@given(st.text())
def test_printable_text_cannot_steer_a_terminal(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def test_every_failure_code_has_words() -> None:
    assert set(formatting.FAILURES) == set(get_args(FailureCode))


def test_outcome_of_a_run_that_was_killed() -> None:
    assert formatting.describe_outcome({}) == [
        "Unfinished: the run is still going on, or was killed."
    ]


def test_outcome_of_a_failed_run() -> None:
    summary = {
        "status": "failed",
        "reason": "only 1 of 3 stores joined.",
        "rounds": 0,
        "stores": 1,
        "test": None,
        "best": None,
    }
    assert formatting.describe_outcome(summary) == [
        "Failed: 0 rounds with 1 store. Reason: only 1 of 3 stores joined."
    ]


def test_outcome_of_a_finished_run() -> None:
    summary = {
        "status": "finished", "reason": None, "rounds": 20, "stores": 10,
        "seconds": {"total": 192.0}, "test": {"accuracy": 0.834, "images": 10_000, "on": "server"},
        "best": {"round": 18, "accuracy": 0.839, "on": "validation"}, "images_per_second": 1234.4,
        "bytes": {"down": 12_300_000, "up": 11_000_000},
    }  # fmt: skip
    assert formatting.describe_outcome(summary) == [
        "Finished: 20 rounds with 10 stores in 3 min 12 s.",
        (
            "83.4% accuracy on the server's 10,000 test images; best round 18 with 83.9% on"
            " validation images."
        ),
        "1,234 training images a second; 12.3 MB sent to the stores and 11.0 MB received.",
    ]
    because = "the best by accuracy on the stores' validation images"
    chosen = summary | {"delivered_round": 18, "delivered_because": because}
    assert formatting.describe_outcome(chosen)[1:3] == [
        "83.4% accuracy on the server's 10,000 test images.",
        f"The model is that of round 18 of 20, {because} (83.9% accuracy).",
    ]
    last = summary | {
        "delivered_round": 20,
        "delivered_because": "the last, as run.deliver asks for",
    }
    assert (
        formatting.describe_outcome(last)[2]
        == "The model is that of round 20 of 20, the last, as run.deliver asks for."
    )


def figures(accuracy: float, loss: float) -> dict[str, float]:
    return {"accuracy": accuracy, "macro_f1": accuracy, "loss": loss, "images": 200}


def test_by_which_scores_stores_use_the_model_is_said_with_both_figures() -> None:
    both = {"raw": figures(0.5, 1.25), "adjusted": figures(0.75, 0.5)}
    adjusted = {
        "used": "adjusted",
        "chosen_on": "validation",
        "validation": both,
        "test": None,
        "temperature": None,
    }
    adds = "Stores add the logarithms of their own shares of the classes to the model's scores"
    own = "At a store, flower-client export writes its own model."
    assert (
        formatting.describe_adjustment(adjusted)
        == f"{adds}: so it is right on 75.0% of their 200 validation images, as it is on 50.0%;"
        f" chosen for the lower loss on validation images, 0.500 against 1.250. {own}"
    )
    unchosen = adjusted | {"chosen_on": None, "validation": None, "test": both}
    assert (
        formatting.describe_adjustment(unchosen)
        == f"{adds}: so it is right on 75.0% of their 200 test images, as it is on 50.0%. {own}"
    )
    unknown = adjusted | {"chosen_on": None, "validation": None}
    assert (
        formatting.describe_adjustment(unknown)
        == f"{adds}, as in training; no validation images of theirs were judged that could speak"
        " against it."
    )
    worse = adjusted | {
        "used": "raw",
        "validation": {"raw": figures(0.5, 1.0), "adjusted": figures(0.75, 1.5)},
    }
    assert (
        formatting.describe_adjustment(worse)
        == "Stores use the model as it is: right on 50.0% of their 200 validation images. With"
        " their own shares of the classes in its scores it is right on 75.0%, but the loss of"
        " their validation images is higher (1.500 against 1.000)."
    )
    assert formatting.describe_adjustment(None) == ""


def test_numbers_keep_their_units() -> None:
    assert (
        formatting.unbroken("8 min 20 s, 2 h 5 min, 12.3 MB, 530 images/s of 8 stores")
        == "8\xa0min\xa020\xa0s, 2\xa0h\xa05\xa0min, 12.3\xa0MB, 530\xa0images/s of 8 stores"
    )
    assert (formatting.class_name("27"), formatting.class_name("hat 27")) == ("class 27", "hat 27")
