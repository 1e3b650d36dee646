"""Run folders read back: which runs are found, which belong together, and the row each method gets."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from fedllm_bench import records
from fedllm_bench.analysis.frames import Score, pooled, read_run, read_runs
from fedllm_bench.analysis.headline import headline
from fedllm_bench.analysis.methods import Method, group, held_out_curve, training_curve
from fedllm_bench.analysis.summary import Summary, caption, summarise
from fedllm_bench.errors import RunError
from run_folders import experiment, write_quickstart, write_run


def rows(*folders: Path) -> dict[str, Summary]:
    return {row.method: row for row in summarise(group(read_runs(folders)))}


def methods(*folders: Path) -> dict[str, Method]:
    return {method.name: method for method in group(read_runs(folders))}


def said(*folders: Path) -> str:
    found = group(read_runs(folders))
    return headline(found, summarise(found))


def edit(folder: Path, name: str, change: Any) -> None:
    """Rewrite the records of a file one by one."""
    changed = [change(record) for record in records.read(folder / name)]
    (folder / name).unlink()
    records.append(folder / name, *changed)


# --- finding and reading


def test_a_run_folder_and_the_folder_above_it_give_the_same_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    assert read_runs([folder])[0].path == read_runs([tmp_path])[0].path


def test_a_run_named_twice_is_read_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    assert len(read_runs([folder, tmp_path, folder])) == 1


def test_files_beside_the_runs_are_passed_over(tmp_path: Path) -> None:
    write_run(tmp_path, experiment())
    (tmp_path / "report.html").write_text("")
    (tmp_path / "notes").mkdir()
    assert len(read_runs([tmp_path])) == 1


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        read_runs([tmp_path / "none"])


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        read_runs([tmp_path])


def test_a_folder_two_levels_up_is_told_where_the_runs_are(tmp_path: Path) -> None:
    write_run(tmp_path / "quickstart", experiment())
    with pytest.raises(RunError) as caught:
        read_runs([tmp_path])
    assert caught.value.hint == f"runs are in {tmp_path / 'quickstart'}"


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_broken_experiment_file_is_named(tmp_path: Path, content: str) -> None:
    folder = write_run(tmp_path, experiment())
    (folder / "experiment.json").write_text(content)
    with pytest.raises(RunError, match=r"experiment\.json is not"):
        read_run(folder)


def test_a_broken_line_of_records_is_named_with_its_number(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    (folder / "rounds.jsonl").write_text("\n".join([lines[0], "{", *lines[2:]]) + "\n")
    with pytest.raises(RunError, match=r"rounds\.jsonl: line 2 is not JSON"):
        read_run(folder)


def test_a_run_that_wrote_nothing_but_its_experiment_can_be_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment(), complete=False)
    for name in ("environment.json", "rounds.jsonl", "clients.jsonl", "evaluations.jsonl"):
        (folder / name).unlink()
    row = rows(folder)["fedavg"]
    assert (row.complete, row.unfinished, row.rounds, row.clients) == (False, 1, 0, 0)
    assert row.held_out_loss is None
    assert row.difference_to_base is None
    assert "1 of 1 runs not finished, none evaluated" in caption(group(read_runs([folder])))


def test_pooling_averages_each_client_over_the_runs_that_scored_it() -> None:
    first = {"a": Score(1.0, 0.25, 10), "b": Score(5.0, 0.1, 7)}
    second = {"a": Score(3.0, 0.75, 10)}
    assert pooled([first, second]) == {"a": Score(2.0, 0.5, 10), "b": Score(5.0, 0.1, 7)}


# --- grouping and naming


def test_the_quickstart_gives_base_local_and_fedavg_in_this_order(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    assert list(rows(tmp_path)) == ["base", "local", "fedavg"]


def test_seeds_of_one_method_are_pooled_and_counted(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write_run(tmp_path, experiment(seed=seed))
    row = rows(tmp_path)["fedavg"]
    assert (row.runs, row.seeds, row.clients) == (3, 3, 20)


def test_variants_of_a_method_are_named_by_what_differs(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(local={"lr": 5e-4}))
    write_run(tmp_path, experiment(local={"lr": 2e-4}))
    write_run(tmp_path, experiment(algorithm={"name": "fedprox", "options": {"mu": 0.1}}))
    assert set(rows(tmp_path)) == {"base", "fedavg lr=0.0005", "fedavg lr=0.0002", "fedprox"}


def test_settings_that_share_their_last_name_are_told_apart_by_their_full_one(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(evaluate={"clients": 5}, data={"clients": 9}))
    write_run(tmp_path, experiment(evaluate={"clients": 6}, data={"clients": 8}))
    assert "fedavg data.clients=9 evaluate.clients=5" in rows(tmp_path)


def test_an_option_that_one_variant_lacks_is_none_there(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(data={"max_samples": 5}))
    write_run(tmp_path, experiment())
    assert {"fedavg max_samples=5", "fedavg max_samples=none"} <= set(rows(tmp_path))


def test_channels_that_differ_tell_variants_apart(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(channel=[{"name": "client-dp", "options": {"clip": 0.1}}]))
    write_run(tmp_path, experiment())
    assert set(rows(tmp_path)) == {"base", "fedavg", "fedavg client-dp"}


def test_options_of_a_channel_tell_apart_those_that_have_it(tmp_path: Path) -> None:
    for clip in (0.1, 0.3):
        options = {"clip": clip, "delta": 1e-5, "adaptive": clip > 0.2}
        write_run(tmp_path, experiment(channel=[{"name": "client-dp", "options": options}]))
    write_run(tmp_path, experiment(channel=[{"name": "top-k", "options": {"share": 0.1}}]))
    assert set(rows(tmp_path)) == {
        "base",
        "fedavg client-dp adaptive=false clip=0.1",
        "fedavg client-dp adaptive=true clip=0.3",
        "fedavg top-k",
    }


def test_an_option_that_is_not_given_is_not_called_none(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(algorithm={"name": "fedprox", "options": {"mu": 0.1}}))
    write_run(tmp_path, experiment(algorithm={"name": "fedprox"}))
    assert set(rows(tmp_path)) == {"base", "fedprox", "fedprox mu=0.1"}


def test_a_plugin_that_was_edited_tells_runs_apart_in_few_characters(tmp_path: Path) -> None:
    for digit in "12":
        plugin = {"file": "/a/folder/own.py", "sha256": digit * 64, "offers": ["fedavg"]}
        write_run(tmp_path, experiment(plugins=[plugin]))
    assert {"fedavg plugins=own.py@111111", "fedavg plugins=own.py@222222"} <= set(rows(tmp_path))


def test_datasets_are_told_apart_by_name_where_that_suffices(tmp_path: Path) -> None:
    for name in ("fed-aya", "fed-aya-wide"):
        groups = {"romance": ["French", "Italian"]} if name == "fed-aya-wide" else {}
        write_run(tmp_path, experiment(data={"name": name, "groups": groups, "options": {"file": f"{name}.json"}}))
    assert {"fedavg data=fed-aya", "fedavg data=fed-aya-wide"} <= set(rows(tmp_path))


def test_there_is_one_base_model_whoever_trains_from_it_and_whenever_it_is_scored(tmp_path: Path) -> None:
    write_run(tmp_path, experiment())
    write_run(tmp_path, experiment(data={"pool": True}))
    write_run(tmp_path, experiment(data={"cap": 10}))
    write_run(tmp_path, experiment(evaluate={"every": 1}))
    assert [name for name in rows(tmp_path) if name.startswith("base")] == ["base"]


def test_a_run_that_was_refused_before_it_began_is_in_no_table(tmp_path: Path) -> None:
    write_run(tmp_path, experiment())
    refused = write_run(tmp_path, experiment(algorithm={"name": "krum"}), rounds=0, complete=False)
    (refused / "environment.json").unlink()
    assert set(rows(tmp_path)) == {"base", "fedavg"}
    assert [run.algorithm for run in read_runs([refused])] == ["krum"]


def test_rows_over_different_clients_are_told(tmp_path: Path) -> None:
    write_run(tmp_path, experiment())
    write_run(tmp_path, experiment(algorithm={"name": "fedprox"}))
    same = caption(group(read_runs([tmp_path])))
    write_run(tmp_path, experiment(evaluate={"clients": 5, "every": 2}), clients=5)
    different = caption(group(read_runs([tmp_path])))
    assert "Not all rows are over the same clients" not in same
    assert "Not all rows are over the same clients" in different


def test_runs_that_score_nobody_say_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment(), clients=20)
    (folder / "evaluations.jsonl").unlink()
    assert "Nothing was scored" in caption(group(read_runs([folder])))


def test_checkpoint_settings_do_not_make_a_variant(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(checkpoint={"keep": 1}))
    write_run(tmp_path, experiment(seed=1, checkpoint={"keep": 5}))
    assert rows(tmp_path)["fedavg"].runs == 2


def test_runs_on_different_data_have_base_models_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(data={"min_samples": 5}))
    write_run(tmp_path, experiment(data={"min_samples": 9}))
    assert [name for name in rows(tmp_path) if name.startswith("base")] == ["base min_samples=5", "base min_samples=9"]


def test_methods_that_differ_in_training_only_share_their_base_model(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(local={"lr": 5e-4}))
    write_run(tmp_path, experiment(federation={"rounds": 2, "cohort": 3}))
    assert [name for name in rows(tmp_path) if name.startswith("base")] == ["base"]


# --- rows


def test_the_row_of_a_method_is_what_its_records_say(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    row = rows(folder)["fedavg"]
    last = [record for record in records.read(folder / "evaluations.jsonl") if record["round"] == 4]
    first = [record for record in records.read(folder / "evaluations.jsonl") if record["round"] == 0]
    values = [record["loss"] for record in last]
    tokens = [record["tokens"] for record in last]
    assert row.held_out_loss is not None and row.difference_to_base is not None
    assert row.held_out_loss.mean == pytest.approx(statistics.fmean(values))
    assert row.weighted_loss == pytest.approx(statistics.fmean(values, weights=tokens))
    assert row.spread == pytest.approx(statistics.pstdev(values))
    assert row.worst_decile_loss == pytest.approx(statistics.fmean(sorted(values)[-2:]))
    assert row.token_accuracy == pytest.approx(statistics.fmean(record["accuracy"] for record in last))
    change = [after["loss"] - before["loss"] for after, before in zip(last, first, strict=True)]
    assert row.difference_to_base.mean == pytest.approx(statistics.fmean(change))
    assert (row.rounds, row.tokens, row.bytes_up, row.seconds) == (4, 4 * 3 * 6_000, 4 * 3 * 3_686_400, 4 * 24.5)


def test_a_paired_change_is_much_surer_than_the_losses_it_is_between(tmp_path: Path) -> None:
    write_run(tmp_path, experiment())
    row = rows(tmp_path)["fedavg"]
    assert row.held_out_loss is not None and row.difference_to_base is not None
    width = row.difference_to_base.high - row.difference_to_base.low
    assert width < 0.3 * (row.held_out_loss.high - row.held_out_loss.low)


def test_the_base_model_is_measured_before_training_and_cost_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    row = rows(tmp_path)["base"]
    before = [record["loss"] for record in records.read(folder / "evaluations.jsonl") if record["round"] == 0]
    assert row.held_out_loss is not None
    assert row.held_out_loss.mean == pytest.approx(statistics.fmean(before))
    assert (row.rounds, row.tokens, row.flops, row.bytes_up, row.bytes_down, row.seconds) == (0, 0, 0, 0, 0, 0)
    assert row.difference_to_base is None
    assert row.complete


def test_what_runs_spent_is_a_mean_over_them(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    assert rows(tmp_path)["local"].tokens == 4 * 6_000


def test_own_client_loss_looks_at_the_same_clients_under_every_method(tmp_path: Path) -> None:
    local_0, local_1, fedavg = write_quickstart(tmp_path)

    def loss(folder: Path, client: str, number: int) -> float:
        found = records.read(folder / "evaluations.jsonl")
        return float(next(r["loss"] for r in found if (r["round"], r["client"]) == (number, client)))

    row = rows(tmp_path)
    own = [loss(local_0, "client-000", 4), loss(local_1, "client-001", 4)]
    same = [loss(fedavg, client, 4) for client in ("client-000", "client-001")]
    base = [loss(fedavg, client, 0) for client in ("client-000", "client-001")]
    assert row["local"].own_client_loss == pytest.approx(statistics.fmean(own))
    assert row["fedavg"].own_client_loss == pytest.approx(statistics.fmean(same))
    assert row["base"].own_client_loss == pytest.approx(statistics.fmean(base))


def test_without_local_runs_there_is_no_own_client(tmp_path: Path) -> None:
    write_run(tmp_path, experiment())
    assert rows(tmp_path)["fedavg"].own_client_loss is None


def test_a_client_that_trained_alone_but_was_not_evaluated_has_no_own_loss(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(federation={"rounds": 4, "cohort": 1}), trained=["stranger"])
    assert rows(tmp_path)["fedavg"].own_client_loss is None


def test_an_unfinished_run_is_shown_as_it_stands_and_marked(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(), rounds=3, complete=False)
    row = rows(tmp_path)["fedavg"]
    assert (row.complete, row.unfinished, row.runs, row.rounds) == (False, 1, 1, 3)
    assert row.held_out_loss is not None
    assert "* fedavg: 1 of 1 runs not finished; numbers are from round 2." in caption(group(read_runs([tmp_path])))


def test_an_unfinished_run_beside_finished_ones_is_left_out_and_counted(tmp_path: Path) -> None:
    done = write_run(tmp_path, experiment(seed=1))
    write_run(tmp_path, experiment(seed=2), rounds=2, complete=False, gain=9.0)
    row = rows(tmp_path)["fedavg"]
    assert (row.complete, row.unfinished, row.runs, row.seeds) == (False, 1, 1, 1)
    assert row.held_out_loss == rows(done)["fedavg"].held_out_loss
    assert "* fedavg: 1 of 2 runs not finished and left out." in caption(group(read_runs([tmp_path])))


def test_a_client_whose_loss_was_not_finite_is_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())

    def diverge(record: Any) -> Any:
        lost = record["round"] == 4 and record["client"] == "client-003"
        return {**record, "loss": None} if lost else record

    edit(folder, "evaluations.jsonl", diverge)
    assert rows(folder)["fedavg"].clients == 19
    assert read_run(folder).unscored == {"client-003"}


def test_a_client_with_nothing_held_out_is_left_out_and_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    edit(folder, "evaluations.jsonl", lambda r: {**r, "tokens": 0} if r["client"] == "client-003" else r)
    assert rows(folder)["base"].clients == 19
    assert read_run(folder).unscored == {"client-003"}


def test_a_row_is_plain_values_that_json_can_carry(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    for row in rows(tmp_path).values():
        plain = json.loads(json.dumps(row.row(), allow_nan=False))
        assert set(plain["held_out_loss"]) == {"mean", "low", "high"}


def test_the_share_of_time_that_is_no_arithmetic_leaves_out_training_and_evaluation(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, experiment()))
    assert run.overhead == pytest.approx(0.5 / 24.5)


def test_rounds_without_evaluation_have_no_such_time(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    edit(folder, "rounds.jsonl", lambda r: {**r, "seconds": {"train": 9.0, "total": 10.0}})
    assert read_run(folder).overhead == pytest.approx(0.1)


# --- curves


def test_the_training_curve_averages_runs_and_skips_rounds_in_which_nobody_trained(tmp_path: Path) -> None:
    first = write_run(tmp_path, experiment(seed=1))
    second = write_run(tmp_path, experiment(seed=2))
    edit(first, "rounds.jsonl", lambda r: {**r, "train_loss": None if r["round"] < 3 else 1.0})
    edit(second, "rounds.jsonl", lambda r: {**r, "train_loss": None if r["round"] < 2 else 2.0})
    assert training_curve(methods(tmp_path)["fedavg"]) == [(2, 2.0), (3, 1.5), (4, 1.5)]


def test_the_held_out_curve_starts_before_training_and_ends_where_the_row_does(tmp_path: Path) -> None:
    write_run(tmp_path, experiment())
    curve = held_out_curve(methods(tmp_path)["fedavg"])
    assert [number for number, _ in curve] == [0, 2, 4]
    assert curve[-1][1] == rows(tmp_path)["fedavg"].held_out_loss


# --- the headline


def test_the_headline_says_how_far_the_best_method_gets_and_how_surely(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    row = rows(tmp_path)["fedavg"]
    assert row.difference_to_base is not None
    text = said(tmp_path)
    assert text.startswith("fedavg lowers the held-out loss of the base model")
    assert f"{row.difference_to_base.mean:+.3f} (95% interval {row.difference_to_base.low:+.3f}" in text
    assert "On the data of all 20 clients it ends below training alone (local)" in text
    own = rows(tmp_path)["local"].own_client_loss, row.own_client_loss
    assert "On the data of the 2 clients that trained alone, local has {:.3f} and fedavg {:.3f}.".format(*own) in text


def test_the_headline_admits_that_a_method_made_things_worse(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(), gain=-0.3)
    assert said(tmp_path).startswith("fedavg raises the held-out loss")


def test_the_headline_claims_nothing_that_its_interval_does_not(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment())
    sign = {f"client-{index:03}": (-1) ** index * 0.1 for index in range(20)}
    edit(folder, "evaluations.jsonl", lambda r: {**r, "loss": 3.0 + (sign[r["client"]] if r["round"] else 0.0)})
    assert said(tmp_path).startswith("fedavg does not clearly change the held-out loss")


def test_the_headline_says_when_training_alone_was_better(tmp_path: Path) -> None:
    alone = experiment(federation={"rounds": 4, "cohort": 1}, algorithm={"name": "local"})
    write_run(tmp_path, alone, trained=["client-000"], gain=0.5)
    write_run(tmp_path, experiment(), gain=0.3)
    assert "it ends above training alone (local)" in said(tmp_path)


def test_the_headline_speaks_of_training_alone_where_there_is_nothing_else(tmp_path: Path) -> None:
    alone = experiment(federation={"rounds": 4, "cohort": 1}, algorithm={"name": "local"})
    write_run(tmp_path, alone, trained=["client-000"])
    text = said(tmp_path)
    assert text.startswith("local lowers")
    assert "It ends" not in text


def test_the_headline_prefers_a_finished_method_to_a_better_unfinished_one(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(), gain=0.1)
    write_run(tmp_path, experiment(algorithm={"name": "fedprox"}), gain=2.0, rounds=3, complete=False)
    assert said(tmp_path).startswith("fedavg lowers")


def test_the_headline_says_that_its_method_is_not_finished(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(), rounds=3, complete=False)
    assert said(tmp_path).startswith("fedavg (not finished, round 2) lowers")


def test_the_headline_says_so_when_nothing_was_evaluated(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(), rounds=1, complete=False)
    assert said(tmp_path) == "No run has been evaluated after training yet."
