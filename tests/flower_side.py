"""Flower's side of a comparison: reads clients' updates from a file, writes what a strategy makes of them to another.

It runs in a process of its own, since Flower's requirements are not this project's.
"""

import json
import sys

import numpy as np
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import strategy


def main(asked: str, answer: str) -> None:
    given = np.load(asked)
    weights, after = given["start"], []
    make = getattr(strategy, str(given["strategy"]))
    server = make(initial_parameters=ndarrays_to_parameters([weights]), **json.loads(str(given["options"])))
    for round, updates in enumerate(given["updates"], start=1):  # (rounds, clients, elements)
        results = [(None, fitted(weights + u, int(size))) for u, size in zip(updates, given["sizes"], strict=True)]
        parameters, _ = server.aggregate_fit(round, results, [])
        (weights,) = parameters_to_ndarrays(parameters)
        after.append(weights)
    np.savez(answer, after=after)


def fitted(weights: np.ndarray, size: int) -> FitRes:
    return FitRes(Status(Code.OK, ""), ndarrays_to_parameters([weights]), size, {})


if __name__ == "__main__":
    main(*sys.argv[1:])
