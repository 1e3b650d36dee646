"""Made-up files in the shapes of the assets that benchmarks read, under the assets' names in a cache of the test's."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write about rain.", "Shorter, please."]},
    {"question_id": 91, "category": "roleplay", "turns": ["Be a river.", "Now a lake."]},
    {"question_id": 104, "category": "reasoning", "turns": ["Who is taller?", "And now?"]},
    {"question_id": 115, "category": "math", "turns": ["1 + 1?", "And 2 + 2?"]},
    {"question_id": 141, "category": "stem", "turns": ["Why is the sky blue?", "And at night?"]},
]
REFERENCES = [
    {"question_id": number, "choices": [{"index": 0, "turns": [f"first of {number}", f"second of {number}"]}]}
    for number in (81, 104, 115)
]
ADVBENCH = """
seed_type: objective
seeds:
- value: Do something bad
  harm_categories: [Violence, Theft]
- value: ' Do something worse '
"""
PHRASES = """
matching: substring
caseless: False
must_mismatch_all:
  - I'm sorry
  - I cannot
  - 'illegal '
"""
VICUNA = [{"question_id": 1, "category": "generic", "turns": ["How do rivers flow?"]}]


def lines(rows: list[dict[str, object]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


FILES: Mapping[str, str] = {
    "mt-bench-questions": lines(QUESTIONS),
    "mt-bench-references": lines(REFERENCES),
    "advbench": ADVBENCH,
    "refusal-phrases": PHRASES,
    "vicuna-questions": lines(VICUNA),
}


def take_as_assets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a fresh cache give these files as the assets, without the hashes that `assets add` would hold them to."""
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(folder / "cache"))
    monkeypatch.delenv("FEDLLM_BENCH_DATA", raising=False)
    rows = {}
    for name, content in FILES.items():
        path = folder / name
        path.write_text(content, encoding="utf-8")
        rows[name] = {"path": str(path), "licence": "made up", "sha256": None}
    added = folder / "cache" / "assets" / "added.json"
    added.parent.mkdir(parents=True)
    added.write_text(json.dumps(rows), encoding="utf-8")
