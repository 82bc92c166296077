"""The mean of the last rounds' global models, judged and delivered in place of the last one.

Training goes on from the last model itself. The mean is of all that travels, batch norm's
statistics too.

ema: (1 - d) sum_s d^s w_{t-s} / (1 - d^t), over all t rounds (Polyak and Juditsky: Acceleration of
      Stochastic Approximation by Averaging. SIAM J. Control Optim. 1992; with Adam's correction of
      its start)
swa: (1 / K) sum_s w_{t-s}, over the last K rounds of the run (Izmailov, Podoprikhin, Garipov,
      Vetrov, Wilson: Averaging Weights Leads to Wider Optima and Better Generalization. UAI 2018);
      before those, there is no mean
"""

from dataclasses import replace

from fedshelf.common.config import RunConfig
from fedshelf.server.results.checkpoints import TrainingState


def averaged(state: TrainingState, config: RunConfig) -> TrainingState:
    """Return the state after a round, with this round's model added to the mean.

    A resumed run with more rounds, whose last rounds were already averaged, keeps what the mean
    has.
    """
    kind = config.strategy.average
    if kind == "none" or (
        kind == "swa" and state.round <= config.run.rounds - config.strategy.average_rounds
    ):
        return replace(state, average=None, averaged=0)
    count = state.averaged + 1
    share = 1 / count
    if kind == "ema":
        decay = config.strategy.average_decay
        share = (1 - decay) / (1 - decay**count)
    mean = (
        state.params.clone() if state.average is None else state.average.lerp(state.params, share)
    )
    return replace(state, average=mean, averaged=count)
