"""Assignment of waiting jobs to workers: one rule for the process pool and for Ray's workers."""

from collections.abc import Sequence

JOBS_IN_ADVANCE = 1  # jobs that a worker may have beside the one at which it works


def next_worker(waiting: int, num_jobs: Sequence[int], *, may_queue: bool = True) -> int | None:
    """Return the worker that gets the next waiting job, or None if the job has to wait.

    The worker with the fewest jobs gets it, if it is idle. A busy worker gets one more in advance,
    so that it need not wait for this process; but only while more jobs wait than there are
    workers. Towards the end a job thus goes to the first worker that is idle.

    Args:
        waiting: number of jobs that no worker has.
        num_jobs: number of jobs of each worker, the one at which it works included.
        may_queue: whether the next job may go to a worker that is busy.

    Returns:
        The worker's position in `num_jobs`; of several with equally few jobs, the first.

    >>> next_worker(1, [1, 0])
    1
    >>> next_worker(3, [1, 1])
    0
    >>> next_worker(2, [1, 1]) is None  # one for each: they wait for the first idle worker
    True
    >>> next_worker(3, [1, 1], may_queue=False) is None
    True
    """
    if not waiting or not num_jobs:
        return None
    position = min(range(len(num_jobs)), key=num_jobs.__getitem__)
    is_queueing = may_queue and waiting > len(num_jobs)
    return position if num_jobs[position] <= (JOBS_IN_ADVANCE if is_queueing else 0) else None
