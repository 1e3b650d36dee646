"""Which tensors of an adapter train, leave the client, or stay there."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

from fedllm_bench.errors import ExperimentError, Meaningless
from fedllm_bench.tensors import Tensors, prefixed, unprefixed

__all__ = ["Keys", "kept_personal", "personal_model"]

_PERSONAL = "personal"


@dataclass(frozen=True)
class Keys:
    """Patterns over tensor names, such as `*lora_B*`.

    Args:
        frozen: tensors that nobody trains; they are as the seed made them on every client, so none travels.
        private: tensors that each client trains and keeps.
    """

    frozen: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    def trains(self, name: str) -> bool:
        return not _matches(name, self.frozen)

    def is_private(self, name: str) -> bool:
        return self.trains(name) and _matches(name, self.private)

    def leaves(self, name: str) -> bool:
        return self.trains(name) and not _matches(name, self.private)

    def leaving(self, tensors: Tensors) -> dict[str, Tensor]:
        """The tensors that travel between clients and server."""
        return {name: value for name, value in tensors.items() if self.leaves(name)}

    def require_sense(self, names: Iterable[str]) -> None:
        """Refuse patterns that match nothing that trains, or leave nothing to share.

        Args:
            names: of the adapter's tensors.

        Raises:
            ExperimentError: a pattern matches no tensor that trains, or nothing would leave a client.
        """
        found = list(names)
        trained = [name for name in found if self.trains(name)]
        for pattern in self.private:
            if not any(fnmatchcase(name, pattern) for name in trained):
                raise ExperimentError(
                    f"federation.private: {pattern!r} matches no tensor that trains",
                    f"tensors are {', '.join(trained[:1]) or 'none'}, ...",
                )
        if not any(self.leaves(name) for name in found):
            raise Meaningless(
                f"nothing would leave a client: private {list(self.private)}, not trained {list(self.frozen)}",
                'leave some of the adapter to be shared, or train alone: algorithm.name = "local"',
            )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def kept_personal(model: Tensors) -> dict[str, Tensor]:
    """A client's own tensors as it keeps them among what else it keeps."""
    return prefixed(_PERSONAL, model)


def personal_model(own: Tensors) -> dict[str, Tensor]:
    """A client's own tensors, found in what it keeps; empty before it has trained."""
    return unprefixed(_PERSONAL, own)
