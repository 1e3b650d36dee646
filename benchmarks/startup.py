"""Seconds that `fedllm-bench --help` takes as a whole process."""

import statistics
import subprocess
import sys
import time

from benchmarks.machine import save


def main() -> None:
    seconds = []
    for _ in range(11):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "fedllm_bench", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    save("startup", {"seconds": {"median": statistics.median(seconds), "max": max(seconds)}})


if __name__ == "__main__":
    main()
