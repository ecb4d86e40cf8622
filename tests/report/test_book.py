"""The book: which run stands on which page, what the notices say, and that the built pages need no network."""

import functools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from PIL import Image

from ortholib.errors import OrthoError
from ortholib.report import book

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER, OWN, GENERATED = "picture left out at promotion", "own radiograph", "generated radiograph"


def write_run(folder: Path, chapter: str, size: int = 64, picture: str = GENERATED) -> Path:
    """A made-up executed chapter in the contract's layout."""
    v4 = nbformat.v4
    code = v4.new_code_cell(
        "show(sample)", outputs=[v4.new_output("stream", text=picture)], metadata={"tags": ["radiographs"]}
    )
    code["id"] = "sample-grid"
    defaults = v4.new_code_cell("seed = 9", metadata={"tags": ["parameters"]})
    injected = v4.new_code_cell("seed = 0", metadata={"tags": ["injected-parameters"]})
    widget = v4.new_output("display_data", data={book.WIDGET: {"model_id": "1"}, "text/plain": "100%"})
    bar = v4.new_code_cell("train()", outputs=[widget])
    title = v4.new_markdown_cell(f"# About {chapter}\n\n*A subtitle.*\n\nWith $\\kappa = 1$.")
    cells = [title, defaults, injected, bar, code]
    language = {"name": "python", "pygments_lexer": "ipython3"}
    notebook = v4.new_notebook(cells=cells, metadata={"widgets": {"state": {"a": 1}}, "language_info": language})
    (folder / "figures").mkdir(parents=True)
    nbformat.write(notebook, folder / "notebook.ipynb")
    record = {
        "notebook": chapter,
        "edition": folder.parent.name,
        "status": "done",
        "parameters": {"dataset": "kneekl", "size": size},
        "commit": "0123456789abcdef",
        "dirty": False,
        "versions": {"ortholib": "0.1.0", "torch": "2.15.0", "numpy": "2.4"},
        "hardware": {"cpu": "Some CPU", "cores": 2},
        "wall_seconds": 75.2,
        "started": "2026-11-24T10:00:00",
    }
    (folder / "run.json").write_text(json.dumps(record))
    if chapter == book.MAIN_FIGURE:
        Image.new("L", (64, 32), 128).save(folder / "figures" / "headline.png")
        words = {"alt": f"Main figure of {folder.parent.name}", "caption": "Grades, n = 10, G = 5."}
        (folder / "figures" / "headline.json").write_text(json.dumps(words))
    return folder


