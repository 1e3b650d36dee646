"""A stack of adapters over one base is what each adapter is alone."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedllm_bench.errors import ModelError
from fedllm_bench.model.base import LanguageModel
from fedllm_bench.model.layout import lay_out
from fedllm_bench.model.lora import LoraSpec, StackedLora
from fedllm_bench.model.peft_format import load_adapter, save_adapter
from fedllm_bench.objectives.protocol import Row
from fedllm_bench.tensors import Tensors
from made_up import people
from small_parts import (
    SPEC,
    WITH_DROPOUT,
    laid_out,
    language_model,
    logits,
    moved,
    rows_of,
    sft,
    stacked,
)

LENGTHS = (9, 30, 4, 17, 12)
OWNERS = (0, 0, 1, 2, 2)


@pytest.fixture(scope="module", params=["packed", "padded"])
def model(request: pytest.FixtureRequest, tiny_model: Path) -> LanguageModel:
    return language_model(tiny_model, packing=request.param)


@pytest.fixture(scope="module")
def dropping(tiny_model: Path) -> LanguageModel:
    return language_model(tiny_model, WITH_DROPOUT)


def close(some: list[Tensor], others: list[Tensor], tolerance: float = 1e-5) -> None:
    for a, b in zip(some, others, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def gradients(model: LanguageModel, params: Tensors, owners: tuple[int, ...], chosen: list[int]) -> Tensors:
    """Gradients of the squared logits of some of the rows."""
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    rows = [rows_of(model, LENGTHS)[i] for i in chosen]
    found = logits(model, rows, leaves, [owners[i] for i in chosen], keys=chosen, training=True)
    sum(row.square().sum() for row in found).backward()  # type: ignore[union-attr]
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


# ------------------------------------------------------------------------------------------- stacked


def test_a_stack_gives_each_row_the_logits_of_its_own_adapter(model: LanguageModel) -> None:
    adapters = [moved(model, seed) for seed in range(3)]
    rows = rows_of(model, LENGTHS)
    together = logits(model, rows, stacked(*adapters), OWNERS)
    alone = [logits(model, [row], stacked(adapters[o]))[0] for row, o in zip(rows, OWNERS, strict=True)]
    close(together, alone)
    other = logits(model, rows[:1], stacked(adapters[1]))[0]
    assert (together[0] - other).abs().max() > 1e-2


def test_a_stack_gives_each_adapter_the_gradient_it_gets_alone(model: LanguageModel) -> None:
    adapters = [moved(model, seed) for seed in range(3)]
    together = gradients(model, stacked(*adapters), OWNERS, list(range(5)))
    for client, adapter in enumerate(adapters):
        mine = [row for row, owner in enumerate(OWNERS) if owner == client]
        alone = gradients(model, stacked(adapter), (0,) * 5, mine)
        for name, grad in together.items():
            torch.testing.assert_close(grad[client], alone[name][0], rtol=1e-4, atol=1e-3)


def test_adapters_without_a_row_get_no_gradient(model: LanguageModel) -> None:
    found = gradients(model, stacked(*[moved(model, seed) for seed in range(3)]), OWNERS, [0, 3])
    for grad in found.values():
        assert [bool(grad[client].any()) for client in range(3)] == [True, False, True]


def test_an_adapter_that_is_not_a_number_harms_no_other(model: LanguageModel) -> None:
    good = stacked(*[moved(model, seed) for seed in range(3)])
    broken = {name: value.clone() for name, value in good.items()}
    for value in broken.values():
        value[1] = torch.nan
    rows = rows_of(model, LENGTHS)
    expected, found = logits(model, rows, good, OWNERS), logits(model, rows, broken, OWNERS)
    assert found[2].isnan().all()
    close([found[i] for i in (0, 1, 3, 4)], [expected[i] for i in (0, 1, 3, 4)], 1e-6)
    healthy = gradients(model, good, OWNERS, list(range(5)))
    for name, grad in gradients(model, broken, OWNERS, list(range(5))).items():
        torch.testing.assert_close(grad[[0, 2]], healthy[name][[0, 2]], rtol=1e-5, atol=1e-5)
        assert grad[1].isnan().any()


def test_gradients_are_those_of_the_plain_formula(model: LanguageModel, tiny_model: Path) -> None:
    """y = W x + (alpha / r) B A x, written out on the plain model and differentiated by autograd."""
    from transformers import AutoModelForCausalLM

    adapter = moved(model)
    leaves = {name: value.clone().requires_grad_() for name, value in adapter.items()}
    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    for name, layer in plain.named_modules():
        if name.endswith(SPEC.targets):
            a, b = leaves[f"{name}.lora_A.weight"], leaves[f"{name}.lora_B.weight"]
            layer.register_forward_hook(lambda _, args, out, a=a, b=b: out + SPEC.scaling * args[0] @ a.T @ b.T)
    rows = rows_of(model, LENGTHS)
    expected = [plain(input_ids=row[None]).logits[0, :-1] for row in rows]
    close(logits(model, rows, stacked(adapter)), expected)
    sum(row.square().sum() for row in expected).backward()  # type: ignore[union-attr]
    for name, grad in gradients(model, stacked(adapter), (0,) * 5, list(range(5))).items():
        want = leaves[name].grad
        assert want is not None
        torch.testing.assert_close(grad[0], want, rtol=1e-4, atol=1e-3)


# -------------------------------------------------------------------------------------- off, and new


def test_without_an_adapter_the_model_is_the_base(model: LanguageModel, tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    rows = rows_of(model, LENGTHS)
    expected = [base(input_ids=row[None]).logits[0, :-1] for row in rows]
    logits(model, rows, stacked(moved(model)))
    close(logits(model, rows), expected)
    # What is left of an adapter after a failure is nothing, too.
    layout = laid_out(model, rows, [0] * 5, [0] * 5)
    with pytest.raises(ZeroDivisionError), model.adapted(stacked(moved(model)), layout, training=True):
        raise ZeroDivisionError
    close(logits(model, rows), expected)


def test_a_fresh_adapter_leaves_the_base_as_it_is_and_depends_on_the_seed_alone(model: LanguageModel) -> None:
    rows = rows_of(model, LENGTHS)
    close(logits(model, rows, stacked(model.lora.initial(3))), logits(model, rows), 1e-6)
    first, again, other = (model.lora.initial(seed) for seed in (3, 3, 4))
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, other[name]) == name.endswith("lora_B.weight")


# ------------------------------------------------------------------------------------------- dropout


def test_dropout_does_not_depend_on_how_rows_are_batched(dropping: LanguageModel) -> None:
    adapters = [moved(dropping, seed) for seed in range(3)]
    rows = rows_of(dropping, LENGTHS)
    keys = [11, 12, 13, 14, 15]
    together = logits(dropping, rows, stacked(*adapters), OWNERS, keys=keys, training=True)
    alone = [
        logits(dropping, [row], stacked(adapters[owner]), keys=[key], training=True)[0]
        for row, owner, key in zip(rows, OWNERS, keys, strict=True)
    ]
    close(together, alone)
    other = logits(dropping, rows, stacked(*adapters), OWNERS, keys=[key + 1 for key in keys], training=True)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(together, other, strict=True))


def test_dropout_is_off_outside_training(dropping: LanguageModel, tiny_model: Path) -> None:
    rows, params = rows_of(dropping, LENGTHS), stacked(moved(dropping))
    without = language_model(tiny_model, SPEC)
    close(logits(dropping, rows, params), logits(without, rows, params), 1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_dropout_zeroes_its_share_of_the_inputs_and_scales_the_others(rate: float) -> None:
    """Over an identity adapter and a base of zeros the output is the dropped input itself."""
    width, tokens = 96, 400
    sites = nn.ModuleDict({"one": nn.Linear(width, width, bias=False), "two": nn.Linear(width, width, bias=False)})
    lora = StackedLora(sites, LoraSpec(rank=width, alpha=width, dropout=rate, targets=("one", "two")))
    params = {name: torch.eye(width)[None] for name in lora.shapes}
    ids = torch.zeros(tokens // 2, dtype=torch.int32).numpy()
    flags = torch.ones(tokens // 2, dtype=torch.bool).numpy()
    cpu = torch.device("cpu")
    layout = lay_out([ids, ids], [flags, flags], [0, 0], [1, 2], packed=True, pad_id=0, device=cpu)
    nn.init.zeros_(sites["one"].weight)
    nn.init.zeros_(sites["two"].weight)
    with lora.bound(params, layout.route, training=True):
        one, two = (sites[name](torch.ones(tokens, width)) for name in ("one", "two"))
    values = torch.unique(one)
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / (1 - rate)]))
    drawn = one == 0
    assert abs(float(drawn.float().mean()) - rate) < 4 * (rate * (1 - rate) / drawn.numel()) ** 0.5
    agree = rate**2 + (1 - rate) ** 2  # of two independent masks
    for other in (two == 0, drawn.roll(tokens // 2, 0), drawn.roll(1, 0), drawn.roll(1, 1)):
        assert float((drawn == other).float().mean()) == pytest.approx(agree, abs=0.02)


# ------------------------------------------------------------------------------------------- on disk


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("k_proj", "o_proj", "gate_proj", "down_proj")])
def test_a_saved_adapter_gives_the_same_logits_in_peft(
    tiny_model: Path, tmp_path: Path, targets: tuple[str, ...]
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    spec = LoraSpec(rank=8, alpha=4.0, dropout=0.1, targets=targets)
    model = language_model(tiny_model, spec)
    adapter = moved(model)
    save_adapter(tmp_path, adapter, spec, str(tiny_model))
    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path).eval()
    rows = rows_of(model, LENGTHS)
    with torch.no_grad():
        expected = [theirs(input_ids=row[None]).logits[0, :-1] for row in rows]
        close(logits(model, rows, stacked(adapter)), expected)
        assert (expected[0] - logits(model, rows[:1])[0]).abs().max() > 1e-2


def test_a_saved_adapter_comes_back_as_it_was(model: LanguageModel, tmp_path: Path) -> None:
    adapter = moved(model)
    save_adapter(tmp_path, adapter, SPEC, "base")
    found, config = load_adapter(tmp_path)
    assert found.keys() == adapter.keys()
    assert all(torch.equal(found[name], value) for name, value in adapter.items())  # type: ignore[arg-type]
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 8.0, ["q_proj", "v_proj"])


@pytest.mark.parametrize("damage", ["no folder", "no weights", "torn weights", "torn configuration"])
def test_a_folder_without_an_adapter_is_named(model: LanguageModel, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "adapter"
    if damage != "no folder":
        save_adapter(folder, moved(model), SPEC, "base")
        weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
        {
            "no weights": weights.unlink,
            "torn weights": lambda: weights.write_bytes(weights.read_bytes()[:500]),
            "torn configuration": lambda: config.write_text("{"),
        }[damage]()
    with pytest.raises(ModelError, match="holds no LoRA adapter"):
        load_adapter(folder)


def test_an_adapter_of_another_shape_is_refused_by_name(model: LanguageModel) -> None:
    name = next(iter(model.lora.shapes))
    model.lora.require_shape(moved(model), "adapter/")
    for wrong in ({**moved(model), name: torch.zeros(8, 64)}, {**moved(model), "other": torch.zeros(1)}):
        with pytest.raises(ModelError, match=r"adapter/ does not fit the model: (other|.*q_proj)"):
            model.lora.require_shape(wrong, "adapter/")
    with pytest.raises(ModelError, match="absent"):
        model.lora.require_shape({}, "adapter/")


def test_a_target_that_the_model_lacks_is_named_with_those_it_has(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no linear layer named query") as caught:
        language_model(tiny_model, LoraSpec(4, 8, 0.0, ("q_proj", "query")))
    assert "q_proj" in str(caught.value.hint)


# ------------------------------------------------------------------------------------------- precision


def test_a_base_in_bf16_trains_adapters_in_fp32(tiny_model: Path) -> None:
    from fedllm_bench.model.base import load_model

    model = load_model(str(tiny_model), WITH_DROPOUT, dtype="bfloat16", device="cpu")
    objective = sft(model)
    params = {name: value[None].requires_grad_() for name, value in moved(model).items()}
    encoded = [objective.encode(example) for example in people(4).members[0].train]
    rows = [Row(found[0], 0, key) for key, found in enumerate(encoded) if isinstance(found, tuple)]
    losses = objective.loss(model, params, rows, training=True, metrics=False).total
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert losses.dtype == torch.float32
    assert all(leaf.grad is not None and leaf.grad.dtype == torch.float32 for leaf in params.values())
    exact = objective.loss(language_model(tiny_model), params, rows, training=False, metrics=False).total
    torch.testing.assert_close(losses, exact, rtol=0.1, atol=0.1)
