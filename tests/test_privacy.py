"""Client-level privacy: all that leaves is clipped together, the noise is as large as the accountant believes."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from fedllm_bench.errors import ExperimentError
from fedllm_bench.federation.accounting import Participation, epsilon
from fedllm_bench.federation.aggregate import mean_of
from fedllm_bench.federation.algorithms import ALGORITHMS
from fedllm_bench.federation.channel import Channel, Pipeline, Terms, arriving
from fedllm_bench.federation.checkpoint import DiskStates
from fedllm_bench.federation.compression import Quantize, TopK
from fedllm_bench.federation.executors.inprocess import InProcess
from fedllm_bench.federation.messages import RunState
from fedllm_bench.federation.noisy_sum import BELOW, clipped, secret_normal
from fedllm_bench.federation.paper_noise import PaperNoise, paper_sensitivity, paper_sigma
from fedllm_bench.federation.privacy import ClientDP, require_order
from fedllm_bench.federation.rounds import RoundPlan, constant, first_state, run_round
from fedllm_bench.tables import CHANNELS
from fedllm_bench.tensors import Tensors, add, nbytes, norm, scale, subtract
from small_parts import language_model
from small_rounds import SIZES, Federation
from stated import START, InMemory, Stated

TERMS = Terms(clients=100, samples=53_000, cohort=5, rounds=100, sampling="fixed", lr=2e-5)
POISSON = replace(TERMS, sampling="poisson")
MANY = 100_000


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def an_update(size: float, seed: int = 0) -> dict[str, Tensor]:
    """Delta and extra tensors with a norm of `size` together."""
    draw = torch.Generator().manual_seed(seed)
    drawn = {"delta/a": torch.randn(8, 4, generator=draw), "extra/c": torch.randn(8, 4, generator=draw)}
    return scale(drawn, size / norm(drawn))


def one_round(
    channel: Channel, updates: Mapping[int, Tensors], state: Tensors, seed: int = 0
) -> tuple[Tensors, Tensors]:
    """What the server gets of some clients' updates, and what it remembers."""
    arrived = {
        client: (channel.up(arriving(sent), state, np.random.default_rng([7, seed, client])).tensors, 1.0)
        for client, sent in updates.items()
    }
    return channel.merged(mean_of(arrived), len(arrived), state, generator(seed))


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    size=st.floats(1e-6, 1e6),
    bound=st.floats(1e-6, 1e3),
)
def test_nothing_leaves_that_is_longer_than_the_bound(values: list[float], size: float, bound: float) -> None:
    drawn = torch.tensor(values)
    for tensors in ({"delta/a": drawn}, {"delta/a": drawn, "extra/c": torch.full((7,), size)}):
        assert norm(clipped(tensors, bound)) <= bound


def test_what_is_short_enough_is_left_alone() -> None:
    short = an_update(0.999)
    assert norm(subtract(clipped(short, 1.0), short)) == 0


def test_delta_and_extra_are_clipped_by_one_factor() -> None:
    sent = {"delta/a": torch.full((4,), 3.0), "extra/c": torch.full((4,), 4.0)}
    found = ClientDP(clip=1.0).bind(TERMS).up(arriving(sent), {}, generator()).tensors
    assert found["delta/a"] == pytest.approx(torch.full((4,), 0.3).numpy(), rel=1e-5)
    assert found["extra/c"] == pytest.approx(torch.full((4,), 0.4).numpy(), rel=1e-5)


@pytest.mark.parametrize("terms", [TERMS, POISSON, replace(TERMS, cohort=1000, clients=5)])
@pytest.mark.parametrize("came", [0, 3, 5])
def test_noise_of_the_server_has_the_size_that_is_accounted(terms: Terms, came: int) -> None:
    clip, noise = 0.5, 1.5
    channel = ClientDP(clip=clip, noise=noise).bind(terms)
    mean = {"delta/a": torch.zeros(MANY)}
    found, _ = channel.merged(mean, came, channel.init(), generator(3))
    # Whoever came, the sum is divided by the cohort that was to come.
    standard = found["delta/a"].double().numpy() * 5 / (clip * noise)
    assert stats.kstest(standard, "norm").pvalue > 0.001


