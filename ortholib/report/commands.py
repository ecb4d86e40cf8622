"""The commands for users of a trained network: predict, evaluate, and the promotion of one."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ortholib import paths, wording
from ortholib.errors import OrthoError, UsageError
from ortholib.report.terminal import Json, lines_for_people, show

RESEARCH = "For research on methods only: no medical device, not for diagnosis or treatment."
CSV = ".csv"
MANIFEST = "{} on the manifest: see `ortholib data check`"  # they name patients, and scores are passed on


def predict(
    model: Annotated[
        str, typer.Argument(help="a promoted network's name, a fit's key, or a file or folder of weights")
    ],
    path: Annotated[Path, typer.Argument(help="a folder of images (DICOM included), one image, or a manifest")],
    out: Annotated[Path, typer.Option(help="table to write, .csv; its facts go beside it, .json")] = Path("scores.csv"),
    heatmaps: Annotated[Path | None, typer.Option(help="folder for a picture of each image with its heat map")] = None,
    side: Annotated[str, typer.Option(help="auto (by header or name), or of all images: L, R, none")] = "auto",
    root: Annotated[Path | None, typer.Option(help="folder of a manifest's images (default: the manifest's)")] = None,
    as_json: Json = False,
) -> None:
    """Score images with a trained network: a row an image, and the reason for each that was left out."""
    _check_place(out.parent, path, root)
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent} is no folder; make it, or choose another place with --out.")
    for taken in (out, out.with_suffix(".json")):
        if os.path.lexists(taken):
            raise UsageError(f"{taken} exists already and is not overwritten; choose another name with --out.")
    if out.suffix.lower() != CSV:
        raise UsageError(f"{out}: scores are written as CSV; expected a name that ends in .csv.")
    if heatmaps is not None:
        _check_place(heatmaps, path, root)
    from ortholib.classify import model as usable
    from ortholib.classify import scoring
    from ortholib.report import networks

    with lines_for_people(as_json):
        network = usable.read(networks.find(model))
        found = scoring.find(path, root)
        picture = None if heatmaps is None else lambda seen: _draw(seen, heatmaps)
        table = scoring.score(network, found, side, picture)
    facts, scored = network.facts, table[table["reason"] == ""]
    left_out = table[table["reason"] != ""]
    sides = {"right": int((scored["side"] == "R").sum()), "left, shown mirrored": int(scored["mirrored"].sum())}
    sides["unknown, shown as they lie"] = len(scored) - sum(sides.values())
    doubted = scored[scored["doubt"] != ""]
    payload = {
        "model": model,
        "recipe": facts.recipe,
        "task": facts.task,
        "classes": list(facts.classes),
        "rule": facts.rule,
        "threshold": facts.threshold,
        "temperature": facts.temperature,
        "scores": str(out),
        "heatmaps": None if heatmaps is None else str(heatmaps),
        "scored": len(scored),
        "left_out": len(left_out),
        "sides": sides if facts.sides else {},
        "calls": {name: int(n) for name, n in scored["call"].value_counts().sort_index().items() if name},
        "reasons": dict(zip(left_out["file"], left_out["reason"], strict=True)),
        "doubts": dict(zip(doubted["file"], doubted["doubt"], strict=True)),
        "notes": [MANIFEST.format(wording.count(len(found.notes), "note"))] if found.notes else [],
        "use": RESEARCH,
    }
    _write(out, table.to_csv(index=False))
    _write(out.with_suffix(".json"), json.dumps(payload, indent=1))
    show(payload, as_json)


def evaluate(
    scores: Annotated[Path, typer.Argument(help="the table that `ortholib predict` wrote")],
    labels: Annotated[Path, typer.Argument(help="a CSV with the columns file, label and, for patients, group")],
    as_json: Json = False,
) -> None:
    """Compare scores with your own labels: every metric with its 95 % interval, groups kept together."""
    from ortholib.classify import outcomes
    from ortholib.metrics import evaluation

    facts = _facts(scores)
    classes = tuple(facts.get("classes", ()))
    joined = outcomes.join(scores, labels, classes)
    table = evaluation.evaluate(joined.frame, threshold=facts.get("threshold"))
    groups = (
        "groups as in the labels" if joined.grouped else "each image its own group: the labels have no column group"
    )
    notes = [groups]
    if not facts:
        notes.append(f"{scores.with_suffix('.json').name} is not beside the scores: no threshold, no names of classes")
    present = sorted(joined.frame["y_true"].unique())
    if len(present) == 1:
        only = classes[present[0]] if classes else present[0]
        absent = ", ".join(table.loc[table["value"].isna(), "metric"])
        notes.append(f"all labels are of one class, {only}; not computable: {absent}")
    payload = {
        "model": facts.get("model"),
        "n": len(joined.frame),
        "n_groups": int(joined.frame["group"].nunique()),
        "scored_without_label": joined.unlabelled,
        "labelled_but_left_out": joined.unscored,
        "rule": facts.get("rule"),
        "notes": notes,
    }
    if as_json:
        show(payload | {"metrics": table.to_dict("records")}, True)
        return
    show(payload, False)
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    grid = Table("metric", "value", "95 % interval", "n", "groups", "", box=None)
    for row in table.itertuples():
        value = "not computable" if row.value != row.value else f"{row.value:.3f}"
        interval = "none" if row.low != row.low else f"{row.low:.3f} to {row.high:.3f}"
        grid.add_row(row.metric, value, interval, str(row.n), str(row.n_groups), escape(row.reason))
    Console().print(grid)


def promote_model(
    key: Annotated[str, typer.Argument(help="key of a finished training, or its first digits")],
    name: Annotated[str, typer.Argument(help="name under results/weights, such as knee-kl")],
    as_json: Json = False,
) -> None:
    """Keep a trained network for use, with its card, in results/weights/NAME."""
    from ortholib.report import networks

    with lines_for_people(as_json):
        folder = networks.promote(key, name)
    told = json.loads((folder / "model.json").read_text())
    facts = {name: told[name] for name in ("fit", "recipe", "temperature", "threshold", "rounding", "n", "n_groups")}
    show({"promoted": str(folder)} | facts, as_json)


def _facts(scores: Path) -> dict:
    """What `predict` wrote beside its table; empty where that is gone."""
    file = scores.with_suffix(".json")
    if not file.is_file():
        return {}
    try:
        facts = json.loads(file.read_text())
        if not isinstance(facts["classes"], list) or not isinstance(facts["threshold"], float | None):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise OrthoError(f"{file} is not what `ortholib predict` writes beside its scores; delete it.") from error
    return facts


def _check_place(folder: Path, images: Path, root: Path | None) -> None:
    """Nothing is written where images are: not below the folder that is scored, nor below the data root."""
    known = images if images.is_dir() else root
    for closed in filter(None, (known, paths.data_root())):
        if folder.resolve().is_relative_to(closed.resolve()):
            raise UsageError(f"{folder} lies in {closed}, and nothing is ever written where images are; name another.")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OrthoError(f"{file} cannot be written ({error.strerror}). Choose another place with --out.") from error


def _draw(seen, folder: Path) -> None:
    """The picture of one image, `<folder>/<its name>.png`."""
    from ortholib.report.figures.heatmap import heat_map

    file = folder / f"{seen.name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    title = f"{Path(seen.name).name}: {seen.call} (confidence {seen.confidence:.2f}). What speaks for it, by Grad-CAM"
    heat_map(seen.pixels, seen.heat, title).savefig(file, dpi=100)
