"""Chapters: a notebook executed with checked parameters, kept whole with the record of what made it.

A run is written to `runs/<edition>/<chapter>.partial` (log inside), renamed when whole, and kept as
`<chapter>.failed` otherwise. Opened by hand in JupyterLab a notebook writes to `runs/lab/<chapter>`.
"""

import ast
import hashlib
import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import nbformat
import pandas as pd
from IPython import get_ipython
from IPython.display import HTML
from pydantic import TypeAdapter, ValidationError

from ortholib import entry, locks, paths, settings, yamlfile
from ortholib.errors import OrthoError, UsageError
from ortholib.paths import EDITIONS
from ortholib.report import figures, tables
from ortholib.study import plans, provenance

NESTED = {"pretraining": settings.Pretrain}  # parameters that are settings of a fit


@dataclass
class Run:
    """A chapter while it runs. folder: where its figures, tables and predictions go."""

    notebook: str
    edition: str
    folder: Path

    def figure(self, figure, name: str, alt: str, caption: str = "") -> HTML:
        """Keep a figure as PNG and SVG with its alt text and caption, and show it."""
        folder = self.folder / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps({"alt": alt, "caption": caption}, ensure_ascii=False))
        return figures.show(figure, folder, name, alt, caption)

    def save(self, **tables: pd.DataFrame) -> None:
        """Keep frames as `<name>.parquet`: `predictions` and `metrics` are what `ortholib results` reads."""
        for name, table in tables.items():
            table.to_parquet(self.folder / f"{name}.parquet", index=False)

    def note(self, **facts) -> None:
        """Add facts to the run's record: `data` (what it ran on), `fits` (keys), `splits` (hashes)."""
        path = self.folder / "facts.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(known | facts))


def start(notebook: str, edition: str) -> Run:
    """Called by every notebook after its parameters. In a batch run the folder is given by `ortholib run`."""
    if edition not in EDITIONS:
        raise UsageError(f"edition '{edition}' is unknown; expected one of {', '.join(EDITIONS)}.")
    entry.check()
    given = os.environ.get("ORTHOLIB_RUN")
    if not given:  # opened by hand; `execute` made sure of the data
        _ensure_phantom(edition)
    folder = Path(given or paths.runs() / "lab" / notebook)
    folder.mkdir(parents=True, exist_ok=True)
    return Run(notebook, edition, folder)


def _ensure_phantom(edition: str) -> None:
    """The images and weights of the edition phantom are generated where they are absent."""
    if edition == "phantom":
        from ortholib import phantom

        phantom.ensure()


def parameters(notebook: str, edition: str, overrides: dict | None = None) -> dict:
    """All parameters of a chapter in an edition: the notebook's, then the YAML's, then `overrides`.

    Raises UsageError naming a notebook, edition or parameter that does not exist, a value of the wrong type, or
    an `edition` that is not the one asked for.
    """
    if edition not in EDITIONS:
        raise UsageError(f"edition '{edition}' is unknown; expected one of {', '.join(EDITIONS)}.")
    file = paths.project() / "params" / edition / f"{notebook}.yaml"
    if not file.is_file():
        raise UsageError(f"{file} is missing: chapter {notebook} has no {edition} edition.")
    known = _known(notebook)
    values = {name: ast.literal_eval(known[name]["default"]) for name in known}
    given = [(name, value, str(file)) for name, value in yamlfile.mapping(file).items()]
    given += [(name, value, "--set") for name, value in (overrides or {}).items()]
    for name, value, source in given:
        if name not in known:
            raise UsageError(f"{source}: '{name}' is no parameter of {notebook}; known: {', '.join(known)}.")
        try:
            value = TypeAdapter(type(values[name]), config=settings.STRICT).validate_python(value)
        except ValidationError as error:
            wrong = f"{name} = {value!r}: {settings.said(error)} (such as {values[name]!r})"
            raise UsageError(f"{source}: {wrong}, by {notebook}.") from error
        if name in NESTED:
            settings.check(NESTED[name], value, f"{source}: {name}")
        if name == "edition" and value != edition:
            raise UsageError(
                f"{source}: edition = {value!r}, but the run is of edition '{edition}'; say --edition {value}."
            )
        values[name] = value
    return values | {"edition": edition}


def parameter_table(notebook: str) -> str:
    """Markdown table of the parameters of the chapter that calls this: their values in its kernel, and the help written
    beside each default."""
    known, values = _known(notebook), get_ipython().user_ns
    rows = [(f"`{name}`", f"`{values[name]!r}`", known[name]["help"]) for name in known]
    return tables.markdown(rows, ("parameter", "value", "meaning"))


