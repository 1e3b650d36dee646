"""Small real parts that tests share: a random two-layer Llama with a byte tokenizer, and made-up conversations."""

import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two cores: threads that sleep while waiting leave room for whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Whoever starts the tests in the background may have had Ctrl-C ignored, and every process inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# How fast a machine is decides about no test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    # What was imported stays: the collector need not look through it again and again.
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama (hidden 64) and a byte tokenizer."""
    from fedllm_bench.model.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny-model"))
