"""The verbs of `data` as a user types them, on rows of their own."""

import json
from pathlib import Path

import pytest

from command import Command
from fedllm_bench import rng
from made_up import chitchat, sentence, take_as_chitchat

MAPPING = """
name = "notes"
source = "made up"
file = "notes.jsonl"
client = "who"
prompt = "{asked}"
response = "{said}"
meta = ["language"]
"""


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # nothing can be fetched
    monkeypatch.chdir(tmp_path)
    return Command(capsys, monkeypatch)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A mapping of 40 rows by three people; one row has no answer."""
    draw = rng.stream(0, "notes")
    rows = [
        {"who": "abc"[at % 3], "asked": sentence(draw), "said": sentence(draw, 4, 9 + 9 * (at % 3)), "language": "en"}
        for at in range(40)
    ]
    rows[7]["said"] = ""
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "notes.toml"
    path.write_text(MAPPING)
    return path


def test_a_mapping_is_imported_whole_and_tells_what_is_left_out(notes: Path, fedllm: Command) -> None:
    done = fedllm("data", "import", notes, "--json")
    assert done.code == 0
    assert json.loads(done.out)["rows"] == [{"left out": "rows without said", "count": 1}]
    assert "import-notes: 3 clients, 39 training samples" in fedllm("data", "build", notes).out


def test_validate_tells_the_line_and_exits_with_2_and_writes_nothing(
    notes: Path, fedllm: Command, tmp_path: Path
) -> None:
    good = fedllm("data", "validate", notes)
    assert (good.code, "rows without said (1)" in good.out) == (0, True)
    assert "40 rows, 3 clients, 39 samples; 0 errors" in good.out
    with open(tmp_path / "notes.jsonl", "a") as file:
        file.write('{"who": "a", "asked": 3\n')
    bad = fedllm("data", "validate", notes)
    assert (bad.code, "notes.jsonl: line 41" in bad.out, "hint: " in bad.out) == (2, True, True)
    assert not (tmp_path / "cache").exists()


def test_datasets_are_described_side_by_side_with_the_paper(notes: Path, fedllm: Command, tiny_model: Path) -> None:
    done = fedllm("data", "describe", notes, "--with-paper", "--tokenizer", tiny_model, "--json")
    rows = {row["what"]: row for row in json.loads(done.out)["rows"]}
    assert (rows["# samples"]["import-notes"], rows["# samples"]["Fed-Aya (paper)"]) == (39, 25_513)
    assert rows["L. response, over clients"]["import-notes"]["mean"] > 0
    for form, mark in (("md", "| import-notes |"), ("tex", r"\toprule"), ("csv", "what,")):
        shown = fedllm("data", "describe", notes, "--tokenizer", tiny_model, "--format", form).out
        assert mark in shown, shown


def test_an_experiment_is_described_with_the_clients_that_its_runs_have(
    notes: Path, fedllm: Command, tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text(
        'name = "x"\n[data]\nname = "import"\nmin_samples = 1\nclients = 2\nimport = { mapping = "notes.toml" }\n'
        "[federation]\nrounds = 1\ncohort = 2\n"
    )
    done = fedllm("data", "describe", file, "--tokenizer", tiny_model, "--json")
    rows = {row["what"]: row["import-notes"] for row in json.loads(done.out)["rows"]}
    assert rows["# clients"] == 2


def test_figures_are_drawn_or_said_to_have_nothing(
    notes: Path, fedllm: Command, tiny_model: Path, tmp_path: Path
) -> None:
    only = [part for name in ("quantity", "length", "language", "length-preference") for part in ("--only", name)]
    done = fedllm("data", "figures", notes, *only, "--tokenizer", tiny_model)
    drawn = {Path(line).name for line in done.out.splitlines()}
    assert drawn == {f"{name}.{kind}" for name in ("quantity", "length", "language") for kind in ("svg", "png")}
    assert all((tmp_path / line).stat().st_size > 1000 for line in done.out.splitlines())
    assert "length-preference: import-notes has nothing to draw" in done.err


def test_an_unknown_figure_is_told_with_the_nearest(notes: Path, fedllm: Command) -> None:
    done = fedllm("data", "figures", notes, "--only", "lenght")
    assert (done.code, 'did you mean "length"?' in done.err) == (2, True)


@pytest.mark.slow
def test_a_card_says_what_could_not_be_measured_and_how_to(
    notes: Path, fedllm: Command, tiny_model: Path, tmp_path: Path
) -> None:
    done = fedllm("data", "card", notes, "--no-figures", "--tokenizer", tiny_model, "--licence", "CC0-1.0")
    assert done.code == 0, done.err
    text = (tmp_path / done.out.strip()).read_text()
    assert "license: cc0-1.0" in text and "| rows without said | 1 |" in text
    assert "Not measured" in text and "all-minilm-l6-v2" in text


def test_an_export_is_read_again_as_the_same_samples(notes: Path, fedllm: Command, tmp_path: Path) -> None:
    assert fedllm("data", "export", notes, "notes.json").code == 0
    again = fedllm("data", "build", "fed-chatbotit", "--set", "data.fed-chatbotit.file=notes.json")
    assert "fed-chatbotit: 3 clients, 39 training samples" in again.out
    assert "in the paper 6,166" in again.err


@pytest.mark.slow
def test_an_author_says_what_cannot_be_measured(notes: Path, fedllm: Command, tiny_model: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.toml"
    words.write_text('title = "Notes"\nclient_ids = "Drawn at random."\nnotes = ["Made up."]\nlicence = "CC0-1.0"\n')
    done = fedllm("data", "card", notes, "--no-figures", "--tokenizer", tiny_model, "--words", words)
    text = (tmp_path / done.out.strip()).read_text()
    assert all(said in text for said in ("# Notes", "Drawn at random.", "Made up.", "license: cc0-1.0"))
    assert "no samples are held out" in text

    words.write_text("titel = 'Notes'")
    refused = fedllm("data", "card", notes, "--words", words)
    assert refused.code == 2 and "words.toml: titel" in refused.err and "client_ids" in refused.err


@pytest.mark.slow
def test_a_flag_that_the_source_has_is_counted_even_if_no_sample_carries_it(
    notes: Path, fedllm: Command, tiny_model: Path, tmp_path: Path
) -> None:
    unflagged = fedllm("data", "card", notes, "--no-figures", "--tokenizer", tiny_model)
    assert "flags samples is not recorded" in (tmp_path / unflagged.out.strip()).read_text()
    rows = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({**row, "toxic": "no"}) + "\n" for row in rows))
    notes.write_text(MAPPING.replace('["language"]', '["language", "toxic"]'))
    flagged = fedllm("data", "card", notes, "--no-figures", "--tokenizer", tiny_model)
    assert "No sample here carries a flag" in (tmp_path / flagged.out.strip()).read_text()


def test_a_dataset_without_a_file_of_the_user_is_validated_as_built(fedllm: Command, tmp_path: Path) -> None:
    take_as_chitchat(tmp_path / "cache", chitchat(pairs=2, conversations=30))
    done = fedllm("data", "validate", "fed-chitchat")
    assert done.code == 0, done.err
    assert "4 clients" in done.out and "0 errors" in done.out


def test_exported_rows_are_imported_as_the_same_samples(
    fedllm: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(tmp_path))
    take_as_chitchat(tmp_path / "cache", chitchat(pairs=2, conversations=30))
    assert fedllm("data", "export", "fed-chitchat", "chitchat.jsonl").code == 0
    rows = (tmp_path / "chitchat.jsonl").read_text().splitlines()
    mapping = Path(__file__).parents[1] / "experiments" / "offline" / "mappings" / "chitchat.toml"
    done = fedllm("data", "import", mapping)
    assert done.code == 0, done.err
    assert f"import-chitchat-rows: 4 clients, {len(rows)} training samples" in done.out
    assert "exists already" in fedllm("data", "export", "fed-chitchat", "chitchat.jsonl").err
