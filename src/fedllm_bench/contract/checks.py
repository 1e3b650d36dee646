"""The promises that every method keeps, each a small function that runs it and says what it saw."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from fedllm_bench import records
from fedllm_bench.check import check
from fedllm_bench.contract.bench import ROUNDS, Bench
from fedllm_bench.contract.evidence import contents, difference, model_of
from fedllm_bench.contract.interrupt import StopAfter, Stopped
from fedllm_bench.errors import ExperimentError, Meaningless
from fedllm_bench.federation.algorithm import WEIGHTINGS
from fedllm_bench.plugins import forget
from fedllm_bench.store import RunFolder
from fedllm_bench.tensors import all_finite

__all__ = ["CHECKS", "NEUTRAL", "Broken", "Check", "Neutral", "Refused", "Skipped"]

WIDTH_TOLERANCE = 1e-4


class Broken(Exception):
    """The promise is not kept; the text says how that showed."""


class Refused(Exception):
    """The method declares a need that the other part cannot serve."""


class Skipped(Exception):
    """There is nothing to check; the text says why."""


# --- the method by itself


def learns(bench: Bench) -> str:
    rows = list(records.read(bench.run(bench.experiment()).evaluations))
    before, after = ([_losses(row) for row in rows if row["round"] == round] for round in (0, ROUNDS))
    if all(loss == base for ours, (base, *_) in zip(after, before, strict=True) for loss in ours):
        raise Broken("held-out samples score as with the base model: nothing has moved")
    return f"held-out loss of a client: {before[0][0]:.3f} before, {min(after[0]):.3f} after {ROUNDS} rounds"


def _losses(row: Mapping[str, Any]) -> list[float]:
    """Of the shared model, and of the client's own where it has one."""
    losses = [loss for loss in (row["loss"], row.get("personal", {}).get("loss")) if loss is not None]
    if not losses:
        raise Broken(f"after round {row['round']} the held-out loss is not a number")
    return losses


def stays_finite(bench: Bench) -> str:
    return _finite(bench.run(bench.experiment()))


def _finite(folder: RunFolder) -> str:
    rows = list(records.read(folder.clients))
    for row in rows:
        if row["status"] != "ok":
            raise Broken(f"round {row['round']}, {row['client']}: {row['status']}")
    if not all_finite(model_of(folder)):
        raise Broken("the model holds numbers that are infinite or none")
    return f"{len(rows)} updates"


def resumes(bench: Bench) -> str:
    experiment = bench.experiment()
    whole = contents(bench.run(experiment))
    for stop in (StopAfter("rounds", 1), StopAfter("clients", 1)):
        with suppress(Stopped):
            bench.run(experiment, "interrupted", stop)
        forget(bench.plugins)  # another process would load them afresh
    resumed = contents(bench.run(experiment, "interrupted"))
    differing = sorted(name for name in whole.keys() | resumed.keys() if whole.get(name) != resumed.get(name))
    if differing:
        named = ", ".join(differing[:2])
        raise Broken(f"{named} differ: it remembers what no checkpoint holds, or draws without a seed")
    return "stopped after round 1 and inside round 2: the same bytes"


def same_at_every_width(bench: Bench) -> str:
    one, two = (bench.run(bench.experiment({"executor": {"width": width}})) for width in (1, 2))
    apart = difference(model_of(two), model_of(one))
    if not apart <= WIDTH_TOLERANCE:
        raise Broken(f"trained two at a time the model is {apart:.1e} away, more than {WIDTH_TOLERANCE:.0e}")
    return f"{apart:.0e} apart"


def refuses_unknown_options(bench: Bench) -> str:
    options = {**bench.options, "no_such_option": 1}
    try:
        check(bench.of(bench.method, options).experiment())
    except ExperimentError as error:
        if "no_such_option" in error.message:
            return error.message
        raise Broken(f"refused with other words: {error.message}") from error
    raise Broken("no_such_option = 1 was taken")