@pytest.mark.parametrize("came", [0, 3, 5])
def test_shares_of_noise_and_what_the_server_adds_make_the_whole(came: int) -> None:
    clip, noise = 0.5, 1.5
    channel = ClientDP(clip=clip, noise=noise, placement="local").bind(TERMS)
    updates = {client: {"delta/a": torch.zeros(MANY)} for client in range(came)}
    if updates:
        found, _ = one_round(channel, updates, {})
    else:
        found, _ = channel.merged({"delta/a": torch.zeros(MANY)}, 0, {}, generator())
    standard = found["delta/a"].double().numpy() * 5 / (clip * noise)
    assert stats.kstest(standard, "norm").pvalue > 0.001


def test_a_client_of_local_noise_sends_its_share_only() -> None:
    channel = ClientDP(clip=0.5, noise=1.5, placement="local").bind(TERMS)
    sent = channel.up(arriving({"delta/a": torch.zeros(MANY)}), {}, generator()).tensors["delta/a"]
    assert float(sent.std()) == pytest.approx(0.5 * 1.5 / math.sqrt(5), rel=0.02)


@pytest.mark.parametrize("came", [1, 4, 7])
def test_without_noise_the_sum_is_divided_by_the_expected_cohort(came: int) -> None:
    channel = ClientDP(clip=1.0, noise=0.0).bind(POISSON)
    updates = {client: an_update(0.5 + client, client) for client in range(came)}
    found, _ = one_round(channel, updates, {})
    total = scale(an_update(0.0), 0.0)
    for update in updates.values():
        total = add(total, clipped(update, 1.0))
    assert norm(subtract(found, scale(total, 1 / 5))) < 1e-6
    assert channel.uniform


def test_a_round_is_a_function_of_its_state_and_draws() -> None:
    channel = ClientDP(adaptive=True).bind(TERMS)
    updates = {client: an_update(2.0, client) for client in range(5)}
    some, after = one_round(channel, updates, channel.init(), seed=4)
    again, after_again = one_round(ClientDP(adaptive=True).bind(TERMS), updates, channel.init(), seed=4)
    assert norm(subtract(some, again)) == 0
    assert torch.equal(after["clip"], after_again["clip"])


def test_secret_noise_comes_from_no_seed_and_is_normal() -> None:
    channel = ClientDP(randomness="secret").bind(TERMS)
    mean = {"delta/a": torch.zeros(MANY)}
    first, _ = channel.merged(mean, 5, {}, generator(1))
    second, _ = channel.merged(mean, 5, {}, generator(1))
    assert norm(subtract(first, second)) > 0
    assert channel.account(1)["randomness"] == "secret"
    drawn = np.concatenate([secret_normal(generator(), (3, 1001)).ravel() for _ in range(30)])
    # Drawn anew in each run of the test, so the bar is one that chance misses once in a million runs.
    assert stats.kstest(drawn, "norm").pvalue > 1e-6


def test_an_adaptive_bound_finds_the_quantile() -> None:
    norms = np.sort(generator(5).lognormal(0, 0.5, 100))
    channel = ClientDP(clip=20.0, noise=0.2, adaptive=True, quantile=0.3).bind(replace(TERMS, cohort=50))
    state, seen = channel.init(), []
    for round in range(150):
        drawn = generator(round).choice(100, 50, replace=False)
        updates = {int(client): {"delta/a": torch.tensor([norms[client]])} for client in drawn}
        used, state = one_round(channel, updates, state, round)
        assert BELOW not in used
        seen.append(float(state["clip"]))
    assert np.mean(norms <= np.mean(seen[-50:])) == pytest.approx(0.3, abs=0.05)


def test_a_bound_that_has_shrunk_to_nothing_lets_nothing_through() -> None:
    channel = ClientDP(clip=1.0, noise=0.5, adaptive=True).bind(TERMS)
    shrunk = {"clip": torch.zeros(1, dtype=torch.float64)}
    sent = channel.up(arriving(an_update(3.0)), shrunk, generator()).tensors
    assert norm({name: value for name, value in sent.items() if name != BELOW}) == 0


def test_update_and_bit_together_leak_as_much_as_the_noise_says() -> None:
    channel = ClientDP(noise=1.0, adaptive=True, count_noise=2.0).bind(TERMS)
    # Largest change by one client: C of the update and 1/2 of the bit, each in units of its noise.
    assert channel.update_noise**-2 + (0.5 / 2.0) ** 2 == pytest.approx(1.0)
    assert channel.account(10)["epsilon"] == ClientDP(noise=1.0).bind(TERMS).account(10)["epsilon"]


