"""FedAvg by hand and FedAvg by the engine, side by side: the same clients, the same start, the same batches.

python examples/fedavg_by_hand.py [--real]
"""

import sys
import tempfile
from pathlib import Path

import torch
from fedavg_by_hand import Adapter, Conversation, fedavg_round, put_lora_on
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from fedllm_bench import rng
from fedllm_bench.data import write_dataset
from fedllm_bench.examples import ChatExample, ClientData, FederatedDataset, Turn
from fedllm_bench.federation.batches import shuffled_batches
from fedllm_bench.federation.channel import Direct
from fedllm_bench.federation.checkpoint import DiskStates
from fedllm_bench.federation.executors.inprocess import InProcess
from fedllm_bench.federation.methods.paper import fedavg
from fedllm_bench.federation.optimizer import AdamW
from fedllm_bench.federation.rounds import RoundPlan, constant, first_state, run_round
from fedllm_bench.federation.trainer import CohortTrainer, LocalPlan
from fedllm_bench.federation.worker import Worker
from fedllm_bench.model.base import load_model
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.source import resolve
from fedllm_bench.model.tokenise import Codec
from fedllm_bench.objectives.encoded import EncodedClients
from fedllm_bench.objectives.sft import SFT

SPEC = LoraSpec(rank=4, alpha=8.0, dropout=0.0, targets=("q_proj", "v_proj"))
SEED, ROUNDS, COHORT, STEPS, BATCH, LR = 3, 2, 2, 3, 2, 1e-3
WORDS = (
    *("rain", "tea", "we", "you", "walk", "often", "never", "mild", "green", "song"),
    *("because", "maybe", "river", "old", "friend", "bread", "late", "sing", "why", "quiet"),
)


def three_people(folder: Path) -> FederatedDataset:
    """Three clients with 5, 1 and 3 made-up conversations."""

    def talk(who: str, number: int) -> ChatExample:
        draw = rng.stream(SEED, "talk", who, number)
        said = [" ".join(draw.choice(WORDS, int(draw.integers(2, 9)))) for _ in range(2)]
        return ChatExample(f"{who} {number}", (Turn("user", said[0]), Turn("assistant", said[1])))

    sizes = {"ann": 5, "bo": 1, "cy": 3}
    clients = [ClientData(who, [talk(who, i) for i in range(size)], []) for who, size in sizes.items()]
    return write_dataset(folder, "three-people", clients, fingerprint="three people", source="made up")


def tiny_model(folder: Path) -> str:
    """A random two-layer Llama that reads single characters."""
    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*special, *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>").save_pretrained(folder)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(letters) + 3, initializer_range=0.2, bos_token_id=None, eos_token_id=2, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def by_the_engine(
    trainer: CohortTrainer, encoded: EncodedClients, start: Adapter, folder: Path
) -> tuple[Adapter, list[tuple[int, ...]]]:
    """The adapter after all rounds, and who took part in each."""
    plan = RoundPlan(SEED, range(3), COHORT, constant(LR, 0.0, ROUNDS), fedavg(), Direct(), width=COHORT)
    state, cohorts = first_state(plan, start), []
    for _ in range(ROUNDS):
        executor = InProcess(Worker(trainer, encoded, lambda _: STEPS))
        state, record = run_round(plan, state, executor, DiskStates(folder, back=1))
        cohorts.append(record.cohort)
    return dict(state.adapter), cohorts


def by_hand(
    base: str, start: Adapter, dataset: FederatedDataset, codec: Codec, cohorts: list[tuple[int, ...]]
) -> Adapter:
    """The same by hand; the engine's random streams only say in which order conversations are taken."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    put_lora_on(model, SPEC.targets, SPEC.rank, SPEC.alpha)
    adapter = dict(start)
    for number, cohort in enumerate(cohorts, start=1):
        team = []
        for client in cohort:
            held = [_conversation(codec, example) for example in dataset.load(client).train]
            order = shuffled_batches(SEED, number, dataset.client_id(client), len(held), BATCH, STEPS)
            team.append((len(held), [[held[i] for i in batch] for batch in order]))
        adapter = fedavg_round(model, adapter, team, LR)
    return adapter


def _conversation(codec: Codec, example: ChatExample) -> Conversation:
    tokens = codec.tokens(example.turns, example.trained)
    return torch.tensor(tokens.ids, dtype=torch.long), torch.tensor(tokens.trained)


def compare(base: str, folder: Path) -> tuple[Adapter, Adapter, Adapter]:
    """The adapter at the start, by hand after all rounds, and by the engine."""
    dataset = three_people(folder / "data")
    engine = load_model(base, SPEC, dtype="float32", device="cpu")
    objective = SFT(Codec(engine.tokenizer, "chatml", max_length=256), "by hand")
    plan = LocalPlan(BATCH, clip_norm=1.0, optimizer=AdamW())
    trainer = CohortTrainer(engine, objective, fedavg().client, plan, token_budget=512, seed=SEED)
    start = engine.lora.initial(SEED)
    engines, cohorts = by_the_engine(trainer, EncodedClients(dataset, objective, folder), start, folder / "own")
    return start, by_hand(base, start, dataset, objective.codec, cohorts), engines


def apart(a: Adapter, b: Adapter) -> float:
    """|a - b|."""
    return sum(float((a[name] - b[name]).double().square().sum()) for name in a) ** 0.5


def main() -> None:
    """Run both and print how far they moved and how far apart they end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = str(resolve("smollm2-135m")) if "--real" in sys.argv else tiny_model(folder / "model")
        start, hand, engine = compare(base, folder)
    print(f"moved by hand       {apart(hand, start):.6f}")
    print(f"moved by the engine {apart(engine, start):.6f}")
    print(f"apart, relative     {apart(hand, engine) / apart(engine, start):.1e}")
