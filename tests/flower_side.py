"""Flower's side of a comparison: reads clients' models from a file, writes what a strategy makes of them to another.

It runs in a process of its own, since Flower's requirements are not this project's.
"""

import json
import sys

import numpy as np
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import strategy


def main(asked: str, answer: str) -> None:
    given = np.load(asked)
    names = json.loads(str(given["names"]))
    weights = [given[f"start/{name}"] for name in names]
    make = getattr(strategy, str(given["strategy"]))
    server = make(initial_parameters=ndarrays_to_parameters(weights), **json.loads(str(given["options"])))
    after = {}
    for round in range(1, int(given["rounds"]) + 1):
        results = [
            (None, fitted([w + given[f"delta/{round}/{client}/{name}"] for w, name in zip(weights, names)], int(size)))
            for client, size in enumerate(given["sizes"])
        ]
        parameters, _ = server.aggregate_fit(round, results, [])
        weights = parameters_to_ndarrays(parameters)
        after |= {f"{round}/{name}": w for name, w in zip(names, weights)}
    np.savez(answer, **after)


def fitted(weights: list[np.ndarray], size: int) -> FitRes:
    return FitRes(Status(Code.OK, ""), ndarrays_to_parameters(weights), size, {})


if __name__ == "__main__":
    main(*sys.argv[1:])
