"""How the rows of a micro-batch lie in one forward pass: packed end to end, or padded to the longest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Layout", "Route", "lay_out", "plan_micro_batches", "route_of"]


@dataclass(frozen=True)
class Route:
    """Which tokens belong to which client's adapter.

    Args:
        clients: positions in the adapter stack that occur, ascending, (present,).
        slots: for each of them its tokens' places in the flat token order, filled up with its own first token,
            (present, most tokens).
        filled: which slots hold a token of their own, (present, most tokens).
        places: for each token its slot in the flattened `slots`, (tokens,).
        rows: (first place, number of tokens, random key) of each row, for dropout.
    """

    clients: tuple[int, ...]
    slots: Tensor
    filled: Tensor
    places: Tensor
    rows: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Layout:
    """The tensors of one forward pass, and where each row's scored tokens are.

    Args:
        input_ids: (1, tokens) packed, or (rows, longest) padded.
        position_ids: like input_ids; they start anew in each row.
        attention_mask: None packed; (rows, longest) padded.
        segments: lengths of the packed rows; None padded.
        keep: flat places whose next token is scored, (scored,).
        targets: those next tokens, (scored,).
        target_rows: the row of each, (scored,).
        row_count: number of rows.
        route: which adapter each token meets.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor | None
    segments: tuple[int, ...] | None
    keep: Tensor
    targets: Tensor
    target_rows: Tensor
    row_count: int
    route: Route


def plan_micro_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Put rows into as few micro-batches as a token budget allows, tokens spread evenly: longest first, least full bin.

    Args:
        lengths: tokens of each row.
        token_budget: most tokens a micro-batch should have; a longer row gets one of its own.

    Returns:
        Row numbers of each micro-batch, ascending.
    """
    bins: list[list[int]] = []
    loads: list[int] = []
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    count = max(1, -(-sum(lengths) // token_budget))
    while True:
        bins, loads = [[] for _ in range(count)], [0] * count
        for row in order:
            least = loads.index(min(loads))
            if bins[least] and loads[least] + lengths[row] > token_budget:
                break
            bins[least].append(row)
            loads[least] += lengths[row]
        else:
            return [sorted(rows) for rows in bins if rows]
        count += 1


def lay_out(
    ids: Sequence[NDArray[np.int32]],
    scored: Sequence[NDArray[np.bool_]],
    owners: Sequence[int],
    keys: Sequence[int],
    *,
    packed: bool,
    pad_id: int,
    device: torch.device,
) -> Layout:
    """Lay rows out for one forward pass.

    Args:
        ids: token ids of each row.
        scored: for each row which tokens are predicted and scored; the first token never is.
        owners: for each row the position of its client in the adapter stack, ascending.
        keys: for each row the random key of its dropout.
        packed: end to end in one line, or padded on the right.
        pad_id: what fills padded places.
        device: where the tensors go.
    """
    lengths = [len(row) for row in ids]
    width = max(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if packed else np.arange(len(ids)) * width
    total = sum(lengths) if packed else len(ids) * width
    flat = np.full(total, pad_id, dtype=np.int64)
    positions = np.zeros(total, dtype=np.int64)
    real = np.zeros(total, dtype=np.bool_)
    keep, targets, rows = [], [], []
    for row, (start, tokens, flags) in enumerate(zip(starts, ids, scored, strict=True)):
        span = slice(start, start + len(tokens))
        flat[span], positions[span], real[span] = tokens, np.arange(len(tokens)), True
        at = np.flatnonzero(flags[1:])
        keep.append(start + at)
        targets.append(tokens[at + 1])
        rows.append(np.full(len(at), row))
    shape = (1, total) if packed else (len(ids), width)

    def put(array: NDArray[np.generic], *shape: int) -> Tensor:
        return torch.from_numpy(array).reshape(shape or array.shape).to(device)

    stretch = lengths if packed else [width] * len(ids)
    return Layout(
        input_ids=put(flat, *shape),
        position_ids=put(positions, *shape),
        attention_mask=None if packed else put(real.astype(np.int64), *shape),
        segments=tuple(lengths) if packed else None,
        keep=put(np.concatenate(keep).astype(np.int64)),
        targets=put(np.concatenate(targets).astype(np.int64)),
        target_rows=put(np.concatenate(rows).astype(np.int64)),
        row_count=len(ids),
        route=_route(starts, stretch, lengths, owners, keys, device),
    )


def route_of(owners: Sequence[int], tokens: int, device: torch.device) -> Route:
    """The route of rows of one length, in any order.

    Args:
        owners: for each row its position in the adapter stack.
        tokens: of every row.
        device: where the tensors go.
    """
    lengths = [tokens] * len(owners)
    return _route(np.arange(len(owners)) * tokens, lengths, lengths, owners, [0] * len(owners), device)


def _route(
    starts: NDArray[np.int64],
    stretch: Sequence[int],
    lengths: Sequence[int],
    owners: Sequence[int],
    keys: Sequence[int],
    device: torch.device,
) -> Route:
    """Group the places of the token order by client; a row's padding goes with the row."""
    clients = sorted(set(owners))
    mine = [
        np.concatenate([np.arange(s, s + n) for s, n, o in zip(starts, stretch, owners, strict=True) if o == client])
        for client in clients
    ]
    most = max(len(places) for places in mine)
    slots = np.stack([np.concatenate([own, np.full(most - len(own), own[0])]) for own in mine])
    filled = np.stack([np.arange(most) < len(own) for own in mine])
    places = np.empty(sum(stretch), dtype=np.int64)
    for position, own in enumerate(mine):
        places[own] = position * most + np.arange(len(own))
    return Route(
        clients=tuple(clients),
        slots=torch.from_numpy(slots.astype(np.int64)).to(device),
        filled=torch.from_numpy(filled).to(device),
        places=torch.from_numpy(places).to(device),
        rows=tuple((int(s), n, key) for s, n, key in zip(starts, lengths, keys, strict=True)),
    )
