"""vLLM writes the answers: for GPUs and many prompts. Its own package, `pip install 'fedllm-bench[vllm]'`."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from fedllm_bench import rng
from fedllm_bench.evaluate.engine import Candidate, Engine, Write, WriterError
from fedllm_bench.extras import needed
from fedllm_bench.model.generate import Generated, Prompt, batches, most_new

__all__ = ["VllmWriter"]

ROWS = 1024  # of a batch: vLLM itself decides what it passes together
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has room for
ADAPTERS = 16  # most in one of its passes
SHARE = 0.9  # of the GPU memory that the model of the other benchmarks leaves
CPU_SHARE = 0.5  # of the memory that could be had
SEEDS = 1 << 31
OWN = "leave --engine out: the project's own generation takes any model and adapter"
# In this process: the GPU is shared with the model that other benchmarks use, and its order of work is repeatable.
SETTINGS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}


@dataclass
class VllmWriter:
    """vLLM's engine over the base in its folder, each adapter read from the folder of its candidate.

    It starts when it is first needed, and ends with the `with` block. What it writes may depend, in the last digits of
    a logit and so now and then in a word, on which prompts it passes together.

    Args:
        base: folder with safetensors and tokenizer.
        dtype: precision, by name.
        rank: of the adapters.
        adapters: how many candidates have one.
    """

    base: Path
    dtype: str
    rank: int
    adapters: int

    @property
    def name(self) -> str:
        return f"vllm {self._vllm.__version__}"

    def batches(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return batches(prompts, ROWS, places=1 << 40)

    @contextmanager
    def opened(self, engine: Engine, candidates: Sequence[Candidate], seed: int) -> Iterator[Write]:
        requests = [self._request(candidate) for candidate in candidates]

        def write(prompts: Sequence[Prompt]) -> list[Generated]:
            # Apart: on a CPU, vLLM 0.32 gives prompts of the base the adapter of others in the same pass.
            apart = [at for at, prompt in enumerate(prompts) if requests[prompt.adapter] is None]
            together = [at for at, prompt in enumerate(prompts) if requests[prompt.adapter] is not None]
            found: dict[int, Generated] = {}
            for chosen in filter(None, (apart, together)):
                made = self._generate(engine, [prompts[at] for at in chosen], requests, seed)
                found |= zip(chosen, made, strict=True)
            return [found[at] for at in range(len(prompts))]

        yield write

    def _generate(
        self, engine: Engine, prompts: Sequence[Prompt], requests: Sequence[Any], seed: int
    ) -> list[Generated]:
        try:
            found = self._llm.generate(
                [{"prompt_token_ids": prompt.ids.tolist()} for prompt in prompts],
                [self._sampling(engine, prompt, seed) for prompt in prompts],
                lora_request=[requests[prompt.adapter] for prompt in prompts],
                use_tqdm=False,
            )
        except (RuntimeError, ValueError) as error:
            raise WriterError(f"vLLM cannot answer ({error})", OWN) from error
        return [_generated(one.outputs[0], engine.stops) for one in found]

    def __enter__(self) -> Self:
        _ = self._vllm  # told at once where it is missing
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if vars(self).pop("_llm", None) is not None:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @cached_property
    def _vllm(self) -> Any:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        return needed("vllm", "vllm", "--engine vllm")

    @cached_property
    def _llm(self) -> Any:
        settings: dict[str, Any] = {"gpu_memory_utilization": _free_share()}
        if self.adapters:
            rank = next((most for most in RANKS if most >= self.rank), None)
            if rank is None:
                raise WriterError(f"vLLM takes adapters of rank {RANKS[-1]} at most, these have {self.rank}", OWN)
            settings |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": min(self.adapters, ADAPTERS)}
        try:
            return self._vllm.LLM(str(self.base), dtype=self.dtype, seed=0, skip_tokenizer_init=True, **settings)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise WriterError(f"vLLM cannot be started on {self.base} ({error})", OWN) from error

    def _request(self, candidate: Candidate) -> Any:
        """None for the base alone; vLLM tells adapters apart by number."""
        if candidate.adapter is None:
            return None
        request = needed("vllm.lora.request", "vllm", "--engine vllm").LoRARequest
        return request(candidate.identity, 1 + int(candidate.identity[:7], 16), str(candidate.folder / "adapter"))

    def _sampling(self, engine: Engine, prompt: Prompt, seed: int) -> Any:
        how = prompt.sampling
        return self._vllm.SamplingParams(
            temperature=how.temperature,
            top_p=how.top_p,
            max_tokens=most_new(engine.model, prompt),
            seed=rng.integer(seed, "generation", *prompt.key) % SEEDS,
            stop_token_ids=sorted(engine.stops),
            detokenize=False,
        )


def _free_share() -> float:
    """How much of all memory vLLM may take, of what is free now; by itself it wants nearly all, or does not start."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return SHARE * free / total
    memory = needed("psutil", "vllm", "--engine vllm").virtual_memory()  # vLLM brings it
    return CPU_SHARE * float(memory.available) / float(memory.total)


def _generated(output: Any, stops: frozenset[int]) -> Generated:
    """An answer without the token that ends it."""
    ids = tuple(output.token_ids)
    ended = bool(ids) and ids[-1] in stops
    return Generated(ids[:-1] if ended else ids, ended)
