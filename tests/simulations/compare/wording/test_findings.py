"""A comparison in words: the answer, and all that is not as one would expect."""

from typing import Any

import pytest

from fedshelf.common.wording import format_list
from fedshelf.simulations.compare.wording.findings import headline, of_store
from fedshelf.simulations.compare.wording.gains import each_seed, points
from fedshelf.simulations.compare.wording.method_notes import budget, margins
from tests.helpers.comparison_results import verdict


@pytest.mark.parametrize(
    ("found", "first"),
    [
        (
            verdict(5.0),
            (
                "Joining pays: on average over 2 stores in each of 3 seeds, the federated model is"
                " right on 65.0%"
            ),
        ),
        (verdict(2.5), "Joining makes no clear difference: on average"),
        (verdict(-2.5), "Federated is not better than alone here: on average"),
        (verdict(-8.0, tuned=1.0), "Federated is not better than alone here: on average"),
        (
            verdict(-8.0, tuned=6.0),
            "Joining pays with fine-tuning: fine-tuned at each store for 2 epochs",
        ),
        (
            verdict(5.0, seeds=1),
            "In this run, joining helped: on average over 2 stores, the federated",
        ),
        (
            verdict(2.5, seeds=1),
            "In this run, joining made no difference beyond what its test images leave open: on",
        ),
        (verdict(-2.5, seeds=1), "In this run, federated was not better than alone: on average"),
        (
            verdict(-8.0, tuned=6.0, seeds=1),
            "In this run, joining helped with fine-tuning: fine-tuned at each store",
        ),
    ],
)
def test_the_answer_comes_first(found: dict[str, Any], first: str) -> None:
    assert headline(found)[0].startswith(first)


def test_fine_tuning_is_compared_with_as_much_work() -> None:
    assert (
        headline(verdict(5.0, tuned=1.0))[1]
        == "Fine-tuned at each store for 2 epochs with learning rate 0.01, the federated model is"
        " right on 63.0% of a store's own images, a model trained alone that gets as many epochs"
        " more on 62.0%: 1 point more (give or take 3 points)."
    )
    assert headline(verdict(-8.0, tuned=6.0))[1].startswith(
        "By itself, on average over 2 stores in each of 3 seeds"
    )


@pytest.mark.parametrize("federated", [-20.0, -1.0, 0.0, 1.0, 20.0])
@pytest.mark.parametrize("tuned", [None, -20.0, 0.0, 20.0])
@pytest.mark.parametrize("is_dealt", [False, True])
def test_one_seed_is_never_called_clear(
    federated: float, tuned: float | None, is_dealt: bool
) -> None:
    found = verdict(federated, tuned, seeds=1, is_dealt=is_dealt)
    said = " ".join(
        [
            *headline(found),
            *(of_store(name, each, is_dealt_anew=False) for name, each in found["stores"].items()),
        ]
    )
    assert "clear" not in said
    assert "pays" not in said
    assert "--seeds 0,1,2 shows it" in said


def test_counts_the_stores_that_gain_for_sure() -> None:
    by_holm = " (corrected for their number by Holm's method)."
    assert (
        headline(verdict(5.0))[1]
        == f"Of 2 stores, 2 clearly gain with the federated model and 0 clearly lose{by_holm}"
    )
    assert (
        headline(verdict(-5.0, tuned=1.0))[2]
        == "Of 2 stores, 0 clearly gain with the federated model and 2 clearly lose; 0 clearly"
        f" gain with the fine-tuned one and 0 clearly lose{by_holm}"
    )


def test_stores_that_each_seed_deals_anew_are_never_called_clear_one_by_one() -> None:
    found = verdict(20.0, tuned=-20.0, is_dealt=True)
    assert (
        "Of the 6 stores made in 3 seeds, 6 gained with the federated model and 0 lost; 0"
        " gained with the fine-tuned one and 6 lost. Each was made and trained once, so the"
        " gain of a single one may be chance." in headline(found)
    )
    told = of_store("seed 1, oslo", found["stores"]["seed 1, oslo"], is_dealt_anew=True)
    assert told.startswith(
        "In seed 1, oslo gained 20 points by joining, but lost 20 points with the model fine-tuned"
    )
    assert headline(found)[0].startswith(
        "Joining pays: on average over 2 stores in each of 3 seeds"
    )


def test_pooling_that_does_not_help_is_said_plainly() -> None:
    assert any(
        "not better than federated here: 64.0%: 1 point less" in line
        for line in headline(verdict(5.0, pooled=4))
    )
    assert any(
        "pooled in one place would reach 69.0%: 4 points more" in line
        for line in headline(verdict(5.0))
    )


def test_all_classes_are_told_where_the_server_has_images() -> None:
    found = verdict(5.0) | {
        "server": {
            kind: {"accuracy": value} for kind, value in (("alone", 0.3), ("federated", 0.7))
        }
    }
    told = headline(found | {"judged_on": {"server_images": 400}})[2]
    assert (
        told
        == "Of the server's 400 test images of all classes, the federated model has 70.0% right, a"
        " store's own model 30.0% on average."
    )


def test_what_each_seed_gave_is_told() -> None:
    found = verdict(5.0, tuned=1.0)
    found["gains"]["federated"]["alone"]["seeds"] = [6.1, 4.0, 4.9]
    assert (
        "Gains in points, seed by seed: federated over alone +6.1, +4.0 and +4.9; fine-tuned over"
        " alone for longer +1.0, +1.0 and +1.0." in headline(found)
    )
    assert each_seed([0.5, -2.0, 1, 2, 3, 4, 5]) == "from -2.0 to +5.0"


