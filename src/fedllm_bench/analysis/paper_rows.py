"""Which row of a table of the paper a run belongs to, by what its experiment says."""

import re
from collections.abc import Mapping
from typing import Any

from fedllm_bench.analysis.evaluated import LANGUAGES
from fedllm_bench.analysis.frames import Run

__all__ = [
    "BASE",
    "algorithm_row",
    "chats",
    "every_run",
    "family_row",
    "language_row",
    "noise_row",
    "of_chat",
    "of_family",
]

BASE = "Base Model"
_CODES = {name: code for code, name in LANGUAGES.items()}
_TITLES = {
    "local": "Local Training",
    "fedavg": "FedAvg",
    "fedprox": "FedProx",
    "scaffold": "SCAFFOLD",
    "fedavgm": "FedAvgM",
    "fedyogi": "FedYogi",
    "fedadagrad": "FedAdagrad",
    "fedadam": "FedAdam",
}
_MULTI = re.compile(r"(?:^|[^a-z])multi$|multi-turn", re.IGNORECASE)
_SIGMAS = {1e-3: "1e-3", 1e-2: "1e-2"}  # as Table 8 writes them


def algorithm_row(run: Run) -> str | None:
    """The method alone: Tables 3 to 5; with channels, or within groups, it is none of the paper's."""
    return f"{_TITLES.get(run.algorithm, run.algorithm)}{run.variant}"


def language_row(run: Run) -> str | None:
    """The method; local training by the language of its client: Table 2."""
    group = _group(run)
    if run.algorithm != "local" or group is None or run.experiment["channel"]:
        return algorithm_row(run)
    return f"Local Training ({_CODES.get(group, group)})"


def family_row(run: Run) -> str | None:
    """Alone, all together, among clients of one language, or among those of a family: Table 6."""
    if run.experiment["channel"] and run.algorithm in ("local", "fedavg"):
        return algorithm_row(run)
    if run.algorithm == "local":
        return "Local"
    if run.algorithm != "fedavg":
        return None
    group = _group(run)
    if group is None:
        return "FedAvg"
    return "FedSimLang" if group in run.experiment["data"]["groups"] else "FedSamLang"


def noise_row(run: Run) -> str | None:
    """The size of a client that trains alone, or of the noise: Table 8."""
    if run.algorithm == "local":
        size = run.experiment["data"].get("client_samples")
        return "local" if size is None else f"local({size})"
    if run.algorithm != "fedavg":
        return None
    channels = run.experiment["channel"]
    if not channels:
        return "FedAvg"
    noise = next((channel for channel in channels if _option(channel, "sigma")), None)
    if noise is None:
        return None
    sigma = _option(noise, "sigma")
    others = [f" + {channel['name']}" for channel in channels if channel is not noise]
    return "".join([f"FedDP sigma={_SIGMAS.get(sigma, f'{sigma:g}')}", *others])


def every_run(run: Run, language: str, chat: str) -> bool:
    """All runs of a row are behind all of its columns."""
    return True


def of_family(run: Run, language: str, chat: str) -> bool:
    """Where training was within groups, a language is answered by the model of a group that holds it."""
    group = _group(run)
    if group is None or not language:
        return True
    members = run.experiment["data"]["groups"].get(group, [group])
    return LANGUAGES[language] in members


def of_chat(run: Run, language: str, chat: str) -> bool:
    """Conversations of one turn, or of several."""
    return chats(run) == chat


def chats(run: Run) -> str:
    """`multi` for data of several turns, as the name of the data or of the experiment ends; else `single`."""
    names = (run.experiment["data"]["name"], run.experiment["name"])
    return "multi" if any(_MULTI.search(name) for name in names) else "single"


def _group(run: Run) -> str | None:
    group = run.experiment["data"].get("group")
    return None if group is None else str(group)


def _option(channel: Mapping[str, Any], name: str) -> Any:
    return channel.get("options", {}).get(name)
