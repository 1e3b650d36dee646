"""Which row of a table of the paper a run belongs to, by what its experiment says."""

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
_SIGMAS = {1e-3: "1e-3", 1e-2: "1e-2"}  # as Table 8 writes them


def algorithm_row(run: Run) -> str | None:
    """The method alone: Tables 3 to 5."""
    return _TITLES.get(run.algorithm, run.algorithm)


def language_row(run: Run) -> str | None:
    """The method; local training by the language of its client: Table 2."""
    group = _group(run)
    if run.algorithm != "local" or group is None:
        return algorithm_row(run)
    return f"Local Training ({_CODES.get(group, group)})"


def family_row(run: Run) -> str | None:
    """Alone, all together, among clients of one language, or among those of a family: Table 6."""
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
    sigma = next((_option(channel, "sigma") for channel in run.experiment["channel"]), None)
    if not run.experiment["channel"]:
        return "FedAvg"
    return f"FedDP sigma={_SIGMAS.get(sigma, f'{sigma:g}')}" if sigma else None


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
    """`multi` for data of several turns, as the name of the data or of the experiment says; else `single`."""
    return (
        "multi"
        if any("multi" in name for name in (run.experiment["data"]["name"], run.experiment["name"]))
        else "single"
    )


def _group(run: Run) -> str | None:
    group = run.experiment["data"].get("group")
    return None if group is None else str(group)


def _option(channel: Mapping[str, Any], name: str) -> Any:
    return channel.get("options", {}).get(name)
