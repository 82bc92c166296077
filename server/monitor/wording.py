"""A run's state in plain words, the same in the terminal and on the page."""

from collections.abc import Sequence

from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server import figure_names
from fedshelf.server.figure_names import FURTHER_TITLES, SCENE_FIGURES
from fedshelf.server.formatting import FAILURES, decimal, percent
from fedshelf.server.monitor.state import ABSENT_STATES, FailureSummary, RunState, StoreState
from fedshelf.server.results.run_status import HELD_UP, WORDS, RunStatus, listed

STORE_STATE_WORDS = {
    "ready": "Ready",
    "training": "Training",
    "evaluating": "Evaluating",
    "away": "Away",
    "refused": "Refused",
    "resting": "Resting",
    "set-aside": "Set aside",
    "revoked": "Revoked",
}


def headline(state: RunState) -> str:
    """Describe the activity of the run, or how it ended, in a sentence or two."""
    rounds = f"{state.round:,} of {format_count(state.rounds, 'round')}"
    match state.status:
        case RunStatus.STARTING:
            line = "The server is starting."
        case RunStatus.TRAINING:
            line = _underway(state)
        case RunStatus.FAILED:
            line = f"{rounds} done, then it ended."
        case _:
            line = state.doing.sentence(state.rounds) if state.doing else f"{rounds} done."
    reason = printable(state.reason).strip()
    return f"{line} {reason}" if reason else line


def _underway(state: RunState) -> str:
    if state.underway is None:
        return f"{state.round:,} of {format_count(state.rounds, 'round')} done."
    at = state.underway
    out = f"; still out: {listed(at.out)}" if at.out else ""
    return (
        f"Round {at.round:,} of {state.rounds:,}: {at.done:,} of"
        f" {format_count(at.sampled, 'store')} have answered{out}."
    )


def held_up(state: RunState) -> list[tuple[str, float]]:
    """Return since when a run is held up, and when it gives up.

    Returns:
        Words, each with the Unix time (s) that follows them; none if the run is not held up.
    """
    if state.status not in HELD_UP or state.doing is None:
        return []
    instants = (("Since", state.since), ("the run gives up at", state.doing.until))
    return [(words, at) for words, at in instants if at is not None]


def store_state(store: StoreState) -> str:
    """Return "Ready", "Away", ...; empty if unknown."""
    return STORE_STATE_WORDS.get(store.state, printable(store.state))


def sort_by_need(stores: Sequence[StoreState]) -> list[StoreState]:
    """Return the stores in need of a person first, and each group by name."""
    return sorted(stores, key=lambda store: (store.state not in ABSENT_STATES, store.name))


def failure_words(failure: FailureSummary) -> str:
    """Describe a store's failure."""
    return FAILURES.get(failure.code, printable(failure.code))


def figure_title(state: RunState) -> str:
    """Return the name of the main figure in a sentence: "accuracy", "AP" or "IoU"."""
    return figure_names.figure_title(state.figure)


def other_figures(state: RunState) -> list[str]:
    """Return the figures of scenes beside the main one in words: "AP50 83.1%"; else none."""
    if state.figure not in SCENE_FIGURES:
        return []
    return [
        f"{FURTHER_TITLES[key]} {percent(value)}"
        if key in SCENE_FIGURES[state.figure]
        else f"counts off by {decimal(value, 1)} products"
        for key, value in state.listed.items()
        if value is not None
    ]


def latest_figure(state: RunState) -> tuple[str, float] | None:
    """Return the images and value of the latest main figure: validation images, else test ones."""
    for name in ("validation", "test"):
        if points := state.quality[name]:
            return name, points[-1][1]
    return None


def title(state: RunState) -> str:
    """Return the title of the browser's tab."""
    latest = latest_figure(state)
    parts = [
        f"{state.round}/{state.rounds}",
        percent(latest[1]) if latest else "",
        WORDS[state.status],
    ]
    return " · ".join([part for part in parts if part] + [printable(state.name)])
