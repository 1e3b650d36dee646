"""`python -m benchmarks`: every benchmark, one after the other, each in a process of its own."""

import subprocess
import sys

# The peer in bf16 comes last: where the processor only emulates it, it is slow.
RUNS = (
    ("benchmarks.startup",),
    ("benchmarks.overhead",),
    ("benchmarks.methods",),
    ("benchmarks.scale",),
    ("benchmarks.scale", "--method", "scaffold", "--clients", "10000", "--rounds", "300"),
    ("benchmarks.dpo_reference",),
    ("benchmarks.ifd",),
    ("benchmarks.judging",),
    ("benchmarks.generation",),
    ("benchmarks.throughput", "--peer", "float32"),
    ("benchmarks.throughput", "--peer", "bfloat16", "--clients", "1", "--steps", "1", "--repeats", "1"),
)

for run in RUNS:
    print("\n$ python -m", *run, file=sys.stderr)
    subprocess.run([sys.executable, "-m", *run], check=True)
