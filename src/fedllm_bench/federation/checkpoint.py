"""A run's state on disk: one atomic file a round, and what clients keep, one file a client and round."""

import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fedllm_bench.federation.messages import RunState
from fedllm_bench.store import replacing
from fedllm_bench.tensors import Tensors, prefixed, unprefixed

__all__ = ["Checkpoints", "DiskStates"]


@dataclass(frozen=True)
class Checkpoints:
    """The newest states of a run.

    Args:
        folder: where they are.
        keep: how many stay.
    """

    folder: Path
    keep: int

    def save(self, state: RunState) -> None:
        """Write a state, then remove the oldest beyond `keep`.

        Raises:
            RunError: the disk is full; earlier checkpoints stay.
        """
        tensors = {
            **prefixed("adapter", state.adapter),
            **prefixed("server", state.server),
            **prefixed("shared", state.shared),
            **prefixed("base", state.base),
            **prefixed("channel", state.channel),
        }
        with replacing(self._path(state.round)) as scratch:
            save_file({name: value.contiguous() for name, value in tensors.items()}, scratch)
        self.thin_out()

    def thin_out(self) -> None:
        """Remove all but the newest `keep`."""
        for old in self.rounds()[: -self.keep]:
            self._path(old).unlink()

    def newest(self) -> RunState | None:
        """The newest state that can be read; a damaged file is passed over for the one before it."""
        for round in reversed(self.rounds()):
            try:
                tensors = load_file(self._path(round))
            except SafetensorError:
                continue
            parts = ("adapter", "server", "shared", "base", "channel")
            return RunState(round, *(unprefixed(part, tensors) for part in parts))
        return None

    def rounds(self) -> list[int]:
        """Rounds that have a checkpoint, ascending."""
        return _numbers(self.folder, r"round-(\d+)\.safetensors")

    def _path(self, round: int) -> Path:
        return self.folder / f"round-{round:06d}.safetensors"


@dataclass(frozen=True)
class DiskStates:
    """What clients keep between rounds; files of rounds that a resumed run has yet to do are never read.

    Args:
        folder: one folder a client in it.
        back: how many rounds a resume may go back: checkpoints that stay, times the rounds between two of them.
    """

    folder: Path
    back: int

    def load(self, client: int, before: int) -> Tensors:
        past = [round for round in self._rounds(client) if round < before]
        return load_file(self._path(client, past[-1])) if past else {}

    def save(self, client: int, round: int, own: Tensors) -> None:
        with replacing(self._path(client, round)) as scratch:
            save_file({name: value.contiguous() for name, value in own.items()}, scratch)
        # The oldest state that a resume can start from is that after round `round - back`. A file of a later round is
        # left from before a resume; it goes once its round is done again.
        for old in [past for past in self._rounds(client) if past <= round - self.back][:-1]:
            self._path(client, old).unlink()

    def _rounds(self, client: int) -> list[int]:
        return _numbers(self.folder / str(client), r"(\d+)\.safetensors")

    def _path(self, client: int, round: int) -> Path:
        return self.folder / str(client) / f"{round:06d}.safetensors"


def _numbers(folder: Path, pattern: str) -> list[int]:
    names = [re.fullmatch(pattern, path.name) for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(match.group(1)) for match in names if match)
