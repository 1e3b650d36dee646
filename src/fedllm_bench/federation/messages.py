"""What travels between server and clients, and what a run consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedllm_bench.tensors import Tensors

__all__ = ["ClientReport", "Job", "RoundRecord", "RunState", "Update"]


@dataclass(frozen=True)
class Job:
    """Train some clients of a round's cohort together.

    Args:
        round: number of the round, from 1.
        clients: their positions in the dataset.
        adapter: the global adapter they start from.
        shared: what the server sends besides, such as SCAFFOLD's c.
        own: for each client what it kept from its last round.
        lr: learning rate of the round.
        base: what methods with exact aggregation have added to the base's layers; see `RunState`.
    """

    round: int
    clients: tuple[int, ...]
    adapter: Tensors
    shared: Tensors
    own: Mapping[int, Tensors]
    lr: float
    base: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class ClientReport:
    """What is known about one client's training in one round, without its data.

    Args:
        samples: examples it could train on.
        steps: optimizer steps taken.
        tokens: tokens that went through the model; `trained_tokens` of them carried loss.
        loss_first: mean loss of the first step, `loss_last` of the last, `loss` of all, per trained token.
        flops: floating point operations.
        notes: reasons and counts of examples shortened or left out.
    """

    client: int
    samples: int
    steps: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    loss_first: float | None = None
    loss_last: float | None = None
    loss: float | None = None
    flops: float = 0.0
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """What one client brings back.

    Args:
        client: its position in the dataset.
        weight: number of its training examples, n_i.
        delta: its adapter less the global one, of the tensors that leave the client.
        extra: further tensors that leave the client, such as SCAFFOLD's change of c_i.
        own: tensors that stay with the client until its next round.
        report: what is known about the training.
    """

    client: int
    weight: float
    delta: Tensors
    extra: Tensors
    own: Tensors
    report: ClientReport


@dataclass(frozen=True)
class RunState:
    """All that a resume needs; a round is a function from one to the next.

    Args:
        round: rounds done.
        adapter: the global adapter, fp32.
        server: the server optimizer's tensors.
        shared: tensors the server sends to clients besides the adapter.
        base: name of an adapted layer -> what has been added to its weight, in units of the adapter's scaling,
            (out, in); empty unless the method changes the base.
        channel: what the channel remembers on the server, such as an adaptive clipping bound.
    """

    round: int
    adapter: Tensors
    server: Tensors
    shared: Tensors
    base: Tensors = field(default_factory=dict)
    channel: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class RoundRecord:
    """What happened in a round."""

    round: int
    cohort: tuple[int, ...]
    rejected: Mapping[int, str]
    reports: tuple[ClientReport, ...]
    update_norms: Mapping[int, float]
    update_norm: float
    lr: float
    bytes_up: int
    bytes_down: int
    seconds: Mapping[str, float]
