"""What the benchmarks ask, and how their answers are drawn."""
