"""Share of a round that is not model arithmetic, read off the records of a real run of the 135M model."""

import argparse
import tempfile
from pathlib import Path

from benchmarks.machine import save
from fedllm_bench import records
from fedllm_bench.experiment import load
from fedllm_bench.progress import progress_on
from fedllm_bench.run import execute
from fedllm_bench.store import RunFolder

EXPERIMENT = """
name = "overhead"
[data]
min_samples = 50
clients = 40
[local]
steps = 5
batch_size = 4
[federation]
rounds = 2
cohort = 4
[evaluate]
clients = 1
samples = 1
"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "overhead.toml"
        file.write_text(EXPERIMENT)
        (experiment,) = load(file)
        folder = RunFolder(execute(experiment, Path(name) / "runs", progress_on()))
        rounds = [record["seconds"] for record in records.read(folder.rounds)]
    arithmetic = [seconds["train"] + seconds.get("evaluate", 0.0) for seconds in rounds]
    shares = [1 - a / seconds["total"] for a, seconds in zip(arithmetic, rounds, strict=True)]
    save("overhead", {"seconds": rounds, "share_outside_training": [round(share, 4) for share in shares]})


if __name__ == "__main__":
    main()
