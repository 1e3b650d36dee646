"""The benchmarks of a run."""
