"""The examples of the methods page: made by the functions that the chapters use, on data whose truth is known.

The coverage of the intervals comes from `results/bench/coverage.csv` and `.json`, what `ortholib bench coverage` wrote
to `runs/bench/`. Everything else is computed here, in a few seconds, when the book is built.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from ortholib import paths, wording
from ortholib.errors import OrthoError
from ortholib.metrics import calibration, compare, delong, ranks
from ortholib.metrics.bootstrap import LEVEL
from ortholib.metrics.boxes import CORNERS, at_score, average_precision, match
from ortholib.metrics.thresholds import decision_curve
from ortholib.report import figures, sentences, tables
from ortholib.report.figures.style import png_bytes
from ortholib.study import verdicts

BENCH = ("coverage.csv", "coverage.json")
GROUPED, ALONE = "clustered bootstrap", "bootstrap of images"
PATIENTS, SKILL = 150, {"A": 1.5, "B": 1.2, "C": 1.2}  # skill: distance of the two classes in standard deviations
PREVALENCE, SURE = 0.3, 1.8  # SURE: factor on the logits of the network that is too sure


def stage(folder: Path) -> list[Path]:
    """Write the examples as `method-*.md` with their figures into `folder` and return the Markdown files.

    Raises OrthoError where the outcome of the coverage bench is missing.
    """
    for name, (text, figure) in {"coverage": _coverage(), **_examples()}.items():
        if figure is not None:
            (folder / f"method-{name}.png").write_bytes(figure)
        (folder / f"method-{name}.md").write_text(text + "\n")
    return sorted(folder.glob("method-*.md"))


@cache
def _examples() -> dict[str, tuple[str, bytes | None]]:
    """Name -> (Markdown, PNG or None) of the examples that depend on nothing but the code."""
    made = {"difference": _difference, "ranks": _ranks, "calibration": _calibration, "decision": _decision}
    made |= {"detection": _detection, "verdicts": _verdicts}
    return {name: make() for name, make in made.items()}


def _shown(name: str, figure, alt: str, caption: str) -> tuple[str, bytes]:
    return f":::{{figure}} /_chapters/method-{name}.png\n:alt: {alt}\n\n{caption}\n:::", png_bytes(figure)


def _coverage() -> tuple[str, bytes]:
    folder = paths.project() / "results" / "bench"
    for name in BENCH:
        if not (folder / name).is_file():
            raise OrthoError(f"{folder / name} is missing; run `ortholib bench coverage` and copy it from runs/bench/.")
    table, told = pd.read_csv(folder / BENCH[0]), json.loads((folder / BENCH[1]).read_text())
    truth = told["true_roc_auc"]
    rows = table[table["method"].isin((GROUPED, ALONE))]
    caption = (
        f"{told['sets']:,} simulated test sets of {told['patients']} patients with {told['images_mean']:.0f} images on "
        f"average; true ROC AUC {truth:.3f}. Vermillion: intervals that miss it."
    )
    text, png = _shown("coverage", figures.coverage(rows, truth), figures.describe_coverage(rows, truth), caption)
    shares = ("coverage", "false_positive")
    rows = [(row["method"], *(_share(row[name], told["sets"]) for name in shares)) for row in told["methods"]]
    head = ("method", "95 % intervals that hold the truth", "differences called where there are none")
    return "\n\n".join([text, tables.markdown(rows, head), _read_coverage(told)]), png


def _read_coverage(told: dict) -> str:
    """Whether each method keeps what a 95 % interval and a test at 0.05 promise, beyond the simulation's own error."""
    said = []
    for row in told["methods"]:
        held, called = (
            binomtest(round(row[name] * told["sets"]), told["sets"]).proportion_ci()
            for name in ("coverage", "false_positive")
        )
        broken = {"intervals too short": held.high < LEVEL, "false calls too often": called.low > compare.ALPHA}
        words = [word for word, true in broken.items() if true]
        said.append(f"{row['method']}: {' and '.join(words) or 'as promised'}")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def _share(share: float, sets: int) -> str:
    """A share of the simulated sets with its own exact 95 % interval."""
    interval = binomtest(round(share * sets), sets).proportion_ci()
    return f"{share:.1%} ({interval.low:.1%} to {interval.high:.1%})".replace("%", " %")


