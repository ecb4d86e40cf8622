"""The published numbers and claims, as written in `params/published.yaml`. What ours say of them: `verdicts`."""

import hashlib
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ortholib import paths, yamlfile
from ortholib.errors import OrthoError

UNSTATED = "not stated"
CONTEXT = "context only"
KINDS = ("value", "direction", "equivalence")
MARKS = ("S", "S2", "C", "I", "G")  # certainty, see the head of the file
CLASSES = (
    "true reproduction",
    "protocol re-implementation from report or abstract",
    "method at small scale",
    CONTEXT,
)

# metric -> (lowest, highest value, whether more is better). kappa_weighted: the paper does not say by which weights.
_SHARES = ("accuracy", "average_precision", "heat_inside", "map50", "map50_95", "precision", "recall", "roc_auc")
_LESS_IS_BETTER = ("boxes_false", "boxes_missed", "epochs_to_reference", "loss_test", "loss_train")
METRICS = dict.fromkeys((*_SHARES, "sensitivity", "specificity"), (0.0, 1.0, True))
METRICS |= dict.fromkeys(("kappa_linear", "kappa_quadratic", "kappa_weighted"), (-1.0, 1.0, True))
METRICS |= dict.fromkeys(_LESS_IS_BETTER, (0.0, np.inf, False)) | {"boxes_found": (0.0, np.inf, True)}

PAPER = ("key", "paper", "source", "reproduction", "mark", "differs", "way", "arms")
INHERITED = ("source", "mark", "set", "dataset", "split", "task", "differs", "way")  # from a paper, unless said again
TABLE = ("table", "metrics", "values")
CLAIM = ("claim", "statement", "kind", "tests", "arms", "references")
ANALOGUE = ("task", "metric", "arms", "references", "differs")
SHAPES = {"tables": list, "claims": list, "conflicts": list, "metrics": list, "values": dict, "tests": dict}
SHAPES |= {
    "analogues": list,
    "references": list,
    "arms": dict | list,
}  # the arms of a paper are name -> facts, of a claim names

TEXT = ("claim", "statement", "paper", "source", "table", "task", "set", "dataset", "split", "arm", "network")
TEXT += ("initial", "differs", "way")
OF_REFERENCE = ("reference", "network_reference", "initial_reference")  # empty where a value stands for itself


def _within(frame: pd.DataFrame) -> pd.Series:
    """Whether each value is one that its metric can take."""
    low, high = (frame["metric"].map(lambda name, end=end: METRICS[name][end]) for end in (0, 1))
    return frame["value"].isna() | frame["value"].between(low, high)


SCHEMA = pa.DataFrameSchema(
    {name: pa.Column(str, pa.Check.str_length(min_value=1)) for name in TEXT}
    | {name: pa.Column(str) for name in OF_REFERENCE}
    | {
        "metric": pa.Column(str, pa.Check.isin([*METRICS])),
        "mark": pa.Column(str, pa.Check.isin(MARKS)),
        "kind": pa.Column(str, pa.Check.isin(KINDS)),
        "reproduction": pa.Column(str, pa.Check.isin(CLASSES)),
        "value": pa.Column(float, nullable=True),
        "margin": pa.Column(float, pa.Check.in_range(0, 1, include_min=False), nullable=True),
    },
    checks=[
        pa.Check(_within, error="a value is out of its metric's range"),
        pa.Check(
            lambda frame: (frame["kind"] == "equivalence") == frame["margin"].notna(),
            error="margin: a claim of equivalence has one, nothing else has",
        ),
    ],
    unique=["claim", "task", "metric", "arm", "reference"],
    strict=True,
)


def version() -> str:
    """Hash of what `table` says, 16 digits."""
    return hashlib.sha256(table().to_csv(index=False).encode()).hexdigest()[:16]


