"""The part of an answer that leaves a store whose policy sets `epsilon`.

docs/explanation/privacy.md has the rules for each field.
Counts of photos leave with noise, once the ledger has been charged for them. The noise of a table
is derived from the store's secret, from what was asked and from the table itself. So a table that
is asked for again gets the same answer, which costs nothing more, and a table that differs in one
photo gets other noise: were it the same, the difference of two answers would show the photo.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.client.policy.policy import Policy
from fedshelf.client.privacy.charges import Budget, Charge
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.privacy.noise import gaussian
from fedshelf.common.privacy.noised_counts import nearest_counts, noise_for, with_noise
from fedshelf.common.privacy.randomness import KeyStream, training_key
from fedshelf.common.protocol.failures import make_failure
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    FailureCode,
    StoreInfo,
    Summand,
    TrainOrder,
    Update,
)
from fedshelf.common.system.files import write_json
from fedshelf.common.tasks import SceneTask, scene_task_of_classes, task_of
from fedshelf.common.training.order_digest import order_digest

KEPT_COUNTS_FILE = "noised-counts.json"  # in a store's home
# the noised counts of classes alone would take this share of `epsilon`; beside trainings they take
# about its square, 4%
COUNTS_SHARE = 0.2
# evaluations of a model that `epsilon_judging` is for: more of them need more noise in each
JUDGEMENTS = 100

# the policy, the settings of a run, and messages: all else may be due to photos
INDEPENDENT_FAILURES: frozenset[FailureCode] = frozenset({"policy", "refused", "invalid"})


class PrivateDisclosure:
    """Decides which parts of a store's answers leave, if the policy sets `epsilon`.

    Args:
        policy: The store's policy; its `epsilon` is above 0.
        home: The store's home, which keeps the counts that were told.
        secret: Of the store, from which noise is derived; 32 bytes.
        ledger: Is charged for the counts.
    """

    def __init__(self, policy: Policy, home: Path, secret: bytes, ledger: Ledger) -> None:
        assert policy.epsilon > 0, policy.epsilon
        self._policy = policy
        self._kept = home / KEPT_COUNTS_FILE
        self._secret = secret
        self._ledger = ledger

    def info(self, info: StoreInfo) -> StoreInfo:
        """Return the store's numbers of images, and its counts of classes with noise or none.

        The classes are those that the policy names. The held-out images are told if they may be
        judged.

        Raises:
            StoreError: The budget does not allow the counts.
            ConfigError: The record of what was told is damaged.
            OSError: What is told cannot be recorded.
        """
        policy = self._policy
        images = info.num_examples
        names = policy.classes if policy.class_names else ()
        counts = dict.fromkeys(names, 0)
        if names and scene_task_of_classes(names):
            counts[names[0]] = images  # scenes have one label, so their number is told anyway
        elif names and policy.counts == "noised" and policy.metrics == "confusion":
            noisy = self._noisy_counts(info.counts)
            counts = dict(zip(names, nearest_counts(noisy, images).tolist(), strict=True))
        held_out = (info.validation, info.test) if policy.epsilon_judging else (0, 0)
        undisclosed = images - sum(counts.values())
        withholds = not policy.epsilon_judging
        return StoreInfo(info.name, counts, *held_out, undisclosed, withholds)

    def update(self, update: Update | Summand) -> Update | Summand:
        """Return a private training's update without its loss, and with its time rounded.

        In a secure sum such a training has no loss at all.
        """
        seconds = self._policy.told_seconds(update.seconds)
        if isinstance(update, Summand):
            return replace(update, seconds=seconds)
        return replace(update, loss=None, seconds=seconds)

    def evaluation(self, evaluation: Evaluation, order: EvaluateOrder) -> Evaluation:
        """Return an evaluation's counts with noise, and nothing else of it.

        Raises:
            StoreError: The budget allows no more evaluations.
            OSError: The charge cannot be recorded.
        """
        policy = self._policy
        assert policy.epsilon_judging > 0, "such orders are refused"
        counts = evaluation.counts
        images = counts.num_examples
        noise = noise_for(policy.epsilon_judging, policy.delta, JUDGEMENTS)
        # a training of the same model is another question: its identity has no split
        question = _Question(
            "epsilon_judging",
            f"{order_digest(_as_training(order))} {order.split} {policy.metrics}",
            order.plan.run_id,
            order.round,
        )
        is_of_scenes = isinstance(task_of(order.plan.spec), SceneTask)  # photos without a class
        if policy.metrics == "confusion" and not is_of_scenes:
            cells = counts.confusion.ravel()
            noisy = self._with_noise(question, cells, noise)
            told = nearest_counts(noisy, images).reshape(counts.confusion.shape)
            disclosed = Counts(told, None)
        else:
            right = np.array([int(counts.confusion.trace()) + counts.undisclosed_correct])
            noisy = self._with_noise(question, right, noise)
            correct = min(max(int(noisy[0]), 0), images)
            disclosed = Counts(np.zeros_like(counts.confusion), None, correct, images - correct)
        return Evaluation(evaluation.store, evaluation.round, disclosed)

    def failure(self, failure: Failure) -> Failure:
        """Return a failure that looks like all others, unless photos surely have no part in it.

        Whether photos can be read, fit into memory or crash a decoder tells of them.
        """
        if failure.code in INDEPENDENT_FAILURES:
            return failure
        return make_failure(failure.store, "withheld")

    def _noisy_counts(self, counts: Mapping[str, int]) -> NDArray[np.int64]:
        """Return a noisy count of each of the policy's classes: those told before, if any were."""
        names = [_normalized(name) for name in self._policy.classes]
        kept = self._read_kept()
        if missing := [name for name in names if name not in kept]:
            by_name = {_normalized(name): count for name, count in counts.items()}
            exact = np.array([by_name.get(name, 0) for name in missing], dtype=np.int64)
            noise = noise_for(COUNTS_SHARE * self._policy.epsilon, self._policy.delta, 1)
            question = _Question("epsilon", f"images of each class {json.dumps(missing)}")
            noisy = self._with_noise(question, exact, noise)
            kept |= dict(zip(missing, noisy.tolist(), strict=True))
            write_json(self._kept, kept)
        return np.array([kept[name] for name in names], dtype=np.int64)

    def _read_kept(self) -> dict[str, int]:
        try:
            kept = json.loads(self._kept.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            kept = None
        if not isinstance(kept, dict) or not all(type(count) is int for count in kept.values()):
            raise ConfigError(
                f"{self._kept} is damaged: which counts of photos were told is not known. Delete it"
                " to have new ones drawn, which the policy's epsilon pays for once more."
            )
        return kept

    def _with_noise(
        self, question: "_Question", table: NDArray[np.int64], noise: float
    ) -> NDArray[np.int64]:
        """Return a table of counts, int64 [N], with noise, after it was charged."""
        identity, text = (
            hashlib.sha256(content.encode()).hexdigest()
            for content in (f"{question.text} {json.dumps(table.tolist())}", question.text)
        )
        self._ledger.charge(
            Charge(
                question.budget,
                identity,
                order=text,
                run=question.run,
                round=question.round,
                noise=noise,
                rate=1.0,
                steps=1,
            )
        )
        stream = KeyStream(training_key(self._secret, identity), "counts")
        return with_noise(table, noise, gaussian(stream, len(table)).numpy())


@dataclass(frozen=True)
class _Question:
    """A question that a table of counts answers.

    Attributes:
        budget: The policy's key that limits the answer.
        text: All that was asked.
        run: Identity of its run; empty: it belongs to none.
        round: From 1; 0: it belongs to none.
    """

    budget: Budget
    text: str
    run: str = ""
    round: int = 0


def _as_training(order: EvaluateOrder) -> TrainOrder:
    return TrainOrder(order.plan, order.round, order.params)


def _normalized(name: str) -> str:
    return unicodedata.normalize("NFC", name)
