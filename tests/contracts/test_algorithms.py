"""Every method in the table keeps the engine's promises, and a method that breaks one is found out."""

from pathlib import Path

import pytest

from fedllm_bench.contract.bench import Bench, workplace
from fedllm_bench.contract.checks import CHECKS, Check
from fedllm_bench.contract.suite import Finding, find
from fedllm_bench.experiment import plugin_files
from fedllm_bench.federation.algorithms import ALGORITHMS

# Of every kind one: all its checks are fast enough for each change.
KINDS = ("fedavg", "scaffold", "fedex-lora")
ALONE = ("resumes", "options", "neutral")


def row(method: str, check: Check) -> object:
    heavy = method not in KINDS and check.name not in ALONE
    return pytest.param(method, check, id=f"{method}-{check.name}", marks=[pytest.mark.slow] if heavy else [])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, clients and runs of all methods: equal experiments are run once."""
    return tmp_path_factory.mktemp("contracts")


@pytest.mark.parametrize(("method", "check"), [row(method, check) for method in ALGORITHMS for check in CHECKS])
def test_every_method_keeps_the_promise(place: Path, method: str, check: Check) -> None:
    with workplace(place, method) as bench:
        finding = find(check, bench)
    assert finding.outcome != "failed", finding.detail


# --- methods that break a promise

HEAD = """
import torch
from fedllm_bench.federation.aggregate import WeightedMean
from fedllm_bench.federation.algorithm import Algorithm, with_rate
from fedllm_bench.federation.hooks import Finished, Plain
from fedllm_bench.tensors import scale
"""
BROKEN = {
    "learns": "def method(): return Algorithm(server=with_rate(0.0))",
    "finite": """
class Hook(Plain):
    def finish(self, *args):
        done = super().finish(*args)
        return Finished(scale(done.delta, float("nan")), {}, {})
def method(): return Algorithm(client=Hook())
""",
    "resumes": """
class Mean(WeightedMean):
    rounds = 0
    def result(self):
        Mean.rounds += 1
        self._weight *= Mean.rounds
        return super().result()
def method(): return Algorithm(aggregate=lambda gathering: Mean())
""",
    "widths": """
class Hook(Plain):
    def after_step(self, ctx, params, lr):
        with torch.no_grad():
            for value in params.values():
                value.mul_(1 - 0.01 * len(ctx.clients))
def method(): return Algorithm(client=Hook())
""",
    "neutral": "def method(rate: float = 1.0): return Algorithm(server=with_rate(0.9 * rate))",
    "dpo": """
class Hook(Plain):
    def finish(self, *args):
        raise ZeroDivisionError("my own")
def method(): return Algorithm(client=Hook())
""",
}


def broken(place: Path, tmp_path: Path, check: str, source: str) -> Finding:
    file = tmp_path / "broken.py"
    file.write_text(f'{HEAD}\n{source}\nALGORITHMS = {{"broken": method}}\n')
    with workplace(place, "broken", plugins=plugin_files([file]), neutral={}) as bench:
        return find(the(check), bench)


def the(name: str) -> Check:
    return next(check for check in CHECKS if check.name == name)


@pytest.mark.parametrize("check", BROKEN)
def test_a_broken_method_fails_the_check_of_what_it_breaks(place: Path, tmp_path: Path, check: str) -> None:
    finding = broken(place, tmp_path, check, BROKEN[check])
    assert finding.outcome == "failed", finding.detail


def test_a_method_that_is_fedavg_passes_where_broken_ones_fail(place: Path, tmp_path: Path) -> None:
    for check in BROKEN:
        finding = broken(place, tmp_path, check, "def method(): return Algorithm()")
        assert finding.outcome == "passed", finding.detail


def test_a_failure_inside_a_method_is_told_with_its_place(place: Path, tmp_path: Path) -> None:
    finding = broken(place, tmp_path, "dpo", BROKEN["dpo"])
    assert finding.detail == "ZeroDivisionError: my own (broken.py:11)"


def test_a_draw_without_a_seed_is_found_out(place: Path, tmp_path: Path) -> None:
    source = """
import os
class Mean(WeightedMean):
    def add(self, client, delta, weight):
        super().add(client, delta, weight * (1 + os.urandom(1)[0]))
def method(): return Algorithm(aggregate=lambda gathering: Mean())
"""
    assert broken(place, tmp_path, "resumes", source).outcome == "failed"


def test_a_refusal_names_both_sides_and_is_no_failure(place: Path) -> None:
    with workplace(place, "flora") as bench:
        finding = find(the("client-dp"), bench)
    assert finding.outcome == "refused"
    assert all(word in finding.detail for word in ("flora", "client-dp", "changed base"))


def test_the_users_cache_is_left_alone(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))
    with workplace(place, "fedavg") as bench:
        ran = bench.run(bench.experiment())
    assert isinstance(bench, Bench)
    assert ran.complete
    assert not (tmp_path / "cache").exists()
