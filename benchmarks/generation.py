"""Tokens a second of batched generation beside Hugging Face `generate`, one prompt at a time: MT-Bench's first turns.

Both greedy, in the same precision, with the same most new tokens; the tokens of answers count, none that pad. The peer
answers some of the prompts, ours all: one by one, a token costs the same whatever the number of prompts.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.machine import save
from fedllm_bench.evaluate.benchmarks.mt_bench import mt_bench
from fedllm_bench.examples import Turn
from fedllm_bench.model.base import DTYPES, LanguageModel, device_and_dtype, load_model
from fedllm_bench.model.generate import Prompt, batches, generate, stop_ids
from fedllm_bench.model.lora import LoraSpec
from fedllm_bench.model.prepacked import prepacked
from fedllm_bench.model.sampling import Sampling
from fedllm_bench.model.source import resolve
from fedllm_bench.model.tokenise import Codec

BASE = "smollm2-135m"


def ours(model: LanguageModel, prompts: list[Prompt], stops: frozenset[int]) -> float:
    """Tokens a second."""
    started = time.perf_counter()
    tokens = 0
    with prepacked(model.model):
        for chosen in batches(prompts):
            tokens += sum(len(made.ids) for made in generate(model, [prompts[at] for at in chosen], stops, 0))
    return tokens / (time.perf_counter() - started)


@torch.inference_mode()
def peer(model: PreTrainedModel, prompts: list[Prompt], stops: frozenset[int]) -> float:
    """Tokens a second of one prompt after the other."""
    started = time.perf_counter()
    tokens = 0
    for prompt in prompts:
        ids = torch.from_numpy(prompt.ids.astype("int64"))[None].to(model.device)
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=prompt.sampling.max_new_tokens,
            do_sample=False,
            eos_token_id=list(stops),
            pad_token_id=0,
        )
        tokens += out.shape[1] - ids.shape[1]
    return tokens / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=80)
    parser.add_argument("--peer-prompts", type=int, default=6)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES))
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    place, dtype = device_and_dtype("auto", options.dtype)
    model = load_model(BASE, LoraSpec(1, 1.0, 0.0, ()), dtype=dtype, device=str(place))
    theirs = AutoModelForCausalLM.from_pretrained(resolve(BASE), dtype=DTYPES[dtype]).to(place).eval()
    codec = Codec(model.tokenizer, "native", 1 << 20)
    stops = stop_ids(model, codec)
    how = Sampling(0.0, options.new_tokens)
    prompts = [Prompt(codec.prompt([Turn("user", q.turns[0])]), how, (q.id,)) for q in mt_bench()][: options.prompts]
    spread = prompts[:: max(1, len(prompts) // options.peer_prompts)][: options.peer_prompts]
    peer(theirs, spread[:1], stops)
    found = [(ours(model, prompts, stops), peer(theirs, spread, stops)) for _ in range(options.turns)]
    save(
        "generation",
        {
            "base": BASE,
            "dtype": dtype,
            "prompts": len(prompts),
            "peer_prompts": len(spread),
            "new_tokens": options.new_tokens,
            "tokens_per_second": {
                "batched": [round(mine, 1) for mine, _ in found],
                "one prompt at a time": [round(other, 1) for _, other in found],
            },
            "ratio": round(statistics.median(mine / other for mine, other in found), 2),
        },
    )


if __name__ == "__main__":
    main()
