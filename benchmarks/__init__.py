"""Speed, memory and scale, measured side by side with peers; `python -m benchmarks` runs them all."""
