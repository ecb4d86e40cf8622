"""The book: executed chapters staged as pages, then rendered by Jupyter Book, which runs nothing.

A chapter's page shows its promoted run (`paper` before `real`); without one the phantom run stands in under a banner.
The appendix always has the phantom page. Everything under `book/_chapters/` is made here and ignored by git.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
import yaml

from ortholib import entry, paths
from ortholib.errors import OrthoError
from ortholib.report import methods, results, tables
from ortholib.report.claims import page as page_of_claims
from ortholib.study import ledger
from ortholib.study.provenance import package

BANNER = "Phantom: these numbers come from generated images and prove the machinery, never a medical claim."
EARLIER = "recorded with an earlier version"
NOT_REDISTRIBUTED = "These are phantom images: the real radiographs are not redistributed."
PROMOTED = ("paper", "real")
MAIN_FIGURE = "30-knee-oa"
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Run:
    """One executed chapter on disk: `notebook.ipynb`, `run.json`, `figures/`."""

    chapter: str
    edition: str
    folder: Path

    @cached_property
    def record(self) -> dict:
        return json.loads((self.folder / "run.json").read_text())

    @property
    def notebook(self) -> nbformat.NotebookNode:
        """A fresh copy each time, so that two pages can be made of one run."""
        return nbformat.read(self.folder / "notebook.ipynb", as_version=4)

    @property
    def whole(self) -> bool:
        return all((self.folder / name).is_file() for name in ("notebook.ipynb", "run.json"))

    @cached_property
    def earlier(self) -> list[str]:
        """What is no longer as it was when this promoted run was recorded."""
        return results.stale(self.folder) if self.edition in PROMOTED else []


def chapters() -> list[str]:
    """Names of the chapters that `book/_toc.yml` lists under `_chapters/`, in order."""
    toc = yaml.safe_load((paths.project() / "book" / "_toc.yml").read_text())
    files = [Path(chapter["file"]) for part in toc["parts"] for chapter in part["chapters"]]
    return [file.name for file in files if file.parent == Path("_chapters")]


def phantom_run(chapter: str) -> Run:
    """The phantom run of a chapter. Raises OrthoError where it was not made."""
    run = Run(chapter, "phantom", paths.runs() / "phantom" / chapter)
    if not run.whole:
        raise OrthoError(
            f"{run.folder}: no executed phantom run of chapter {chapter} (expected notebook.ipynb and run.json). "
            "Run `make study`, which executes the chapters and builds the book."
        )
    return run


def promoted_run(chapter: str) -> Run | None:
    """The promoted run that the chapter's page shows: `results/paper`, else `results/real`, else None."""
    promoted = (Run(chapter, edition, paths.project() / "results" / edition / chapter) for edition in PROMOTED)
    return next((run for run in promoted if run.whole), None)


def _local_run(chapter: str, edition: str) -> Run | None:
    """This machine's own run of a promoted chapter, with the radiographs that promotion left out."""
    local = Run(chapter, edition, paths.runs() / edition / chapter)
    return local if local.whole else None


def _div(css: str, text: str) -> str:
    return f":::{{div}} {css}\n{text}\n:::"


def _tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _title(notebook: nbformat.NotebookNode) -> str:
    first = "".join(notebook.cells[0].source) if notebook.cells else ""
    match = re.match(r"#\s+(.+)", first)
    if not match:
        raise OrthoError(f"the first cell of a chapter must start with its title, `# …`; found {first[:60]!r}")
    return match.group(1).strip()


def _machine(record: dict) -> str:
    hardware = record.get("hardware") or {}
    if hardware.get("gpu"):
        return hardware["gpu"]
    name = hardware.get("cpu") or "machine not recorded"
    return f"{name}, {hardware['cores']} cores" if hardware.get("cores") else name


def _commit(record: dict) -> str:
    commit = str(record.get("commit") or "unknown")[:7]
    return f"{commit} with uncommitted changes" if record.get("dirty") else commit


def _wall(seconds: float | None) -> str:
    if seconds is None:
        return "wall time not recorded"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def provenance(run: Run) -> str:
    """The line that ends every page: edition, commit, machine, wall time, versions."""
    record = run.record
    versions = record.get("versions", {})
    named = ", ".join(f"{name} {versions[name]}" for name in ("ortholib", "torch") if name in versions)
    parts = [f"Edition {run.edition}", str(record.get("started", ""))[:10], f"commit {_commit(record)}"]
    parts += [_machine(record), _wall(record.get("wall_seconds")), named]
    return " · ".join(part for part in parts if part)