def sources(notebook: str | nbformat.NotebookNode) -> list[str]:
    """The cells of a chapter, or of an executed one, as they were written."""
    read = nbformat.read(_path(notebook), as_version=4) if isinstance(notebook, str) else notebook
    return [cell.source for cell in read.cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def trigger(notebook: str, edition: str) -> str:
    """Hash of all that a chapter could be made by: its cells and parameters, the package, the published values (16
    digits). Snakemake executes it again where this changes; whether a recorded one is current is for `results.stale`.
    """
    published = (paths.project() / "params" / "published.yaml").read_text()
    parts = [sources(notebook), parameters(notebook, edition), provenance.package(), published]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def execute(notebook: str, edition: str, overrides: dict | None = None) -> Path:
    """Run a chapter from its notebook and return the folder of the finished run.

    The log streams to standard error and into `run.log`. Raises OrthoError with the failed cell's error (the
    half-run notebook stays in `<folder>.failed`), or saying that the kernel died. Ctrl-C ends the kernel too and
    leaves `.partial`, which the next run clears.
    """
    values, folder = parameters(notebook, edition, overrides), paths.runs() / edition / notebook
    _ensure_phantom(edition)
    with locks.held(folder):
        return _execute(notebook, edition, values, folder)


def _execute(notebook: str, edition: str, values: dict, folder: Path) -> Path:
    partial, failed = folder.with_name(notebook + ".partial"), folder.with_name(notebook + ".failed")
    for old in (partial, failed):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    record = provenance.record() | {"notebook": notebook, "edition": edition, "parameters": values}
    record["started"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    begun = time.perf_counter()
    problem = _papermill(_path(notebook), partial, values)
    facts = partial / "facts.json"
    record |= json.loads(facts.read_text()) if facts.is_file() else {}
    facts.unlink(missing_ok=True)
    record |= {
        "status": "failed" if problem else "done",
        "wall_seconds": round(time.perf_counter() - begun, 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
    }
    (partial / "run.json").write_text(json.dumps(record, indent=1))
    if problem:
        partial.replace(failed)
        raise OrthoError(f"{problem} The notebook as far as it got: {failed / 'notebook.ipynb'}")
    paths.put(partial, folder)
    return folder


def _papermill(path: Path, partial: Path, values: dict) -> str:
    """Execute; return "" or what went wrong, in a sentence."""
    import papermill  # a second to import, and every notebook imports this module
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError

    kernels = []

    class Kernel(AsyncKernelManager):
        """A kernel of this Python, whatever `python3` a user or $JUPYTER_PATH registered. Remembered, so that an
        interruption can end it."""

        kernel_spec = KernelSpec(**get_kernel_dict())

        def __init__(self, **options):
            super().__init__(**options)
            kernels.append(self)

    log = logging.getLogger("papermill")
    log.setLevel(logging.INFO)
    handlers = [logging.StreamHandler(sys.stderr), logging.FileHandler(partial / "run.log")]
    for handler in handlers:
        log.addHandler(handler)
    environment = {"ORTHOLIB_RUN": str(partial), "ORTHOLIB_HOME": str(paths.project())}
    own = tempfile.TemporaryDirectory(prefix="ortholib-ipython-")  # a user's own settings are no part of a chapter
    environment |= {"IPYTHONDIR": own.name, "PYTHONSTARTUP": "", "MATPLOTLIBRC": matplotlib.get_data_path()}
    before = {name: os.environ.get(name) for name in environment}
    os.environ |= environment  # the kernel inherits it
    options = {"kernel_name": "python3", "cwd": path.parent, "log_output": True, "kernel_manager_class": Kernel}
    # In the main thread nbclient would catch Ctrl-C itself and report a dead kernel.
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(
            papermill.execute_notebook,
            path,
            partial / "notebook.ipynb",
            values,
            progress_bar=sys.stderr.isatty(),
            **options,
        )
        try:
            job.result()
        except papermill.PapermillExecutionError as error:
            # papermill put two cells into the kept notebook before the failed one
            cell = nbformat.read(partial / "notebook.ipynb", as_version=4).cells[error.cell_index + 2]
            return f"{path.name}, cell '{cell.get('id')}': {error.ename}: {error.evalue.rstrip('.')}."
        except DeadKernelError:
            return f"{path.name}: the kernel died, probably memory. Lower size or batch, or use a larger machine."
        except Exception as error:
            return f"{path.name}: {type(error).__name__}: {str(error).rstrip('.')}."
        except BaseException:
            while not job.done():
                _kill(kernels)
                time.sleep(0.1)
            raise
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
            for handler in handlers:
                log.removeHandler(handler)
                handler.close()
            own.cleanup()
    return ""


def _kill(kernels: list) -> None:
    """End the processes of kernels that have started (a kernel leads its own process group)."""
    for kernel in kernels:
        if kernel.has_kernel and kernel.provisioner.pgid:
            with suppress(ProcessLookupError):
                os.killpg(kernel.provisioner.pgid, signal.SIGKILL)


def _known(notebook: str) -> dict:
    """Parameters that a notebook declares: name -> default (as source text) and help."""
    import papermill

    return papermill.inspect_notebook(_path(notebook))


def _path(notebook: str) -> Path:
    known = plans.chapters()
    if notebook not in known:
        raise UsageError(f"'{notebook}' is no chapter; known: {', '.join(known)}.")
    return paths.project() / "notebooks" / f"{notebook}.ipynb"