def simulated(seed: int = 0, patients: int = PATIENTS) -> pd.DataFrame:
    """Predictions of three arms on the same images of some patients, 1 to 4 images each, with the true posterior
    as probability: B and C are equally good, A is better, by SKILL."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    y_true = (rng.random(patients) < PREVALENCE).astype(int)[group]
    frames, of_patient, of_image = [], rng.normal(size=patients)[group], rng.normal(size=len(group))
    for arm, skill in SKILL.items():
        noise = (of_patient + of_image + rng.normal(size=len(group))) / np.sqrt(3)
        logit = skill * (skill * y_true + noise) - skill**2 / 2 + np.log(PREVALENCE / (1 - PREVALENCE))
        frames.append(pd.DataFrame({"unit_id": np.arange(len(group)), "group": group, "y_true": y_true, "arm": arm}))
        frames[-1]["score_1"] = 1 / (1 + np.exp(-logit))
    return pd.concat(frames, ignore_index=True).assign(score_0=lambda f: 1 - f["score_1"])


def _difference() -> tuple[str, None]:
    predictions = simulated()
    made = compare.compare(predictions, ["roc_auc"])
    areas = delong.compare_areas(predictions).set_index(["arm", "reference"])
    truth = {arm: float(norm.cdf(skill / np.sqrt(2))) for arm, skill in SKILL.items()}
    head = ("arms", "true difference", "found (95 % interval)", "p", "p after Holm", "p by Obuchowski, Holm")
    rows = []
    for row in made.itertuples():
        found = f"{row.difference:.3f} ({row.low:.3f} to {row.high:.3f})".replace("-", "−")
        true, other = truth[row.arm] - truth[row.reference], areas.loc[(row.arm, row.reference), "p_holm"]
        numbers = (f"{value:.3f}" for value in (row.p, row.p_holm, other, row.detectable))
        rows.append((f"{row.arm}\u00a0−\u00a0{row.reference}", f"{true:.3f}".replace("-", "−"), found, *numbers))
    first = made.iloc[0]
    units = f"{wording.count(first['n'], 'image')} of {wording.count(first['n_groups'], 'patient')}"
    table = tables.markdown(rows, (*head, "smallest detectable"))
    return f"Simulated: {units}, three arms. {_read(made, truth)}\n\n{table}", None


def _read(made: pd.DataFrame, truth: dict) -> str:
    """What the table of differences shows, and whether that is so."""
    told = []
    for row in made.itertuples():
        true = round(truth[row.arm] - truth[row.reference], 12)
        called = row.p_holm <= compare.ALPHA
        if true == 0:
            said = "a difference is called though there is none" if called else "rightly, no difference is shown"
        else:
            missed = f"the true one, {abs(true):.3f}, is missed: the set detects {row.detectable:.3f} or more"
            said = "the true difference is shown" if called else missed
        told.append(f"{row.arm} and {row.reference}: {said}")
    return "; ".join(told) + "."


def _ranks() -> tuple[str, bytes]:
    parts = ["hand", "wrist", "forearm", "elbow", "shoulder", "hip", "knee", "ankle"]
    rng, skills = np.random.default_rng(0), {"arm A": 0.03, "arm B": 0.02, "arm C": 0.0, "arm D": 0.0}
    hard = rng.uniform(0.75, 0.9, len(parts))
    columns = {arm: hard + skill + rng.normal(0, 0.012, len(parts)) for arm, skill in skills.items()}
    values = pd.DataFrame(columns, index=parts)
    overall, pairs = ranks.friedman(values), ranks.nemenyi(values)
    arguments = ([*values], pairs.mean_ranks.to_numpy(), pairs.critical_difference, len(parts))
    p = f"p = {overall.p:.4f}" if overall.p >= 0.0001 else "p below 0.0001"
    caption = (
        f"Simulated ROC AUC of four arms on {len(parts)} body parts. Friedman with Iman–Davenport: "
        f"F = {overall.f:.1f}, {p}. Bars join arms that Nemenyi's test does not tell apart."
    )
    text, png = _shown("ranks", figures.critical_difference(*arguments), figures.describe_ranks(*arguments), caption)
    two, least = ranks.wilcoxon(values[["arm A", "arm B"]]), ranks.wilcoxon(values[["arm A", "arm C"]].head(5))
    short = ranks.friedman(values.head(4))
    told = (
        f"Two arms alone, A and B, by Wilcoxon's test over the {two.n_blocks} body parts: p = {two.p:.3f}. Over only "
        f"{least.n_blocks} of them no outcome could give less than p = {least.least_p:.4f}. With {short.n_blocks}, the "
        f"page says: “{short.reason}”."
    )
    return f"{text}\n\n{told}", png


def _calibration() -> tuple[str, None]:
    sets = []
    for seed in (1, 0):
        one = simulated(seed, 4 * PATIENTS).query("arm == 'A'").reset_index(drop=True)
        sure = calibration.scaled(one[["score_0", "score_1"]], 1 / SURE)
        sets.append(one.assign(score_0=sure[:, 0], score_1=sure[:, 1]))
    change = calibration.before_after(*sets)
    rows = change[change["scaling"] == "before"].iloc[0]
    about = f"Simulated: {wording.count(rows['n'], 'image')}, logits {SURE:g} times too large"
    return f"{about}, so the right temperature is {SURE:g}. {sentences.recalibration(change)}", None


def _decision() -> tuple[str, bytes]:
    arms = simulated()
    first = arms[arms["arm"] == "A"]
    probabilities = {f"arm {arm}": arms.loc[arms["arm"] == arm, "score_1"].to_numpy() for arm in ("A", "B")}
    thresholds = np.arange(2, 61) / 100
    table = decision_curve(first["y_true"].to_numpy(), probabilities, first["group"].to_numpy(), thresholds)
    caption = f"Simulated, {first['y_true'].mean():.0%} of the images with the finding.".replace("%", " %")
    return _shown("decision", figures.decision_curves(table), figures.describe_decision(table), caption)


def _detection() -> tuple[str, None]:
    boxes = ["image_id", *CORNERS]
    truths = pd.DataFrame([("one", 10, 10, 30, 30), ("two", 40, 40, 60, 60)], columns=boxes)
    found = [("one", 11, 10, 31, 30, 0.9), ("one", 9, 9, 29, 29, 0.8), ("three", 5, 5, 20, 20, 0.7)]
    matches = match(pd.DataFrame(found, columns=[*boxes, "score"]), truths, ["one", "two", "three"])
    seen = {name: float(value[0]) for name, value in at_score(matches, 0.5).items()}
    ap50 = float(average_precision(matches)[0, 0])
    return (
        f"Simulated: three images, {matches.truths.sum()} fractures, {len(matches.score)} boxes. Two boxes lie on one "
        "fracture, one on an image without any, and one fracture has none. So "
        f"{int(matches.hit[:, 0].sum())} box is right: sensitivity {seen['sensitivity']:.2f}, precision "
        f"{seen['precision']:.2f}, {seen['false_positives']:.2f} false boxes an image, and AP50 {ap50:.3f}."
    ), None


def _verdicts() -> tuple[str, None]:
    rows = []
    for kind, low, high, margin, edition, dataset, about in (
        ("value", 0.86, 0.90, np.nan, "real", "set", ""),
        ("value", 0.80, 0.85, np.nan, "real", "set", ""),
        ("direction", 0.01, 0.05, np.nan, "real", "set", ""),
        ("direction", -0.01, 0.05, np.nan, "real", "set", ""),
        ("direction", -0.05, -0.01, np.nan, "real", "set", ""),
        ("equivalence", -0.01, 0.015, 0.02, "real", "set", ""),
        ("equivalence", -0.08, 0.09, 0.02, "real", "set", "a wide interval"),
        ("value", 0.86, 0.90, np.nan, "real", "another", "another data set"),
        ("value", 0.86, 0.90, np.nan, "phantom", "set", "generated images"),
    ):
        said = verdicts.verdict(*_made_up(kind, low, high, margin, edition, dataset))
        published = {"value": "0.880", "direction": "A above B", "equivalence": f"A within {margin:g} of B"}[kind]
        why = said.why.split("; ")[-1] if said.verdict in verdicts.JUDGED else "; ".join(said.differs[:1]) or said.why
        ours = f"{low:.3f} to {high:.3f}".replace("-", "−")
        rows.append((kind, published, ours, about, f"**{said.verdict}**", why.replace("-0", "−0")))
    return tables.markdown(rows, ("kind", "published", "ours, 95 % interval", "what else", "verdict", "why")), None


def _made_up(kind: str, low: float, high: float, margin: float, edition: str, dataset: str) -> tuple:
    """A claim about arms A and B of a made-up paper, and the row of ours that tells of it."""
    same = {"task": "finding", "metric": "roc_auc", "split": "official", "arm": "A"}
    claim = same | {"claim": "made up", "kind": kind, "value": 0.88 if kind == "value" else np.nan, "margin": margin}
    claim |= {"set": "set", "network": "resnet50", "initial": "random", "reproduction": "true reproduction"}
    claim |= {"reference": "" if kind == "value" else "B", "network_reference": "resnet50"}
    claim |= {"initial_reference": "random", "differs": "nothing", "way": "nothing"}
    row = same | {"edition": edition, "dataset": dataset, "backbone": "resnet50", "initial": "random"}
    row |= {"reference": "B", "backbone_reference": "resnet50", "initial_reference": "random"}
    row |= {"value": (low + high) / 2, "difference": (low + high) / 2, "low": low, "high": high}
    return pd.DataFrame([claim]), pd.DataFrame([row | {"low_holm": low, "high_holm": high}])
