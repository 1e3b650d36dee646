"""A look through a dataset that is built from no file of the user's."""

from fedllm_bench.data.assemble import Assembly
from fedllm_bench.data.findings import Findings, Report
from fedllm_bench.data.gather import Sample
from fedllm_bench.data.look import Look
from fedllm_bench.data.rows import row_of
from fedllm_bench.data.stored import StoredDataset
from fedllm_bench.progress import SILENT, Progress

__all__ = ["validate_built"]


def validate_built(
    stored: StoredDataset, min_samples: int = 20, longest: int = 100_000, cap: int = 20, progress: Progress = SILENT
) -> Report:
    """Look at every sample of a built dataset; what its build left out is told as skipped.

    Args:
        stored: the dataset.
        min_samples: clients with fewer samples are warned of.
        longest: texts of more characters are warned of.
        cap: of each kind so many are listed, the others counted.
        progress: shows the clients as they are read.
    """
    findings = Findings(cap)
    look = Look(Assembly(0.0, 0), False, longest, findings)
    with progress.task(f"validate {stored.name}", len(stored), "clients") as task:
        for index in range(len(stored)):
            client = stored.load(index)
            for number, example in enumerate((*client.train, *client.test), start=1):
                place = f"{stored.name}: client {client.id!r}, sample {number}"
                look.rows += 1
                look.texts(row_of(client.id, example), place)
                look.take(Sample(client.id, example), place)
            task.advance()
    for reason, count in stored.manifest["dropped"].items():
        look.skip(reason, str(stored.manifest["source"]), count)
    clients, samples = look.finish(min_samples)
    return Report(stored.name, look.rows, samples, clients, findings.all())
