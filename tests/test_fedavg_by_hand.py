"""FedAvg written out by hand in `examples/` gives the engine's numbers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_fedavg_by_hand_ends_where_the_engine_does(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from beside_the_engine import apart, compare

    start, hand, engine = compare(str(tiny_model), tmp_path)
    assert hand.keys() == engine.keys()
    moved = apart(engine, start)
    assert moved > 0.01
    assert apart(hand, engine) < 1e-4 * moved


def test_the_example_by_hand_uses_no_engine() -> None:
    assert "fedllm_bench" not in (EXAMPLES / "fedavg_by_hand.py").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("words", "close"), [([], 5e-4), (["--real"], 1e-3)], ids=["tiny", "real"])
def test_the_example_prints_how_close_the_two_are(words: list[str], close: float) -> None:
    # How close depends on the processor: the tiny model's two ends are 2.5e-5 apart with AVX2, 1.6e-4 with AVX512.
    # With 30 layers rounding alone does more, since Adam turns small differences of tiny gradients into whole steps:
    # by hand in fp32 and by hand in fp64 end 5e-4 apart on the real model, by hand and the engine 2e-4.
    command = [sys.executable, str(EXAMPLES / "fedavg_by_hand.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"apart, relative +(\S+)", done.stdout)
    assert found is not None
    assert float(found[1]) < close