def test_noise_on_the_count_has_its_size() -> None:
    channel = ClientDP(noise=1.0, adaptive=True, count_noise=2.0, clip_rate=1.0).bind(TERMS)
    nothing = {"delta/a": torch.zeros(1)}
    clips = [float(channel.merged(nothing, 0, channel.init(), generator(s))[1]["clip"]) for s in range(2000)]
    # ln C' = -(b - 1/2), b - 1/2 = N(0, 2^2) / 5
    assert float(np.std(np.log(clips))) == pytest.approx(2 / 5, rel=0.1)


def test_a_count_that_uses_up_the_noise_is_refused() -> None:
    with pytest.raises(ExperimentError, match="count_noise"):
        ClientDP(noise=1.0, adaptive=True, count_noise=0.5).bind(TERMS)


def test_no_clipping_means_noise_as_it_stands_and_no_guarantee() -> None:
    channel = ClientDP(clip=0.0, noise=0.25).bind(TERMS)
    long = an_update(1e6)
    assert norm(subtract(channel.up(arriving(long), {}, generator()).tensors, long)) == 0
    found, _ = channel.merged({"delta/a": torch.zeros(MANY)}, 5, {}, generator())
    assert float(found["delta/a"].std()) == pytest.approx(0.25 / 5, rel=0.02)
    spent = channel.account(10)
    assert spent["epsilon"] is None
    assert "bounds" in spent["reason"]


def test_no_noise_gives_no_guarantee() -> None:
    channel = ClientDP(noise=0.0).bind(TERMS)
    assert channel.account(1)["epsilon"] is None
    assert "noise" in channel.account(1)["reason"]


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_control_variates_are_summed_once_whoever_came(noise: float) -> None:
    """c <- c + (1 / N) sum_i (c_i' - c_i), where three of five clients arrive."""
    channel = Pipeline([ClientDP(clip=100.0, noise=noise).bind(replace(TERMS, clients=5, cohort=5))])
    changes = Stated(empty=[3, 4], extra={"w": torch.ones(2)}, sizes=(1,) * 5)
    plan = RoundPlan(0, range(5), 5, constant(0.1, 0, 1), ALGORITHMS["scaffold"](), channel, 1)
    after, _ = run_round(plan, first_state(plan, START), changes, InMemory())
    torch.testing.assert_close(after.shared["w"], torch.full((2,), (1 + 2 + 3) / 5), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("terms", "adjacency", "accountant"),
    [
        (TERMS, "replace one client", "rdp"),
        (POISSON, "add or remove one client", "pld"),
        (replace(TERMS, sampling="paper"), "replace one client", "pld"),
    ],
)
def test_the_account_is_the_accountants(terms: Terms, adjacency: str, accountant: str) -> None:
    spent = ClientDP(noise=2.0).bind(terms).account(10)
    delta = 100**-1.1
    assert spent["epsilon"] == epsilon(Participation(terms.sampling, 5, 100), 2.0, 10, delta)
    assert (spent["adjacency"], spent["accountant"], spent["delta"]) == (adjacency, accountant, delta)
    assert any("cohort" in text for text in spent["assumes"]) == (terms.sampling != "paper")


@pytest.mark.slow
def test_a_target_is_met_at_the_last_round_and_not_before() -> None:
    channel = ClientDP(target_epsilon=8.0, delta=1e-3).bind(POISSON)
    assert channel.account(100)["epsilon"] == pytest.approx(8.0, rel=1e-3)
    assert channel.account(100)["epsilon"] <= 8.0
    assert channel.account(50)["epsilon"] < 7.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClientDP(noise=2.0, target_epsilon=8.0),
        lambda: ClientDP(clip=-1.0),
        lambda: ClientDP(clip=math.inf),
        lambda: ClientDP(delta=1.0),
        lambda: ClientDP(placement="client"),
        lambda: ClientDP(randomness="none"),
        lambda: ClientDP(accountant="moments"),
        lambda: ClientDP(quantile=1.0),
        lambda: ClientDP(clip=0.0, target_epsilon=8.0),
        lambda: ClientDP(clip=0.0, adaptive=True),
        lambda: ClientDP(placement="local").bind(POISSON),
        lambda: ClientDP(accountant="pld").bind(TERMS),
        lambda: ClientDP().bind(replace(TERMS, clients=1, cohort=1)),
        PaperNoise,
        lambda: PaperNoise(sigma=1.0, epsilon=1.0),
        lambda: PaperNoise(sigma=-1.0),
        lambda: PaperNoise(sigma=1.0, delta=0.0),
        lambda: PaperNoise(sigma=1.0, bound=1.0).bind(POISSON),
    ],
)
def test_options_without_sense_are_refused(make: object) -> None:
    with pytest.raises(ExperimentError):
        make()  # type: ignore[operator]


