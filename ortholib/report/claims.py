"""Published beside ours: the verdicts of a chapter, and their tables as Markdown, for its page and for that of all."""

import re

import pandas as pd

from ortholib.errors import OrthoError
from ortholib.report import sentences, tables
from ortholib.study import ledger, verdicts

# metrics as readers call them; others by their own name
METRICS = {"kappa_weighted": "weighted κ", "kappa_quadratic": "quadratic κ", "kappa_linear": "linear κ"}
METRICS |= {"roc_auc": "ROC AUC", "average_precision": "PR AUC", "map50": "AP50", "map50_95": "AP50:95"}
HEAD = ("published", "value", "ours (95 % interval)", "verdict", "what differs, or the way")


def claims(task: str, values: pd.DataFrame, differences: pd.DataFrame | None = None) -> pd.DataFrame:
    """The verdict on every published number and claim that names a task, by the rows of one chapter.

    values, differences: as `verdicts.judge` takes them, of which it has the columns; no differences where a chapter has
    one arm. Numbers of papers that are context only are among them, as related evidence at most.
    Raises OrthoError where nothing was published on the task.
    """
    known = ledger.table()
    named = known.loc[known["task"] == task, "claim"]
    if named.empty:
        raise OrthoError(f"nothing is published on the task '{task}'; known: {', '.join(known['task'].unique())}.")
    none = pd.DataFrame(columns=list(verdicts.DIFFERENCES))
    judged = verdicts.judge(known[known["claim"].isin(named)], values, none if differences is None else differences)
    return judged.reset_index(drop=True)


def forest(ours: pd.DataFrame, task: str, metrics: list[str], judged: pd.DataFrame) -> pd.DataFrame:
    """Rows of `figures.interval_plot`: ours, then the published values of a task, each with its verdict.

    ours: label, value, low, high, n. metrics: of the published values. judged: as `claims`. Where the rules give no
    verdict at all, as for generated images, nothing published is set beside ours, and ours say so.
    """
    published = ledger.published(task, metrics)
    said = judged.drop_duplicates("claim").set_index("claim").loc[published["claim"]]
    nothing = bool(said["verdict"].eq(verdicts.NONE).all())
    told = f"no verdict: {said['why'].iloc[0].split(' and ')[0]}" if nothing else ""
    here = ours.assign(kind="ours", section="This run", verdict=told)
    beside = published.assign(verdict=said["verdict"].to_numpy(), section="Published")
    return here if nothing else pd.concat([here, beside], ignore_index=True)


def table(judged: pd.DataFrame, runs: bool = False) -> str:
    """Markdown table of verdicts (rows as of `claims`): what was published, ours (with edition and chapter where `runs`
    is true), the verdict, what differs."""
    sources = ledger.table().drop_duplicates("claim").set_index("claim")["source"]
    rows, before = [], ""
    for row in judged.itertuples():
        last = plain(row.differs or row.why)
        rows.append(_cells(row, sources[row.claim], last if last != before else "as above", runs))
        before = last
    return tables.markdown(rows, HEAD)


def page(judged: pd.DataFrame, papers: pd.DataFrame) -> str:
    """Markdown of all verdicts by paper: how many of each, a table of what ours tell of, the rest folded.

    judged: rows as of `results.claims`. papers: as of `ledger.papers`; those without a row in `judged` are left out.
    """
    parts = [sentences.verdicts(judged)]
    for paper in papers.itertuples():
        rows = judged[judged["paper"] == paper.paper]
        if rows.empty:
            continue
        parts.append(f"## {plain(paper.paper)}")
        about = f"Kind of repetition: {paper.reproduction}. Source: {plain(paper.source)}."
        parts.append(f"{about} {sentences.verdicts(rows)}")
        told = rows["verdict"] != verdicts.UNTESTABLE
        if told.any():
            parts.append(table(rows[told], runs=True))
        if not told.all():
            parts.append(_folded(rows[~told]))
        if paper.conflicts:
            listed = "\n".join(f"- {plain(line)}" for line in paper.conflicts.splitlines())
            parts.append(f":::{{dropdown}} Where its sources disagree\n{listed}\n:::")
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text as Markdown shows it letter by letter, but for `code`; a slash may end a line."""
    pieces = text.split("`")
    pieces[::2] = [re.sub(r"([\\*_$<\[\]{}|])", r"\\\1", piece).replace("/", "/\u200b") for piece in pieces[::2]]
    return "`".join(pieces).replace("\n", " ")


def _cells(row, source: str, last: str, runs: bool) -> tuple[str, ...]:
    published = f"**{plain(row.paper)}**: {_said(row)} ({row.mark}; {plain(source)})"
    value = "" if pd.isna(row.published) else f"{row.published:.3f}"
    ours = "" if pd.isna(row.ours) else f"{row.ours:.3f}"
    ours += "" if pd.isna(row.low) else f" ({row.low:.3f} to {row.high:.3f})"
    ours += f"; {row.run}, {row.edition}" if ours and runs else ""
    return published, value, ours, row.verdict, last


def _said(row) -> str:
    """A number by what it measures, a claim by its sentence."""
    if row.kind != "value":
        return plain(row.statement)
    metric = METRICS.get(row.metric, row.metric.replace("_", " "))
    task = re.sub(r"^kl\b", "the KL grade", row.task.replace("_", " "))
    return plain(f"{metric} of {task}, {row.arm}")


def _folded(rows: pd.DataFrame) -> str:
    """What cannot be tested, under one line, with the way to each (told once where it is the same)."""
    lines = [f":::{{dropdown}} {len(rows)} {verdicts.UNTESTABLE}, with the way"]
    for why, same in rows.groupby("why", sort=False):
        lines += [f"**{plain(why)}**", ""]
        for row in same.itertuples():
            value = "" if pd.isna(row.published) else f": {row.published:.3f}"
            lines.append(f"- {_said(row)}{value} ({row.kind}, {row.mark})")
        lines.append("")
    return "\n".join([*lines, ":::"])
