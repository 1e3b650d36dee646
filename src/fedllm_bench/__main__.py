"""`python -m fedllm_bench`."""

from fedllm_bench.cli import main

if __name__ == "__main__":
    main()