def table() -> pd.DataFrame:
    """Everything published, one row a comparison: a number of a paper, or one arm of a claim against one reference.

    Columns: claim (a number's or a claim's own name; a claim has a row for each task, arm and reference), statement,
    kind (`value`, `direction`: the arm is better than the reference, `equivalence`: within `margin` of it), paper,
    source, table, mark, reproduction, set, dataset, split, task, metric, arm, network, initial, reference,
    network_reference, initial_reference (empty for a number), value (NaN where the paper gives none; shares as
    fractions, 84.31% is 0.8431), margin (NaN but for equivalence), differs, way (to the data and the weights).
    Raises OrthoError naming the file and what breaks its schema: an unknown field, mark, metric or arm among them.
    """
    file = _file()
    rows = [row for paper in _papers(file) for row in (*_numbers(paper, file), *_claims(paper, file))]
    try:
        return SCHEMA.validate(pd.DataFrame(rows))
    except (pa.errors.SchemaError, pa.errors.SchemaErrors) as error:
        first = getattr(error, "schema_errors", [error])[0]
        raise OrthoError(f"{file}: {first}") from error


def analogues() -> pd.DataFrame:
    """Which comparisons of our own arms ask what a claim asks, with other images, networks or starts: one row a pair.

    Columns: claim, statement, paper, kind, margin (NaN but for equivalence), task, metric, arm, reference, differs
    (what is not the same). They are declared in the file before they are run. Raises OrthoError as `table`.
    """
    file, rows = _file(), []
    for paper in _papers(file):
        for claim in paper.get("claims", []):
            where = f"{file}: {paper['key']}, claim '{claim.get('claim')}', analogues"
            about = {"claim": f"{paper['key']}: {claim.get('claim')}", "paper": paper["paper"]}
            about |= {name: claim.get(name, np.nan) for name in ("statement", "kind", "margin")}
            for entry in claim.get("analogues", []):
                _fields(entry, ANALOGUE, (), where)
                about |= {name: entry[name] for name in ("task", "metric", "differs")}
                pairs = [(arm, other) for arm in entry["arms"] for other in entry["references"]]
                rows += [about | {"arm": arm, "reference": other} for arm, other in pairs]
    return pd.DataFrame(rows)


def papers() -> pd.DataFrame:
    """One row a paper: key, paper, source, reproduction, differs, way, conflicts (where sources disagree, a line each).

    Raises OrthoError as `table`.
    """
    rows = [paper | {"conflicts": "\n".join(paper.get("conflicts", []))} for paper in _papers(_file())]
    return pd.DataFrame(rows)[["key", "paper", "source", "reproduction", "differs", "way", "conflicts"]]


def published(task: str, metrics: list[str]) -> pd.DataFrame:
    """Published numbers of a task, best first, with the columns of `table` and those that figures draw
    (`label, low, high, n, kind`). Raises OrthoError as `table`, and where the file holds no such number."""
    known = table()
    asked = (known["kind"] == "value") & (known["task"] == task) & known["metric"].isin(metrics)
    found = known[asked & known["value"].notna()]
    if found.empty:
        raise OrthoError(f"{_file()} holds no value of task '{task}' with a metric among {', '.join(metrics)}.")
    found = found.sort_values("value", ascending=False, kind="stable", ignore_index=True)
    label = found["paper"] + ": " + found["dataset"]
    return found.assign(label=label, low=np.nan, high=np.nan, n=np.nan, kind="published")


def _file() -> Path:
    return paths.project() / "params" / "published.yaml"


def _papers(file: Path) -> list[dict]:
    papers = yamlfile.parse(file.read_text(), str(file))
    if not isinstance(papers, list) or not papers or not all(isinstance(paper, dict) for paper in papers):
        raise OrthoError(f"{file}: expected a list of papers, each made of `name: value` lines.")
    for paper in papers:
        _fields(paper, PAPER, (*INHERITED, "tables", "claims", "conflicts"), f"{file}: paper {paper.get('key')}")
        if not isinstance(paper["arms"], dict):
            raise OrthoError(f"{file}: the arms of {paper['key']} are no `name: {{network, initial}}` lines.")
        for name, facts in paper["arms"].items():
            _fields(facts, ("network", "initial"), (), f"{file}: {paper['key']}, arm '{name}'")
    return papers