def test_the_formula_of_the_paper_gives_its_numbers() -> None:
    # Appendix D with C = 1, 53,000 samples of 100 clients, eta = 2e-5 and 100 rounds of 5 clients.
    assert paper_sensitivity(1.0, TERMS) == pytest.approx(7.547e-8, rel=1e-4)
    assert paper_sigma(1.0, 1e-4, 1.0, TERMS) == pytest.approx(7.243e-7, rel=1e-4)
    assert paper_sigma(0.01, 1e-4, 1.0, TERMS) == pytest.approx(7.243e-5, rel=1e-4)


@pytest.mark.parametrize(("spec", "sigma"), [(PaperNoise(sigma=0.1), 0.1), (PaperNoise(epsilon=1e-3), 7.243e-4)])
def test_the_noise_of_the_paper_is_on_every_number_and_clips_none(spec: PaperNoise, sigma: float) -> None:
    channel = spec.bind(TERMS)
    long = {"delta/a": torch.ones(MANY), "extra/c": -torch.ones(MANY)}
    sent = channel.up(arriving(long), {}, generator())
    for name, value in sent.tensors.items():
        assert stats.kstest((value - long[name]).double().numpy() / sigma, "norm").pvalue > 1e-3
        assert float((value - long[name]).std()) == pytest.approx(sigma, rel=0.02)
    assert sent.bytes == nbytes(long)
    assert not channel.uniform


@pytest.mark.parametrize(("spec", "claimed"), [(PaperNoise(sigma=0.1), None), (PaperNoise(epsilon=1.0), 1.0)])
def test_the_noise_of_the_paper_claims_and_guarantees_nothing(spec: PaperNoise, claimed: float | None) -> None:
    spent = spec.bind(TERMS).account(100)
    assert spent is not None
    assert spent["claimed_epsilon"] == claimed
    assert spent["epsilon"] is None
    assert spent["reason"] == "nothing bounds what one client sends"


def test_a_bound_gives_the_noise_of_the_paper_a_guarantee() -> None:
    channel = PaperNoise(sigma=0.2, bound=0.5, delta=1e-3).bind(TERMS)
    spent = channel.account(20)
    assert spent is not None
    assert spent["epsilon"] == epsilon(Participation("fixed", 5, 100), 0.2 * math.sqrt(5) / 0.5, 20, 1e-3)
    assert (spent["channel"], spent["claimed_epsilon"]) == ("paper-noise", None)
    sent = channel.up(arriving({"delta/a": torch.full((MANY,), 50.0)}), {}, generator()).tensors["delta/a"]
    assert float(sent.std()) == pytest.approx(0.2, rel=0.02)
    assert channel.uniform


def test_what_the_formula_of_the_paper_claims_is_far_from_what_its_noise_guarantees() -> None:
    # An update of these runs is about 0.1 long; the noise that the formula calls epsilon 1 is 7e-7.
    spent = PaperNoise(epsilon=1.0, bound=0.1).bind(TERMS).account(100)
    assert spent is not None
    assert spent["claimed_epsilon"] == 1.0
    assert spent["epsilon"] > 1e6


@pytest.mark.parametrize("spec", [Quantize(8), TopK(0.1)])
def test_compression_comes_before_noise_that_guarantees_something(spec: Quantize | TopK) -> None:
    require_order([spec, ClientDP()])
    require_order([spec, ClientDP(placement="local")])
    require_order([PaperNoise(sigma=0.1), spec])
    for bounded in (ClientDP(), ClientDP(placement="local"), PaperNoise(sigma=0.1, bound=1.0)):
        with pytest.raises(ExperimentError, match="compression after") as caught:
            require_order([bounded, PaperNoise(sigma=0.1), spec])
        assert "before it" in str(caught.value.hint)