def test_a_federated_model_that_still_learns_is_warned_of() -> None:
    warning = "still getting better at the end, by 4 points over the last third of its rounds"
    assert any(warning in line for line in headline(verdict(5.0, rise=4.0)))
    assert not any("getting better" in line for line in headline(verdict(5.0, rise=0.3)))
    assert any(
        line.startswith("Too few rounds were judged") for line in headline(verdict(5.0, rise=None))
    )
    found = verdict(5.0) | {"curves": {"on": None, "models": {}}}
    assert any(line.startswith("No round was judged") for line in headline(found))


def test_seeds_that_are_missing_are_named() -> None:
    found = verdict(5.0)
    found["seeds"]["asked"] = [0, 1, 2, 7, 9]
    assert (
        headline(found)[-1]
        == "Not finished: this is of 3 of 5 seeds (0, 1 and 2 of 0, 1, 2, 7 and 9)."
    )


def test_scores_with_the_stores_shares_are_told_beside_those_without() -> None:
    found = verdict(5.0)
    assert not any("shares" in line for line in headline(found))
    found["average"]["federated"]["scores"] = ["raw", "adjusted", "adjusted"]
    assert any(
        "By the raw scores: alone 50.0%, federated 50.0%, pooled 50.0%." in line
        for line in headline(found)
    )


def test_a_store_in_one_sentence() -> None:
    store = verdict(12.0)["stores"]["oslo"]
    assert (
        of_store("oslo", store, is_dealt_anew=False)
        == "oslo would clearly gain 12 points by joining: 60.0% right alone, 72.0% federated, of 80"
        " images."
    )
    store = verdict(-2.0, tuned=9.0)["stores"]["oslo"]
    assert (
        of_store("oslo", store, is_dealt_anew=False)
        == "oslo would lose 2 points by joining (which may be chance), but would clearly gain 9"
        " points with the model fine-tuned on its own images: 60.0% right alone, 58.0%"
        " federated; 62.0% alone for longer, 71.0% fine-tuned, of 80 images."
    )
    store = verdict(-2.0, tuned=0.0, seeds=1)["stores"]["oslo"]
    assert (
        of_store("oslo", store, is_dealt_anew=False)
        == "In this run, oslo lost 2 points by joining (within the margin of its test images), but"
        " neither gained nor lost with the model fine-tuned on its own images: 60.0% right"
        " alone, 58.0% federated; 62.0% alone for longer, 62.0% fine-tuned, of 80 images."
    )


def test_a_store_without_images_and_one_with_a_name_that_steers_terminals() -> None:
    nothing = {"gain": {"federated": None}, "models": {}}
    assert "nothing to judge it by" in of_store("oslo", nothing, is_dealt_anew=False)
    store = verdict(1.0)["stores"]["oslo"] | {"store": "\x1b[31moslo"}
    assert "\x1b" not in of_store("\x1b[31moslo", store, is_dealt_anew=False)


def test_the_work_is_told_with_one_round_and_one_epoch() -> None:
    assert budget(verdict(1.0)) == [
        "Federated: 4 rounds of 1 local epoch. Alone and pooled: 1 round of 1 epoch, so that"
        " each model sees each of its images as often as the federated model sees each image"
        " of a store."
    ]
    assert (
        "2 epochs more in the same way. The fine-tuned model is compared with this one"
        in budget(verdict(1.0, tuned=1.0))[1]
    )


def test_of_a_head_in_closed_form_more_rounds_are_not_asked_for() -> None:
    found = verdict(1.0, rise=None)
    found["budget"]["is_solved"] = True
    assert not any("rounds" in line for line in headline(found))
    (line,) = budget(found)
    assert line.startswith("Federated, alone and pooled: one round, in which the head is solved")


def test_early_stopping_is_told_with_the_rounds_that_were_played() -> None:
    found = verdict(1.0)
    found["budget"]["patience"] = 3
    rounds = {"federated": 7, "pooled": 4, "alone/oslo": 3, "alone/rome": 5}
    found["parts"] = {
        f"seed-{seed}/{name}": {"rounds": n} for seed in range(3) for name, n in rounds.items()
    }
    assert "federated 7, alone 3 to 5, pooled 4 rounds" in budget(found)[-1]


@pytest.mark.parametrize(
    ("found", "part"),
    [
        (verdict(1.0, seeds=1), "for the choice of test images alone"),
        (verdict(1.0), "corrected for the number of stores by Holm's method"),
        (
            verdict(1.0, is_dealt=True),
            "each store was trained once, and its margin is for the choice of its images alone",
        ),
    ],
)
def test_margins_say_what_they_count(found: dict[str, Any], part: str) -> None:
    assert part in margins(found)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (12.3, "12 points"),
        (-2.0, "2 points"),
        (1.04, "1 point"),
        (-0.52, "0.5 points"),
        (0.0, "0 points"),
    ],
)
def test_points(value: float, words: str) -> None:
    assert points(value) == words


def test_listed() -> None:
    assert (format_list([0]), format_list([0, 1]), format_list([0, 1, 2])) == (
        "0",
        "0 and 1",
        "0, 1 and 2",
    )
