"""Base models, stacked LoRA adapters, templates and tokenisation: the only package that imports transformers."""
