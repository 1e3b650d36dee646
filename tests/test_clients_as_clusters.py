"""Clients of a real dataset are clusters of embeddings, and are none once their samples are shuffled."""

import os
from pathlib import Path

import pytest

from fedllm_bench.analysis.projection import client_map
from fedllm_bench.data import build_import, iid, read_mapping
from fedllm_bench.examples import FederatedDataset
from fedllm_bench.survey import Survey, Tools

SHARED = Path(os.environ.get("FEDLLM_BENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
MAPPING = Path(__file__).parents[1] / "experiments" / "offline" / "mappings" / "nusawrites.toml"


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "nusawrites").exists(), reason="needs nusawrites below FEDLLM_BENCH_DATA")
def test_authors_of_nusawrites_are_clusters_and_dealt_samples_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silhouette(dataset: FederatedDataset) -> float:
        survey = Survey(dataset, Tools(embedder="char-ngrams", samples=300), tmp_path)
        drawn = client_map(survey.shown_embeddings)
        assert drawn is not None and drawn.clustering is not None and len(drawn.points) == len(drawn.clients)
        assert drawn.clustering.shuffled < 0
        return drawn.clustering.silhouette

    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(SHARED))
    people = build_import(read_mapping(str(MAPPING)), tmp_path, held_out=0.2)
    assert silhouette(people) > 0.08
    assert silhouette(iid(people, tmp_path, seed=0)) < 0
