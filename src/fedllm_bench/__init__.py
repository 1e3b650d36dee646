"""Federated fine-tuning of language models: a benchmark and an engine."""

__version__ = "0.1.0"

__all__ = ["__version__"]