def test_a_client_stands_out_of_a_sum_of_messages_that_were_cut_after_their_share_of_noise() -> None:
    """Why that is refused: the noise of all protects their sum, and what is cut from each message is not in it."""
    terms = replace(TERMS, clients=100, cohort=100)
    cut = Pipeline([ClientDP(placement="local").bind(terms), TopK(0.5, error_feedback=False).bind(terms)])
    usual = {client: {"delta/a": torch.tensor([1.0, 0.0])} for client in range(100)}
    other = {**usual, 0: {"delta/a": torch.tensor([0.0, 1.0])}}
    with_usual, with_other = (one_round(cut, updates, {})[0]["delta/a"][1] * 100 for updates in (usual, other))
    assert float(with_usual) == 0
    assert float(with_other) > 0.5


@pytest.mark.parametrize("second", [ClientDP(), PaperNoise(sigma=0.1, bound=1.0)])
def test_one_channel_alone_makes_the_sum_noisy(second: ClientDP | PaperNoise) -> None:
    with pytest.raises(ExperimentError, match="one of them"):
        require_order([ClientDP(), second])


@pytest.mark.parametrize("spec", [Quantize(8, block=32), Quantize(4), TopK(0.1)])
def test_compressed_updates_are_clipped_after_decoding_and_what_is_left_stays_with_the_client(
    spec: Quantize | TopK,
) -> None:
    both = Pipeline([spec.bind(TERMS), ClientDP(clip=1.0, noise=1.0, adaptive=True).bind(TERMS)])
    sent = arriving(an_update(3.0))
    alone = spec.bind(TERMS).up(sent, {}, generator())
    found = both.up(sent, both.init(), generator())
    updates = {name: value for name, value in found.tensors.items() if name != BELOW}
    assert norm(updates) <= 1.0
    assert norm(subtract(updates, clipped(alone.tensors, 1.0))) == 0
    assert float(found.tensors[BELOW]) == -0.5
    # Four bytes for the factor that clips, one for the bit.
    assert found.bytes == alone.bytes + 5
    assert {name for name in found.memory if name.startswith("0/")} == {f"0/{name}" for name in sent.tensors}
    spent = both.account(3)
    assert spent is not None
    assert spent["channel"] == "client-dp"
    used, state = both.merged(found.tensors, 1, both.init(), generator())
    assert used.keys() == sent.tensors.keys()
    assert state.keys() == {"1/clip"}


def test_an_empty_round_releases_noise_of_every_shape_and_moves_the_bound() -> None:
    channel = ClientDP(adaptive=True).bind(POISSON)
    zeros = {"delta/a": torch.zeros(3, 2), "extra/c": torch.zeros(())}
    used, state = channel.merged(zeros, 0, channel.init(), generator())
    assert {name: value.shape for name, value in used.items()} == {name: value.shape for name, value in zeros.items()}
    assert all(bool((value != 0).all()) for value in used.values())
    assert float(state["clip"]) != 1.0


def trained(folder: Path, model: Path, channel: Channel, count: int) -> RunState:
    """Rounds of SCAFFOLD, which sends something besides the update, through a channel."""
    federation = Federation(language_model(model), folder, ALGORITHMS["scaffold"](), steps=1)
    plan, own = replace(federation.plan, channel=channel), DiskStates(folder / "own", back=100)
    state = first_state(plan, federation.model.lora.initial(7))
    for _ in range(count):
        state, record = run_round(plan, state, InProcess(federation.worker), own)
        assert not record.rejected
    return state


def test_real_rounds_go_through_compression_and_privacy_and_are_repeated_by_their_seed(
    tiny_model: Path, tmp_path: Path
) -> None:
    terms = replace(TERMS, clients=len(SIZES), cohort=len(SIZES))
    both = [CHANNELS["quantize"](bits=4), CHANNELS["client-dp"](clip=0.1, noise=0.01, adaptive=True)]
    require_order(both)
    channel = Pipeline([spec.bind(terms) for spec in both])
    states = [trained(tmp_path / name, tiny_model, channel, 2) for name in ("one", "two")]
    start = language_model(tiny_model).lora.initial(7)
    moved = norm(subtract({name: states[0].adapter[name] for name in start}, start))
    # Two rounds, each at most the bound (which moves little) and a little noise.
    assert 0.01 < moved < 0.3
    assert norm(states[0].shared) > 0
    assert states[0].channel.keys() == {"1/clip"}
    assert float(states[0].channel["1/clip"]) != 0.1
    assert norm(subtract(states[0].adapter, states[1].adapter)) == 0