def _fill_radiographs(page: nbformat.NotebookNode, run: Run, phantom: Run) -> None:
    """Give the cells tagged `radiographs` of a promoted page pictures: this machine's own, else the phantom's."""
    local = _local_run(run.chapter, run.edition)
    own = local is not None and local.record["parameters"] == run.record["parameters"]
    source = {cell.id: cell for cell in (local if own else phantom).notebook.cells}
    cells = []
    for cell in page.cells:
        cells.append(cell)
        if "radiographs" in _tags(cell) and cell.id in source:
            cell.outputs = source[cell.id].outputs
            if not own:
                note = _div("phantom-note", NOT_REDISTRIBUTED)
                cells.append(nbformat.v4.new_markdown_cell(note, id=f"{cell.id}-note"[:64]))
    page.cells = cells


def _clean(page: nbformat.NotebookNode) -> None:
    """Fold the default parameters away where others were given, drop live widgets (they need a network), carry alt
    texts over."""
    page.metadata.pop("widgets", None)
    given = any("injected-parameters" in _tags(cell) for cell in page.cells)
    for cell in page.cells:
        if given and "parameters" in _tags(cell):
            cell.metadata["tags"] = [*_tags(cell), "hide-input"]
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
            for options in output.get("metadata", {}).values():
                if isinstance(options, dict) and options.get("alt"):
                    cell.metadata.setdefault("mystnb", {}).setdefault("image", {}).setdefault("alt", options["alt"])


def _drop_labels(page: nbformat.NotebookNode) -> None:
    """Labels may stand on one page only: the chapter keeps them, its phantom page in the appendix does not."""
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"^(\([\w:-]+\)=|:(name|label):.*)\n", "", cell.source, flags=re.MULTILINE)
            cell.source = re.sub(r"^\$\$ \([\w:-]+\)$", "$$", cell.source, flags=re.MULTILINE)


def page(run: Run, phantom: Run, appendix: bool = False) -> nbformat.NotebookNode:
    """One executed chapter as a page of the book: notices below its title, pictures, provenance at its end."""
    result = run.notebook
    title = _title(result)
    notices = []
    if run.edition == "phantom":
        notices.append(_div("phantom-banner", BANNER))
    else:
        _fill_radiographs(result, run, phantom)
        if run.earlier:
            notices.append(_div("earlier-version", f"This page was {EARLIER} of its {', '.join(run.earlier)}."))
    _clean(result)
    if appendix:
        _drop_labels(result)
    head, _, rest = result.cells[0].source.partition("\n")
    head = f"# {title} · phantom" if appendix else head
    result.cells[0].source = "\n\n".join(part for part in (head, *notices, rest.strip()) if part)
    result.cells.append(nbformat.v4.new_markdown_cell(_div("provenance", provenance(run)), id="provenance"))
    return result


def _stub(chapter: str, title: str) -> str:
    text = f"No real run of this chapter is promoted yet, so {{doc}}`the chapter </_chapters/{chapter}>` shows the "
    return f"# {title} · phantom\n\n{_div('phantom-banner', BANNER)}\n\n{text}phantom run itself.\n"


def _data_names(run: Run) -> str:
    if run.edition == "phantom":
        return "generated images"
    data = run.record.get("data") or run.record.get("parameters", {}).get("dataset") or "not recorded"
    return data if isinstance(data, str) else ", ".join(data)


def _state(run: Run) -> str:
    if run.edition in PROMOTED:
        return EARLIER if run.earlier else "current"
    local = [edition for edition in PROMOTED if _local_run(run.chapter, edition)]
    if local:
        return f"phantom stands in; this machine has a {local[0]} run, not promoted (`ortholib results record`)"
    return "phantom stands in: no real run yet"