def _fields(entry: dict, needed: tuple[str, ...], more: tuple[str, ...], where: str) -> None:
    """Refuse an entry that lacks a field, has one that nobody reads, or one of another shape."""
    if not isinstance(entry, dict):
        raise OrthoError(f"{where} is a {type(entry).__name__}; expected `name: value` lines.")
    for name in set(entry) & set(SHAPES):
        if not isinstance(entry[name], SHAPES[name]):
            raise OrthoError(f"{where}: {name} is a {type(entry[name]).__name__}; see the head of the file.")
    absent, unknown = [n for n in needed if n not in entry], [n for n in entry if n not in (*needed, *more)]
    if absent or unknown:
        what = f"lacks {', '.join(absent)}" if absent else f"has the unknown field {', '.join(map(str, unknown))}"
        raise OrthoError(f"{where} {what}; expected {', '.join(needed)} and, where they apply, {', '.join(more)}.")


def _numbers(paper: dict, file: Path) -> Iterator[dict]:
    """A row for each number of a paper's tables."""
    for entry in paper.get("tables", []):
        where = f"{file}: {paper['key']}, table '{entry.get('table')}'"
        _fields(entry, TABLE, INHERITED, where)
        shared = _shared(paper, entry) | {"table": entry["table"], "kind": "value", "margin": np.nan}
        for arm, printed in entry["values"].items():
            facts = _arm(paper, arm, where)
            if not isinstance(printed, list) or len(printed) != len(entry["metrics"]):
                raise OrthoError(f"{where}: '{arm}' has the values {printed} for the metrics {entry['metrics']}.")
            for metric, number in zip(entry["metrics"], printed, strict=True):
                name = f"{paper['key']}: {shared.get('task')}, {arm}, {metric}"
                said = f"{metric} {'not given' if number is None else number}"
                row = shared | facts | {"claim": name, "statement": said, "metric": metric}
                yield row | dict.fromkeys(OF_REFERENCE, "") | {"value": _number(number, f"{where}, '{arm}'")}


def _claims(paper: dict, file: Path) -> Iterator[dict]:
    """A row for each comparison that a paper's claims are made of."""
    for entry in paper.get("claims", []):
        where = f"{file}: {paper['key']}, claim '{entry.get('claim')}'"
        _fields(entry, CLAIM, ("margin", "analogues", *INHERITED), where)
        shared = _shared(paper, entry) | {name: entry[name] for name in ("statement", "kind")}
        shared |= {"claim": f"{paper['key']}: {entry['claim']}", "table": "text", "value": np.nan}
        shared |= {"margin": entry.get("margin", np.nan)}
        if entry["kind"] == "value":
            raise OrthoError(f"{where} is of kind 'value'; numbers stand in tables, claims are of the other kinds.")
        for task, metric in entry["tests"].items():
            for arm in entry["arms"]:
                for reference in entry["references"]:
                    other = dict(zip(OF_REFERENCE, _arm(paper, reference, where).values(), strict=True))
                    yield shared | _arm(paper, arm, where) | other | {"task": task, "metric": metric}


def _shared(paper: dict, entry: dict) -> dict:
    """What a table or a claim says itself, else its paper."""
    said = {name: entry.get(name, paper.get(name)) for name in INHERITED}
    return said | {"paper": paper["paper"], "reproduction": paper["reproduction"]}


def _arm(paper: dict, name: str, where: str) -> dict:
    if name not in paper["arms"]:
        raise OrthoError(f"{where} names the unknown arm '{name}'; the arms of the paper: {', '.join(paper['arms'])}.")
    return {"arm": name, **{fact: paper["arms"][name][fact] for fact in ("network", "initial")}}


def _number(printed, where: str) -> float:
    """The value of a number as printed; a share in percent becomes a fraction."""
    if printed is None:
        return np.nan
    if isinstance(printed, int | float) and not isinstance(printed, bool):
        return float(printed)
    if isinstance(printed, str) and (percent := re.fullmatch(r"(\d+(?:\.\d+)?)%", printed)):
        return float(Decimal(percent[1]) / 100)
    raise OrthoError(f"{where}: value {printed!r} is no number; expected such as 0.865, 84.31% or null.")
