"""Figures and the report: complete, self-contained, escaped, and the same for the same runs."""

import json
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fedllm_bench.analysis.as_toml import as_toml
from fedllm_bench.analysis.figures import FIGURES, draw, inline_svg, save
from fedllm_bench.analysis.frames import read_runs
from fedllm_bench.analysis.methods import group
from fedllm_bench.analysis.report import write_report
from fedllm_bench.analysis.summary import summarise
from fedllm_bench.experiment import resolve
from run_folders import experiment, write_quickstart, write_run

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects what a browser would be told, and that every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart")
    write_quickstart(folder)
    return folder


@pytest.fixture(scope="module")
def html(quickstart: Path) -> str:
    return write_report([quickstart]).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


# --- the report


def test_the_report_lies_in_the_folder_it_is_about(quickstart: Path, html: str) -> None:
    assert (quickstart / "report.html").read_text(encoding="utf-8") == html


def test_the_report_can_be_written_elsewhere(quickstart: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.html"
    assert write_report([quickstart], target) == target
    assert target.exists()


def test_equal_runs_give_equal_bytes(quickstart: Path, html: str, tmp_path: Path) -> None:
    assert write_report([quickstart], tmp_path / "again.html").read_text(encoding="utf-8") == html


def test_the_report_asks_for_nothing_from_outside(page: Page, html: str) -> None:
    assert [address for address in page.addresses if not address.startswith("#")] == []
    assert "@import" not in html and "url(http" not in html


def test_every_element_is_closed_and_every_id_is_used_once(page: Page) -> None:
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_every_reference_within_the_page_has_its_target(page: Page) -> None:
    assert {address.removeprefix("#") for address in page.addresses} <= set(page.ids)


def test_the_report_holds_the_headline_the_table_and_every_figure(page: Page) -> None:
    assert "fedavg lowers the held-out loss" in page.text
    for method in ("base", "local", "fedavg"):
        assert method in page.text
    for name in FIGURES:
        assert name in page.ids


def test_the_report_holds_settings_versions_costs_and_every_client(page: Page) -> None:
    for words in ("smollm2-135m", "2.13.0", "0123456789ab", "44.2 MB", "24k", "1 min 38 s", "2.0%", "client-019"):
        assert words in page.text


def test_the_report_counts_what_was_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(), rejected=True, trained=["client-001", "client-002", "client-003"])
    text = Page(write_report([tmp_path]).read_text(encoding="utf-8")).text
    # One rejected update, no unscored client, one sample of each of three clients however many rounds they train.
    after = text[text.index("What was left out") :].split()
    assert after[after.index("fedavg") : after.index("fedavg") + 6] == ["fedavg", "1", "0", "3", "too", "long"]


def test_unfinished_runs_are_shown_as_such(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(), rounds=3, complete=False)
    text = Page(write_report([tmp_path]).read_text(encoding="utf-8")).text
    assert "fedavg *" in text
    assert "not finished" in text
    assert "3 of 4" in text


def test_a_run_without_any_record_still_has_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment(), complete=False)
    for name in ("environment.json", "rounds.jsonl", "clients.jsonl", "evaluations.jsonl"):
        (folder / name).unlink()
    assert "No run has been evaluated" in write_report([tmp_path]).read_text(encoding="utf-8")


def test_text_from_records_is_never_read_as_html(tmp_path: Path) -> None:
    folder = write_run(tmp_path, experiment(), clients=3)
    evil = "<script>alert(1)</script>"
    for name in ("evaluations.jsonl", "rounds.jsonl", "clients.jsonl"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("client-001", evil).replace("too long", "too <b>long"))
    resolved = json.loads((folder / "experiment.json").read_text())
    resolved["algorithm"]["name"] = "fed<i>$x$--><"
    (folder / "experiment.json").write_text(json.dumps(resolved))
    html = write_report([tmp_path]).read_text(encoding="utf-8")
    assert evil not in html and "<i>" not in html and "<b>" not in html
    found = Page(html)
    assert evil in found.text
    assert found.open == []


def test_a_long_list_of_clients_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedllm_bench.analysis.report.MOST_CLIENTS", 5)
    write_run(tmp_path, experiment())
    assert "5 of 20 clients" in Page(write_report([tmp_path]).read_text(encoding="utf-8")).text


def test_runs_in_different_environments_show_each_value(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(seed=1))
    folder = write_run(tmp_path, experiment(seed=2))
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**environment, "torch": "2.14.0"}))
    html = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "2.13.0; 2.14.0" in html or "2.14.0; 2.13.0" in html


# --- the settings as a file


def test_the_settings_in_the_report_load_to_the_same_experiment() -> None:
    whole = experiment(
        seed=3,
        data={"clients": 9, "options": {"context_turns": 2}},
        algorithm={"name": "fedprox", "options": {"mu": 0.1, "note": 'a "quoted" word'}},
        channel=[{"name": "client-dp", "options": {"clip": 0.1}}, {"name": "top-k", "options": {}}],
    )
    text = as_toml({**whole.model_dump(mode="json"), "run_id": whole.run_id})
    assert resolve(tomllib.loads(text), "report") == [whole]


# --- figures


@pytest.mark.slow
def test_every_figure_is_written_as_svg_and_png_with_equal_bytes_each_time(quickstart: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_report([quickstart], tmp_path / "page.html", tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png"))
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_saved_figure_carries_no_date(quickstart: Path, tmp_path: Path) -> None:
    methods = group(read_runs([quickstart]))
    svg, _ = save(draw(methods, summarise(methods))[0], tmp_path)
    assert b"<dc:date>" not in svg.read_bytes()


def test_an_inline_figure_is_valid_xml_and_takes_the_colour_of_the_page(quickstart: Path) -> None:
    methods = group(read_runs([quickstart]))
    for drawing in draw(methods, summarise(methods)):
        svg = inline_svg(drawing)
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg") and "width" not in root.attrib and "viewBox" in root.attrib
        assert "currentColor" in svg and "<!--" not in svg


def test_there_is_no_figure_without_numbers_for_it(tmp_path: Path) -> None:
    write_run(tmp_path, experiment(), rounds=0, complete=False)
    methods = group(read_runs([tmp_path]))
    assert [drawing.name for drawing in draw(methods, summarise(methods))] == ["held-out-loss", "client-loss"]


def test_more_methods_than_colours_still_look_different(tmp_path: Path) -> None:
    for index in range(8):
        write_run(tmp_path, experiment(local={"lr": 1e-4 * (index + 1)}), clients=3)
    methods = group(read_runs([tmp_path]))
    lines = draw(methods, summarise(methods))[0].figure.axes[0].lines
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == 9


def test_reading_and_summing_up_runs_loads_no_plotting_and_no_torch() -> None:
    modules = "fedllm_bench.analysis.summary, fedllm_bench.analysis.tables, fedllm_bench.analysis.headline"
    program = f"import sys, {modules}; print([m for m in ('torch', 'matplotlib', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
