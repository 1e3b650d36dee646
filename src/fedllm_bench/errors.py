"""The errors a user can meet, each with a way out."""

__all__ = ["AssetError", "DataError", "ExperimentError", "FedLLMError", "Meaningless", "ModelError", "RunError"]


class FedLLMError(Exception):
    """Bad input or a broken environment, told in words; the command line prints it and exits with 2.

    Args:
        message: what is wrong, naming the thing and the place.
        hint: the way out, printed on a line of its own after `hint:`.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class ExperimentError(FedLLMError):
    """An experiment file or an override that cannot be used."""


class Meaningless(ExperimentError):
    """Parts of an experiment that are right by themselves and make no sense together; both are named."""


class AssetError(FedLLMError):
    """An external file that cannot be had."""


class DataError(FedLLMError):
    """Rows or clients that cannot be used."""


class ModelError(FedLLMError):
    """A base model, tokenizer or adapter that cannot be used."""


class RunError(FedLLMError):
    """A run folder that cannot be used or written."""
