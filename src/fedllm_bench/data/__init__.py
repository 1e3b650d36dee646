"""Federated datasets: builders, storage on disk, choice of clients, and description."""

from fedllm_bench.data.chitchat import build_fed_chitchat
from fedllm_bench.data.describe import Description, describe
from fedllm_bench.data.partition import draw, draw_positions, drawn, only, with_samples
from fedllm_bench.data.stored import StoredDataset, content_fingerprint, write_dataset

__all__ = [
    "Description",
    "StoredDataset",
    "build_fed_chitchat",
    "content_fingerprint",
    "describe",
    "draw",
    "draw_positions",
    "drawn",
    "only",
    "with_samples",
    "write_dataset",
]