told = functools.cache(book.claims)  # no made-up run here holds a number, so the text is always the same


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project holding the book's own pages and a phantom run of each chapter."""
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("_build", "_chapters"))
    shutil.copytree(ROOT / "results" / "bench", tmp_path / "results" / "bench")
    (tmp_path / "params").mkdir()
    shutil.copyfile(ROOT / "params" / "published.yaml", tmp_path / "params" / "published.yaml")
    monkeypatch.setenv("ORTHOLIB_HOME", str(tmp_path))
    monkeypatch.setenv("ORTHOLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(book.results, "stale", lambda run: [])
    monkeypatch.setattr(book, "claims", told)
    for chapter in book.chapters():
        write_run(tmp_path / "runs" / "phantom" / chapter, chapter)
    return tmp_path


def page(home: Path, name: str) -> str:
    return (home / "book" / "_chapters" / name).read_text()


def outputs(home: Path, name: str) -> str:
    cells = nbformat.read(home / "book" / "_chapters" / name, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_without_a_promoted_run_the_phantom_stands_in_under_its_banner(home):
    written = book.stage()
    assert all(path.is_file() for path in written)
    first = nbformat.read(home / "book/_chapters/30-knee-oa.ipynb", as_version=4).cells[0].source
    assert first.startswith("# About 30-knee-oa\n\n:::{div} phantom-banner\n" + book.BANNER)
    assert first.endswith("*A subtitle.*\n\nWith $\\kappa = 1$.")
    stub = page(home, "phantom/30-knee-oa.md")
    assert book.BANNER in stub and "</_chapters/30-knee-oa>" in stub
    assert "phantom stands in: no real run yet" in page(home, "status.md")
    assert "Main figure of phantom" in page(home, "main-figure.md") and book.BANNER in page(home, "main-figure.md")


def test_a_promoted_run_takes_the_page_and_the_phantom_goes_to_the_appendix(home):
    write_run(home / "results/real/30-knee-oa", "30-knee-oa", picture=PLACEHOLDER)
    book.stage()
    main = page(home, "30-knee-oa.ipynb")
    assert book.BANNER not in main and book.EARLIER not in main
    assert "Edition real · 2026-11-24 · commit 0123456 · Some CPU, 2 cores · 1 min 15 s · ortholib 0.1.0" in main
    appendix = page(home, "phantom/30-knee-oa.ipynb")
    assert book.BANNER in appendix and "# About 30-knee-oa · phantom" in appendix
    assert "| real | kneekl | 2026-11-24, 0123456, Some CPU, 2 cores | current |" in page(home, "status.md")
    assert "Main figure of real" in page(home, "main-figure.md") and book.BANNER not in page(home, "main-figure.md")


def test_the_paper_edition_comes_before_the_real_one(home):
    write_run(home / "results/real/30-knee-oa", "30-knee-oa")
    write_run(home / "results/paper/30-knee-oa", "30-knee-oa")
    book.stage()
    assert "Edition paper" in page(home, "30-knee-oa.ipynb")


@pytest.mark.parametrize(("size", "shown"), [(64, OWN), (128, GENERATED), (None, GENERATED)])
def test_radiographs_are_this_machines_own_or_the_phantoms_with_a_note(home, size, shown):
    write_run(home / "results/real/30-knee-oa", "30-knee-oa", picture=PLACEHOLDER)
    if size:
        write_run(home / "runs/real/30-knee-oa", "30-knee-oa", size, OWN)
    book.stage()
    assert outputs(home, "30-knee-oa.ipynb") == shown
    assert (book.NOT_REDISTRIBUTED in page(home, "30-knee-oa.ipynb")) == (shown == GENERATED)


def test_an_earlier_recording_says_so_on_its_page_and_in_the_table(home, monkeypatch):
    write_run(home / "results/real/30-knee-oa", "30-knee-oa")
    monkeypatch.setattr(book.results, "stale", lambda run: ["notebook", "recipe finetune/0"])
    book.stage()
    assert f"{book.EARLIER} of its notebook, recipe finetune/0." in page(home, "30-knee-oa.ipynb")
    assert book.EARLIER in page(home, "status.md")


def test_a_local_real_run_is_named_but_never_shown(home):
    write_run(home / "runs/real/30-knee-oa", "30-knee-oa", picture=OWN)
    book.stage()
    assert "this machine has a real run, not promoted" in page(home, "status.md")
    assert outputs(home, "30-knee-oa.ipynb") == GENERATED


def test_a_missing_chapter_names_its_folder_and_the_command(home):
    folder = home / "runs" / "phantom" / "00-data"
    shutil.rmtree(folder)
    with pytest.raises(OrthoError, match=re.escape(str(folder)) + r".*make study"):
        book.stage()


def test_a_missing_main_figure_names_the_file(home):
    (home / "runs/phantom/30-knee-oa/figures/headline.png").unlink()
    with pytest.raises(OrthoError, match=r"headline\.png.*main figure"):
        book.stage()


def test_defaults_are_folded_where_others_were_given_and_widgets_dropped(home):
    book.stage()
    notebook = nbformat.read(home / "book/_chapters/00-data.ipynb", as_version=4)
    tags = {cell.source: cell.metadata.get("tags", []) for cell in notebook.cells}
    assert "hide-input" in tags["seed = 9"] and "hide-input" not in tags["seed = 0"]
    assert "widgets" not in notebook.metadata and book.WIDGET not in page(home, "00-data.ipynb")


def test_labels_stay_on_the_chapter_only(home):
    write_run(home / "results/real/30-knee-oa", "30-knee-oa")
    for folder in (home / "results/real/30-knee-oa", home / "runs/phantom/30-knee-oa"):
        notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
        notebook.cells.append(nbformat.v4.new_markdown_cell("(a-label)=\n## Section\n\n$$\nx\n$$ (eq-one)"))
        nbformat.write(notebook, folder / "notebook.ipynb")
    book.stage()
    assert "(a-label)=" in page(home, "30-knee-oa.ipynb") and "(eq-one)" in page(home, "30-knee-oa.ipynb")
    assert "(a-label)=" not in page(home, "phantom/30-knee-oa.ipynb")
    assert "(eq-one)" not in page(home, "phantom/30-knee-oa.ipynb")


def test_the_claims_and_the_examples_are_staged(home):
    written = {path.name for path in book.stage()}
    assert {"claims.md", "method-coverage.md", "method-verdicts.md"} <= written
    claims = page(home, "claims.md")
    assert claims.startswith("Of 78 published numbers and claims: 78 not testable here.")
    assert claims.count("\n## ") == 4 and "{dropdown}" in claims and "\\$ORTHOLIB\\_WEIGHTS" in claims
    for name in re.findall(r"_chapters/(method-\w+\.(?:md|png))", (home / "book" / "methods.md").read_text()):
        assert (home / "book" / "_chapters" / name).is_file(), name


def test_the_book_is_made_anew_when_published_values_or_examples_change(home):
    before = book.source_key()
    (home / "params" / "published.yaml").write_text("[]")
    assert book.source_key() != before
    before = book.source_key()
    (home / "results" / "bench" / "coverage.csv").write_text("")
    assert book.source_key() != before


def test_every_notebook_is_in_the_table_of_contents(monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ROOT))
    assert sorted(book.chapters()) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


class Links(HTMLParser):
    """What a page loads (scripts, styles, pictures), what it links to, its ids and its own scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.loads, self.links, self.ids, self.remote_in_script = [], [], set(), []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        self._script = tag == "script"
        if tag == "a" or (tag == "link" and attrs.get("rel") in ("search", "next", "prev", "index", "canonical")):
            self.links.append(attrs.get("href") or "")
        else:
            self.loads += [attrs[name] for name in ("src", "href", "data", "poster") if attrs.get(name)]

    def handle_data(self, data):
        if self._script and re.search(r"https?://", data):
            self.remote_in_script.append(data[:120])
        self._script = False


def problems(html: Path) -> list[str]:
    """Everything in a built book that is remote, does not resolve, or is too large."""
    pages = {path: Links(path.read_text()) for path in html.rglob("*.html") if "_static" not in path.parts}
    found = [f"{path.name}: {path.stat().st_size:,} bytes" for path in pages if path.stat().st_size > 3_000_000]
    for path, parsed in pages.items():
        found += [f"{path.name}: script names {text}" for text in parsed.remote_in_script]
        for address in parsed.loads + parsed.links:
            parts = urlsplit(address)
            if parts.scheme in ("http", "https", "mailto") or parts.netloc:
                if address in parsed.loads:
                    found.append(f"{path.name}: loads {address}")
                continue
            if parts.scheme == "data":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor_missing = target in pages and parts.fragment and parts.fragment not in pages[target].ids
            if not target.is_file() or anchor_missing:
                found.append(f"{path.name}: {address} does not resolve")
    for style in html.rglob("*.css"):
        remote = re.findall(r"(?:url\(|@import\s)\s*[\"']?(?:https?:)?//[^\s)\"']+", style.read_text())
        found += [f"{style.name}: {address}" for address in remote]
    return found


def test_the_built_book_is_whole_and_needs_no_network(home):
    write_run(home / "results/real/30-knee-oa", "30-knee-oa", picture=PLACEHOLDER)
    index = book.build()  # raises on any warning
    assert index == home / "book" / "_build" / "html" / "index.html"
    assert problems(index.parent) == []
    assert "<math" in (index.parent / "methods.html").read_text()
    assert (index.parent / "claims.html").is_file()
    assert book.BANNER in (index.parent / "_chapters" / "00-data.html").read_text()
    assert "MathJax" not in "".join(path.read_text() for path in index.parent.rglob("*.html"))


def test_a_warning_stops_the_build_and_is_shown(home, monkeypatch):
    monkeypatch.setattr(book, "stage", lambda: [])
    (home / "book" / "_toc.yml").write_text("format: jb-book\nroot: methods\n")  # a book of the one page
    (home / "book" / "methods.md").write_text("# How it is done\n\n(verdicts)=\n\n## V\n\n{doc}`no-such-page`\n")
    with pytest.raises(OrthoError, match="no-such-page"):
        book.build()


CHATTER = ("[PST]", "[togglebutton]", "Got invalid theme mode")  # what the theme says when all is well


def browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.browser
def test_a_browser_opens_every_page_of_the_real_book_without_an_error():
    index = ROOT / "book" / "_build" / "html" / "index.html"
    assert index.is_file(), f"{index}: no built book. Run `make study` first."
    assert browser(), "no chromium: apt-get install chromium"
    assert problems(index.parent) == []
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=5000"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    for path in (
        index,
        *(index.parent / f"{name}.html" for name in ("methods", "claims")),
        *index.parent.glob("_chapters/**/*.html"),
    ):
        done = subprocess.run([browser(), *flags, path.as_uri()], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "</html>" in done.stdout, done.stderr[-2000:]
        spoken = re.findall(r'CONSOLE[^"]*"(.*)"', done.stderr)
        assert not [text for text in spoken if not text.startswith(CHATTER)], f"{path.name}: {spoken}"
        after_scripts = Links(done.stdout).loads  # what the page's own scripts added is there too
        assert not [address for address in after_scripts if urlsplit(address).netloc], path.name
