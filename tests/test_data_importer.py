"""The importer: files, mapping, examples, and what is said of rows and mappings that do not fit."""

import csv
import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from command import Command
from fedllm_bench.data import StoredDataset, build_import, read_mapping
from fedllm_bench.data.mapping import KEYS
from fedllm_bench.data.raw import rows
from fedllm_bench.errors import DataError
from fedllm_bench.examples import ChatExample, PreferenceExample, Turn

SHARED = Path(os.environ.get("FEDLLM_BENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
MAPPINGS = Path(__file__).parents[1] / "experiments" / "offline" / "mappings"

NOTES = """
name = "notes"
file = "notes.jsonl"
client = "who"
prompt = "Write about {topic} in {place.name}."
response = "{text}"
"""
TALKS = """
name = "talks"
file = "talks.jsonl"
client = "who"
turns = { field = "context", speaker = "by", text = "says" }
response = "{reply}"
"""
VOTES = """
name = "votes"
file = "votes.jsonl"
client = "voter"
prompt = "Argue: {one.side}"
held_out_by = "pair"
choice = { field = "winner", options = { a1 = "{one.text}", a2 = "{two.text}" } }
[join.one]
file = "texts.csv"
on = "id"
key = "first"
[join.two]
file = "texts.csv"
on = "id"
key = "second"
"""


def note(who: str | None, text: str = "words", topic: str | None = "rain", **more: Any) -> dict[str, Any]:
    return {"who": who, "text": text, "topic": topic, "place": {"name": "Oslo"}, **more}


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FEDLLM_BENCH_DATA", raising=False)
    monkeypatch.setenv("FEDLLM_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def imported(tmp_path: Path) -> Any:
    """Builds a dataset from a mapping and the files beside it: rows for .jsonl, text for others."""

    def build(mapping: str, files: Mapping[str, Any], held_out: float = 0.0, **options: Any) -> StoredDataset:
        for name, content in files.items():
            text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
            (tmp_path / name).write_text(text, encoding="utf-8")
        path = tmp_path / "mapping.toml"
        path.write_text(mapping, encoding="utf-8")
        return build_import(read_mapping(str(path)), tmp_path / "cache", held_out=held_out, **options)

    return build


# --- files


def test_rows_of_every_kind_of_file_are_the_same(tmp_path: Path) -> None:
    wanted = [{"a": "1", "b": 'x, "y"\nz'}, {"a": "2", "b": "é"}]
    lines = "".join(json.dumps(row) + "\n\n" for row in wanted)
    (tmp_path / "r.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "r.json").write_text(json.dumps(wanted), encoding="utf-8-sig")
    with open(tmp_path / "r.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["a", "b"])
        writer.writeheader()
        writer.writerows(wanted)
    for path in tmp_path.iterdir():
        assert [row for _, row in rows(path)] == wanted, path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("r.jsonl", b"{}\n[]\n", "line 2: expected an object, found a list"),
        ("r.json", b'{"a": 1}', "expected a list of objects, found an object"),
        ("r.json", b"[1]", "row 1: expected an object, found a number"),
        ("r.json", b"[", "is not JSON"),
        ("r.csv", b"a,b\n1,2\n3\n", "line 3: 1 cells where the header has 2"),
        ("r.csv", b"a,a\n", "line 1: expected a header of different column names"),
        ("r.csv", b'a,b\n"1,2\n', "line 2: unexpected end of data"),
        ("r.jsonl", b'{"a": "\xff"}\n', "is not UTF-8"),
        ("r.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-9], "cannot be read"),
        ("r.jsonl.gz", b"no gzip", "cannot be read"),
        ("r.parquet", b"PAR1 but no more", "cannot be read"),
        ("r.txt", b"", "files end in .jsonl, .json, .csv"),
        ("r.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:20] + b"xxxxxxxxxxxx", "cannot be read"),
        ("r.csv", b"a,b\n1,2\na,b\n", "line 3: the header stands here again"),
        ("r.csv", b"a,b\n1,\xe9\n", "line 2 is not UTF-8"),
        ("r.jsonl", b'{"a": {"b": ["", "\\ud83d"]}}\n', "line 1: a.b.2: a text that is not valid Unicode"),
    ],
)
def test_a_broken_file_is_told_with_its_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(rows(path))
    assert message in caught.value.message and str(path) in caught.value.message


# --- examples


def test_a_prompt_and_a_response_are_filled_from_the_fields_of_a_row(imported: Any) -> None:
    data = imported(NOTES, {"notes.jsonl": [note("zoe"), note("abe", "more {words}", topic=7)]})
    assert [data.client_id(index) for index in range(2)] == ["abe", "zoe"]
    turns = (Turn("user", "Write about 7 in Oslo."), Turn("assistant", "more {words}"))
    assert data.load(0).train == (ChatExample("abe/1", turns, "last"),)


def test_rows_that_make_no_example_are_counted_by_reason(imported: Any) -> None:
    ugly = [
        note("a"),
        note(None),
        note("  "),
        note("a", topic=None),
        note("a", text=""),
        note("a", kind="x"),
        note("b"),
    ]
    mapping = NOTES + 'min_samples = 2\n[filters]\nkind = ["y", "z"]\n'
    rows = [{"kind": "y", **row} for row in [*ugly, note("a"), note("a", kind="z")]]
    data = imported(mapping, {"notes.jsonl": rows})
    assert (len(data), data.size(0)) == (1, 3)
    assert data.manifest["dropped"] == {
        "clients under 2 training samples": 1,
        "rows filtered by kind": 1,
        "rows without text": 1,
        "rows without topic": 1,
        "rows without who": 2,
        "samples of clients under 2 training samples": 1,
    }


def test_several_files_are_one_after_the_other_and_meta_is_kept(imported: Any) -> None:
    mapping = NOTES.replace('"notes.jsonl"', '["one.jsonl", "two.jsonl"]') + 'meta = ["topic"]\nsystem = "Be brief."\n'
    files = {"one.jsonl": [note("a", "first", "tea")], "two.jsonl": [note("a", "second"), note("a", "third")]}
    client = imported(mapping, files).load(0)
    assert [example.turns[-1].content for example in client.train] == ["first", "second", "third"]
    assert [example.meta for example in client.train] == [{"topic": "tea"}, {"topic": "rain"}, {"topic": "rain"}]
    assert client.meta == {"topic": "rain"}
    assert client.train[0].turns[0] == Turn("system", "Be brief.")


def talk(*context: tuple[str, str], reply: str = "right") -> dict[str, Any]:
    return {"who": "me", "context": [{"by": by, "says": says} for by, says in context], "reply": reply}


def test_own_turns_are_the_assistants_and_runs_of_one_role_are_joined(imported: Any) -> None:
    row = talk(
        ("me", "anyone?"), ("ann", "hi"), ("bob", "yes"), ("me", "good"), ("ann", " "), ("me", "so?"), ("bob", "ok")
    )
    data = imported(TALKS, {"talks.jsonl": [row]})
    assert [(turn.role, turn.content) for turn in data.load(0).train[0].turns] == [
        ("user", "hi\nyes"),
        ("assistant", "good\nso?"),
        ("user", "ok"),
        ("assistant", "right"),
    ]


@pytest.mark.parametrize(("keep", "turns"), [(1, 2), (2, 2), (3, 4), (9, 4)])
def test_only_the_last_turns_are_kept_and_the_first_is_somebody_elses(keep: int, turns: int, imported: Any) -> None:
    mapping = TALKS.replace('"says" }', f'"says", keep = {keep} }}')
    data = imported(mapping, {"talks.jsonl": [talk(("ann", "a"), ("me", "b"), ("bob", "c"))]})
    shown = data.load(0).train[0].turns
    assert len(shown) == turns
    assert [turn.role for turn in shown] == ["user", "assistant"] * (turns // 2)


def test_a_conversation_without_a_reply_field_ends_with_the_clients_last_turn(imported: Any) -> None:
    mapping = TALKS.replace('response = "{reply}"', "")
    rows = [talk(("ann", "a"), ("me", "b"), ("bob", "c")), talk(("me", "alone")), talk(("ann", "never"))]
    data = imported(mapping, {"talks.jsonl": rows})
    assert [turn.content for turn in data.load(0).train[0].turns] == ["a", "b"]
    assert data.manifest["dropped"] == {
        "rows where nobody speaks before the reply": 1,
        "rows where the client says nothing": 1,
    }


TEXTS = "id,side,text\np,yes,because\nq,yes,so what\nr,yes,because\n"


def vote(winner: str, first: str = "p", second: str = "q", voter: str = "v") -> dict[str, str]:
    return {"voter": voter, "winner": winner, "first": first, "second": second, "pair": f"{first}-{second}"}


def test_the_winner_of_a_vote_is_chosen_and_ties_are_left_out(imported: Any) -> None:
    votes = [vote("a1"), vote("a2"), vote("equal"), vote("a1", "p", "r"), vote("a1", "p", "lost")]
    data = imported(VOTES, {"votes.jsonl": votes, "texts.csv": TEXTS})
    prompt = (Turn("user", "Argue: yes"),)
    assert data.load(0).train == (
        PreferenceExample("v/1", prompt, "because", "so what"),
        PreferenceExample("v/2", prompt, "so what", "because"),
    )
    assert data.manifest["dropped"] == {
        "rows whose second is not in texts.csv": 1,
        "rows whose winner is neither a1 nor a2": 1,
        "rows with two equal answers": 1,
    }


def test_a_pair_is_held_out_for_all_or_for_nobody(imported: Any) -> None:
    texts = "id,side,text\n" + "".join(f"t{n},yes,text {n}\n" for n in range(21))
    votes = [vote("a1", f"t{n}", f"t{n + 1}", voter) for n in range(20) for voter in "abc"]
    data = imported(VOTES, {"votes.jsonl": votes, "texts.csv": texts}, held_out=0.3)
    parts = [data.load(index) for index in range(len(data))]
    train = [{example.chosen for example in client.train} for client in parts]
    test = [{example.chosen for example in client.test} for client in parts]
    assert train == [train[0]] * 3 and test == [test[0]] * 3
    assert train[0] and test[0] and not train[0] & test[0]


def test_a_preference_can_be_told_by_two_fields(imported: Any) -> None:
    mapping = 'name = "p"\nfile = "p.csv"\nclient = "who"\nprompt = "{q}"\nchosen = "{good}"\nrejected = "{bad}"\n'
    data = imported(mapping, {"p.csv": "who,q,good,bad\n1,why?,so,no\n"})
    assert data.load(0).train == (PreferenceExample("1/1", (Turn("user", "why?"),), "so", "no"),)


def test_with_a_share_held_out_clients_without_held_out_samples_are_dropped(imported: Any) -> None:
    data = imported(NOTES, {"notes.jsonl": [note("one"), *[note("many", str(n)) for n in range(10)]]}, held_out=0.2)
    assert (len(data), data.size(0), len(data.load(0).test)) == (1, 8, 2)
    assert data.manifest["dropped"]["clients without held-out samples"] == 1


def test_the_fingerprint_tells_files_mappings_and_options_apart(imported: Any) -> None:
    notes = [note("a", str(n)) for n in range(9)]
    first, again, others = (
        imported(NOTES, {"notes.jsonl": notes}),
        imported(NOTES, {"notes.jsonl": notes}),
        [
            imported(NOTES, {"notes.jsonl": notes[1:]}),
            imported(NOTES + "min_samples = 2", {"notes.jsonl": notes}),
            imported(NOTES, {"notes.jsonl": notes}, held_out=0.5),
            imported(NOTES, {"notes.jsonl": notes}, held_out=0.5, seed=1),
        ],
    )
    assert again.folder == first.folder
    assert len({data.fingerprint for data in (first, *others)}) == 5


# --- rows and mappings that do not fit


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (("{topic}", "{topik}"), "notes.jsonl: line 1: has no field 'topik'", "did you mean topic?"),
        (("{place.name}", "{place.nam}"), "line 1: has no field 'place.nam'", "did you mean place.name?"),
        (("{place.name}", "{place}"), "place: expected a text, found an object", "name a field inside it, as a.b"),
        (('"who"', '"zzz"'), "has no field 'zzz'", "it has who, text, topic, place.name"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_file_line_and_field(
    change: tuple[str, str], message: str, hint: str | None, imported: Any, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        imported(NOTES.replace(*change), {"notes.jsonl": [note("a")]})
    assert message in caught.value.message
    assert caught.value.hint == hint
    assert not list((tmp_path / "cache").glob("data/[!.]*"))


def test_turns_that_do_not_fit_are_told_with_their_number(imported: Any) -> None:
    wrong = {"who": "me", "reply": "x"}
    for context, message in [
        ("text", "context: expected a list of turns, found a text"),
        (["x"], "line 1: context, turn 1: expected an object, found a text"),
        ([{"by": "a", "says": "x"}, {"by": "a"}], "line 1: context, turn 2: has no field 'says'"),
    ]:
        with pytest.raises(DataError, match=message):
            imported(TALKS, {"talks.jsonl": [{**wrong, "context": context}]})


def test_a_join_needs_rows_that_differ_in_its_field_and_a_name_of_its_own(imported: Any) -> None:
    with pytest.raises(DataError, match="line 5: id 'p' stands on an earlier line"):
        imported(VOTES, {"votes.jsonl": [vote("a1")], "texts.csv": TEXTS + "p,no,again\n"})
    with pytest.raises(DataError, match="line 1: has a field 'one' already"):
        imported(VOTES, {"votes.jsonl": [{**vote("a1"), "one": 1}], "texts.csv": TEXTS})


@pytest.mark.parametrize(
    ("mapping", "message", "hint"),
    [
        (NOTES + 'clientt = "x"', "clientt: unknown key", "did you mean client?"),
        (TALKS.replace("speaker =", "speakers ="), "turns.speakers: unknown key", "did you mean speaker?"),
        (VOTES.replace('on = "id"', 'onn = "id"'), "join.one.onn: unknown key", "did you mean on?"),
        (NOTES.replace('client = "who"', ""), "client: missing", KEYS),
        (NOTES.replace('client = "who"', "client = 3"), "client: Input should be a valid string", KEYS),
        (NOTES.replace('response = "{text}"', ""), "the mapping has prompt", KEYS),
        (NOTES + 'chosen = "x"', "the mapping has chosen, prompt, response", KEYS),
        (NOTES.replace("{text}", "{text"), "response: expected '}' before end of string", KEYS),
        (NOTES.replace("{text}", "{}"), "response: '{}' may hold only names of fields", KEYS),
        (NOTES.replace("{text}", "{text!r}"), "may hold only names of fields", KEYS),
        (VOTES.replace('a2 = "{two.text}"', 'a2 = "x", a3 = "y"'), "options holds 3 values", KEYS),
        (NOTES.replace('"notes"', "notes"), "is not TOML", "text needs quotes; a table starts with [name]"),
    ],
)
def test_a_wrong_mapping_is_told_with_its_key(mapping: str, message: str, hint: str | None, tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(mapping)
    with pytest.raises(DataError) as caught:
        read_mapping(str(path))
    assert message in caught.value.message and str(path) in caught.value.message
    assert caught.value.hint == hint


# --- where files are, and the command line


@pytest.fixture
def fedllm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def test_files_are_found_below_the_data_folder_before_those_beside_the_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fedllm: Command
) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "files").mkdir()
    mapping = tmp_path / "maps" / "notes.toml"
    mapping.write_text(NOTES)
    build = ("data", "build", "import", "--set", f"data.import.mapping={mapping}", "--set", "data.min_samples=1")
    missing = fedllm(*build)
    assert (missing.code, missing.out) == (2, "")
    assert "there is no notes.jsonl" in missing.err and "set FEDLLM_BENCH_DATA" in missing.err
    lines = [json.dumps(note("a", str(n))) for n in range(5)]
    (tmp_path / "maps" / "notes.jsonl").write_text("\n".join(lines))
    assert "import-notes: 1 clients" in fedllm(*build).out
    (tmp_path / "files" / "notes.jsonl").write_text("\n".join(lines + [line.replace('"a"', '"b"') for line in lines]))
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(tmp_path / "files"))
    assert "import-notes: 2 clients" in fedllm(*build).out
    described = fedllm("data", "describe", *build[2:], "--json")
    assert (described.code, {"what": "# samples", "import-notes": 10} in json.loads(described.out)["rows"]) == (0, True)


def test_an_import_without_a_mapping_says_what_to_give(fedllm: Command) -> None:
    done = fedllm("data", "build", "import")
    assert (done.code, "--set data.import.mapping=" in done.err) == (2, True)


# --- the mappings that come with the project


@pytest.mark.parametrize("name", ["ubuntu_irc", "ukpconvarg1", "nusawrites"])
def test_the_mappings_that_come_with_the_project_can_be_read(name: str) -> None:
    assert read_mapping(str(MAPPINGS / f"{name}.toml")).rules.name == name


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="FEDLLM_BENCH_DATA is not set")
@pytest.mark.parametrize(
    ("name", "clients", "kind"),
    [("ubuntu_irc", 910, ChatExample), ("ukpconvarg1", 2302, PreferenceExample), ("nusawrites", 52, ChatExample)],
)
def test_the_mappings_that_come_with_the_project_fit_their_files(
    name: str, clients: int, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDLLM_BENCH_DATA", str(SHARED))
    data = build_import(read_mapping(str(MAPPINGS / f"{name}.toml")), tmp_path, held_out=0.2)
    assert len(data) == clients
    assert {type(example) for index in range(9) for example in data.load(index).train} == {kind}
