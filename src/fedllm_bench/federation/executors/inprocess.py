"""The executor that trains in this process, one job after the other."""

from collections.abc import Iterator, Sequence

from fedllm_bench.federation.messages import Job
from fedllm_bench.federation.worker import JobResult, Worker

__all__ = ["InProcess"]


class InProcess:
    """Runs jobs on one worker; results come one by one, so that a cohort's updates are never all in memory."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def map(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        for job in jobs:
            yield self.worker.run(job)
