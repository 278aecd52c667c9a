"""Workers as an array of SLURM jobs, by submitit.

Every job of the array is one worker. Before its time is over, or when a more urgent job pushes it
out, SLURM sends it a signal: the unit is stopped after its step and saved, and the job is queued
again. Where a machine dies, SLURM queues its job again by itself. A worker that finds nothing to do
waits only as long as a dead one's claim may last.

submitit keeps a pickle of each job under ``data/runs/slurm/``; nothing else here reads one.
"""

import json
import os
import signal
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from saa_lite.cluster.extra import needed
from saa_lite.errors import Stopped, UsageError
from saa_lite.files import runs_dir

DEFAULTS: dict[str, Any] = {
    "name": "saa-lite",
    "timeout_min": 240,
    "slurm_signal_delay_s": 120,
    "slurm_additional_parameters": {"requeue": True},
}
RESUBMITTED = 20  # times that a job may run out of time


def submit(
    work: Callable[[Namespace], int],
    arguments: Namespace,
    workers: int,
    options: Sequence[str],
) -> list[str]:
    """Queue the workers; returns the ids of their jobs at once.

    Args:
        work: what each does with the ``arguments``; importable by name.
        options: texts ``name=value`` for submitit's ``update_parameters``, such as
            ``timeout_min=60``, ``gpus_per_node=1``, ``slurm_partition=main``.

    Raises:
        SaaLiteError: submitit is not installed.
        UsageError: this is no SLURM cluster, or an option is unknown.
    """
    submitit = needed("submitit", "--engine slurm")
    try:
        executor = submitit.AutoExecutor(
            folder=runs_dir() / "slurm" / "%j", cluster="slurm", slurm_max_num_timeout=RESUBMITTED
        )
        chosen = dict(map(_option, options))
        executor.update_parameters(**DEFAULTS | {"slurm_array_parallelism": workers} | chosen)
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        raise UsageError(f"--engine slurm: {error}") from error
    jobs = executor.map_array(Worker(work), [arguments] * workers)
    return [str(job.job_id) for job in jobs]


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--slurm takes NAME=VALUE; got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


class Worker:
    """What submitit runs in a job, and queues again."""

    def __init__(self, work: Callable[[Namespace], int]) -> None:
        self.work = work

    def __call__(self, arguments: Namespace) -> int:
        """Work until nothing is left.

        submitit's own handler would queue the job again in the midst of a step. So its signal is
        handed on as one that ends the unit first.
        """
        number = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
        requeue = signal.getsignal(number)
        signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        try:
            return self.work(arguments)
        except Stopped:
            if callable(requeue):
                requeue(number, None)  # does not return where SLURM takes the job back
            raise
        finally:
            signal.signal(number, requeue)

    def checkpoint(self, arguments: Namespace) -> Any:
        """What is queued after a time-out: the same again, since the folder knows what is left."""
        return needed("submitit", "--engine slurm").helpers.DelayedSubmission(self, arguments)