# --- a neutral setting


@dataclass(frozen=True)
class Neutral:
    """Options under which a method is FedAvg, of either weighting, for so many rounds."""

    options: Mapping[str, Any]
    rounds: int = ROUNDS


NEUTRAL: Mapping[str, Neutral] = {
    "fedavg": Neutral({}),
    "fedprox": Neutral({"mu": 0.0}),
    "fedavgm": Neutral({"beta": 0.0}),
    "scaffold": Neutral({}, rounds=1),  # until there are control variates
    "ditto": Neutral({}),  # the shared model
    "pfedgraph": Neutral({"lam": 0.0}, rounds=1),  # the global adapter, while all start from it
}


def is_fedavg_where_neutral(bench: Bench) -> str:
    neutral = NEUTRAL.get(bench.method) if bench.neutral is None else Neutral(bench.neutral)
    if neutral is None:
        raise Skipped("no options are known under which it is FedAvg")
    rounds = {"federation": {"rounds": neutral.rounds}}
    ours = bench.of(bench.method, {**bench.options, **neutral.options})
    mine = model_of(ours.run(ours.experiment(rounds)))
    apart = []
    for weighting in WEIGHTINGS:
        theirs = bench.of("fedavg", {"weighting": weighting})
        apart.append(difference(mine, model_of(theirs.run(theirs.experiment(rounds)))))
        if apart[-1] == 0:
            return f"with {_settings(neutral.options)} the same bytes as FedAvg, weighted by {weighting}"
    raise Broken(f"with {_settings(neutral.options)} it is {min(apart):.1e} away from FedAvg")


def _settings(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in options.items()) or "its defaults"


# --- the method with other parts


def composes(bench: Bench, changes: Mapping[str, Any], data: str = "chats") -> str:
    """Run with another part, or be refused because of a need that the method declares."""
    try:
        return _finite(bench.run(bench.experiment(changes, data)))
    except Meaningless as error:
        raise Refused(error.message) from error


def on_quantized_base(bench: Bench) -> str:
    if find_spec("bitsandbytes") is None:
        raise Skipped("bitsandbytes is not installed")
    return composes(bench, {"model": {"quantization": "int8"}})


@dataclass(frozen=True)
class Check:
    """One promise.

    Args:
        name: of the check.
        claim: the promise, as a sentence.
        run: gives what it saw; raises Broken, Refused or Skipped.
    """

    name: str
    claim: str
    run: Callable[[Bench], str]


def _with(name: str, claim: str, changes: Mapping[str, Any], data: str = "chats") -> Check:
    return Check(name, claim, partial(composes, changes=changes, data=data))


CHECKS: tuple[Check, ...] = (
    Check("learns", "the model that clients end with is another than the base", learns),
    Check("finite", "every update and the model are finite numbers", stays_finite),
    Check("resumes", "an interrupted run ends with the same bytes as a whole one", resumes),
    Check("widths", "training two clients in one pass gives what one by one gives", same_at_every_width),
    Check("options", "an unknown option is refused by name", refuses_unknown_options),
    Check("neutral", "with neutral options it is FedAvg, bit for bit", is_fedavg_where_neutral),
    _with("private", "B can stay with the clients", {"federation": {"private": ["*lora_B*"]}}),
    _with("poisson", "cohorts may vary in size", {"federation": {"sampling": "poisson"}}),
    _with("client-dp", "updates can be clipped and noised", {"channel": [{"name": "client-dp"}]}),
    _with("compression", "updates can be sent in 8 bits", {"channel": [{"name": "quantize"}]}),
    _with("sparse", "updates can be sent in part", {"channel": [{"name": "top-k", "share": 0.25}]}),
    Check("int8", "the base can be quantized", on_quantized_base),
    _with("dpo", "it can learn from preferences", {"objective": {"name": "dpo"}}, "choices"),
)
