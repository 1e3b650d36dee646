"""Federated averaging of LoRA adapters, written out by hand: plain PyTorch, one sample at a time, nothing hidden.

Read it from top to bottom. Every client holds conversations that it never shows. In each round

1. the server sends the global adapter w to a few clients;
2. each client starts from w, trains on its own conversations, and ends at w_i;
3. each client sends back only the difference w_i - w;
4. the server adds the average of the differences, weighted by how many conversations each client has:

       w  <-  w + sum_i (n_i / sum_j n_j) * (w_i - w)                  (McMahan et al. 2017, algorithm 1)

The language model itself is frozen: nobody trains or sends it. What is trained is an adapter, two thin matrices A and B
for some of its linear layers (Hu et al. 2021): a layer that computed W x now computes W x + (alpha / rank) B A x.

    python examples/fedavg_by_hand.py           # on a tiny random model, beside the engine's numbers
    python examples/fedavg_by_hand.py --real    # on SmolLM2-135M-Instruct
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Adapter = dict[str, Tensor]  # "model.layers.0.self_attn.q_proj.lora_A.weight" -> A, and so on
Conversation = tuple[Tensor, Tensor]  # token ids, and which of them the model has to learn to say; both (tokens,)


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable low-rank addition: W x + (alpha / rank) * B A x."""

    def __init__(self, frozen: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.frozen = frozen
        self.A = nn.Parameter(torch.zeros(rank, frozen.in_features))
        self.B = nn.Parameter(torch.zeros(frozen.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(x) + self.scale * (x @ self.A.T @ self.B.T)


def put_lora_on(model: nn.Module, targets: tuple[str, ...], rank: int, alpha: float) -> None:
    """Freeze a model and replace its linear layers of these names."""
    model.requires_grad_(False)
    for path, layer in list(model.named_modules()):
        parent, _, name = path.rpartition(".")
        if name in targets:
            setattr(model.get_submodule(parent), name, LoraLinear(layer, rank, alpha))


def adapter_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The trainable parameters, under the names that PEFT gives them."""
    for path, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            yield f"{path}.lora_A.weight", layer.A
            yield f"{path}.lora_B.weight", layer.B


def read_adapter(model: nn.Module) -> Adapter:
    return {name: parameter.detach().clone() for name, parameter in adapter_parameters(model)}


def write_adapter(model: nn.Module, adapter: Adapter) -> None:
    for name, parameter in adapter_parameters(model):
        parameter.data.copy_(adapter[name])


def summed_loss(model: nn.Module, conversation: Conversation) -> tuple[Tensor, int]:
    """Minus the log-probability of the tokens to be learnt, each given all before it, and how many they are."""
    ids, learnt = conversation
    logits = model(input_ids=ids[None]).logits[0]  # (tokens, vocabulary); place t predicts token t + 1
    predicted, truth = logits[:-1][learnt[1:]], ids[1:][learnt[1:]]
    return cross_entropy(predicted, truth, reduction="sum"), len(truth)


def train_client(model: nn.Module, start: Adapter, batches: list[list[Conversation]], lr: float) -> Adapter:
    """What one client does in one round: a few steps of AdamW on its own conversations, from the global adapter on."""
    write_adapter(model, start)
    parameters = [parameter for _, parameter in adapter_parameters(model)]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)  # fresh in each round
    for batch in batches:
        optimizer.zero_grad()
        losses, counts = zip(*(summed_loss(model, conversation) for conversation in batch), strict=True)
        (sum(losses) / sum(counts)).backward()  # the mean over tokens, so that long answers count more than short ones
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return read_adapter(model)


def fedavg_round(
    model: nn.Module, adapter: Adapter, clients: list[tuple[int, list[list[Conversation]]]], lr: float
) -> Adapter:
    """One round: every client of the cohort, given by its size n_i and its batches, trains; the server averages."""
    all_conversations = sum(size for size, _ in clients)
    change = {name: torch.zeros_like(value) for name, value in adapter.items()}
    for size, batches in clients:
        trained = train_client(model, adapter, batches, lr)  # here one after the other; out there, at the same time
        for name in change:
            change[name] += size / all_conversations * (trained[name] - adapter[name])
    return {name: adapter[name] + change[name] for name in adapter}


if __name__ == "__main__":
    from beside_the_engine import main  # builds a model and clients, runs both, prints how far apart they end

    main()