def status(shown: list[Run]) -> str:
    """Markdown table of what was run on what, from the records of the runs shown."""
    rows = []
    for run in shown:
        link = f"{{doc}}`{_title(run.notebook)} </_chapters/{run.chapter}>`"
        recorded = f"{str(run.record.get('started', ''))[:10]}, {_commit(run.record)}, {_machine(run.record)}"
        rows.append((link, run.edition, _data_names(run), recorded, _state(run)))
    return tables.markdown(rows, ("Chapter", "Edition", "Data", "Recorded", "State")) + "\n"


def main_figure(shown: Run, phantom: Run, folder: Path) -> str:
    """Copy the headline figure into `folder` and return the Markdown that shows it, under a banner if phantom.

    A run's figure is `figures/headline.png` with `figures/headline.json` holding `alt` and `caption`.
    """
    run = shown if (shown.folder / "figures" / "headline.png").is_file() else phantom
    figure, text = (run.folder / "figures" / name for name in ("headline.png", "headline.json"))
    if not (figure.is_file() and text.is_file()):
        raise OrthoError(
            f"{figure}: the main figure or its headline.json (alt, caption) is missing. "
            f"Chapter {run.chapter} writes both; run `make study` again after a change to it."
        )
    shutil.copyfile(figure, folder / "headline.png")
    words = {name: " ".join(value.split()) for name, value in json.loads(text.read_text()).items()}
    shown_figure = f":::{{figure}} /_chapters/headline.png\n:alt: {words['alt']}\n\n{words['caption']}\n:::"
    banner = [_div("phantom-banner", BANNER)] if run.edition == "phantom" else []
    return "\n\n".join([*banner, shown_figure, _div("provenance", provenance(run))]) + "\n"


def stage() -> list[Path]:
    """Fill `book/_chapters/` from the executed chapters and return the files written.

    Raises OrthoError naming the folder where a chapter's phantom run, or the main figure, is missing.
    """
    runs = {name: (phantom_run(name), promoted_run(name)) for name in chapters()}
    folder = paths.project() / "book" / "_chapters"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "phantom").mkdir(parents=True)
    texts, shown = {}, {}
    for name, (phantom, promoted) in runs.items():
        shown[name] = promoted or phantom
        texts[f"{name}.ipynb"] = nbformat.writes(page(shown[name], phantom))
        if promoted:
            texts[f"phantom/{name}.ipynb"] = nbformat.writes(page(phantom, phantom, appendix=True))
        else:
            texts[f"phantom/{name}.md"] = _stub(name, _title(phantom.notebook))
    texts["status.md"] = status(list(shown.values()))
    texts["main-figure.md"] = main_figure(shown[MAIN_FIGURE], runs[MAIN_FIGURE][0], folder)
    texts["claims.md"] = claims()
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts] + methods.stage(folder)


def claims() -> str:
    """Every published number and claim with its verdict by the promoted runs, as Markdown."""
    return page_of_claims(results.claims(local=False), ledger.papers())


def source_key() -> str:
    """Hash of what the pages are made of apart from local runs: prose, configuration, promoted results, the published
    values, and the code of the pages."""
    root = paths.project()
    made = (root / "book" / "_build", root / "book" / "_chapters")
    files = [f for folder in ("book", "results") for f in sorted((root / folder).rglob("*")) if f.is_file()]
    files = [f for f in files if not any(f.is_relative_to(folder) for folder in made) and "__pycache__" not in f.parts]
    files.append(root / "params" / "published.yaml")
    digest = hashlib.sha256(package().encode())
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def build() -> Path:
    """Stage and render the book from nothing, any warning an error, and return the path of its first page."""
    stage()
    book = paths.project() / "book"
    shutil.rmtree(book / "_build", ignore_errors=True)  # a page that is not read again would keep its warning to itself
    tool = Path(sys.executable).with_name("jupyter-book")
    command = [tool, "build", book, "-W", "-n", "--keep-going"]
    plain = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=plain)
    index = book / "_build" / "html" / "index.html"
    if done.returncode or not index.is_file():
        log = (done.stdout + done.stderr).splitlines()
        bad = [line for line in log if "WARNING" in line or "ERROR" in line] or log[-15:]
        raise OrthoError(
            f"{book}: jupyter-book ended with {done.returncode}; every warning counts as an error.\n"
            + "\n".join(bad)
            + "\nCorrect the page it names (under _chapters/: its notebook), then `make book`."
        )
    return index


if __name__ == "__main__":
    entry.run(lambda: print(f"The book: {build()}"))
