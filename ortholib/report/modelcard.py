"""Model cards: what a network that is kept for use was trained on, how it calls, how well, and what it is not for."""

import json
from dataclasses import asdict

import pandas as pd

from ortholib.classify.model import Facts
from ortholib.data import datasets
from ortholib.encoders import registry
from ortholib.metrics import calibration, evaluation
from ortholib.report import tables

LIMITS = (
    "For research on methods only. It is no medical device and must not be used for diagnosis or treatment.",
    "It answers for every picture, also for one that shows something else or is turned.",
    "It was tested on images of the same source as those that it learned from; nothing is known about other hospitals, "
    "devices and patients. Try it on labelled images of yours first: `ortholib predict`, then `ortholib evaluate`.",
    "The intervals are of this one trained network: they hold the luck of the test sample, not that of the training.",
)
SHOWN = {
    "ordinal": ("kappa_quadratic_expectation", "accuracy_expectation", "mae_expectation", "auc_ovr_macro", "ece"),
    "binary": ("roc_auc", "average_precision", "sensitivity", "specificity", "ppv", "npv", "ece"),
}


def facts(network: Facts, frame: pd.DataFrame, record: dict) -> dict:
    """All that `model.json` says of a network, but for how far its scores are from the training's.

    frame: its predictions of validation and test images. record: of its fit.
    """
    validation, test = (frame[frame["part"] == part] for part in ("val", "test"))
    metrics = evaluation.evaluate(test, threshold=network.threshold)
    asked, known = record["settings"], datasets.SETS.get(record["settings"]["dataset"])
    start = registry.ENCODERS.get(asked["initial"]) if isinstance(asked["initial"], str) else None
    unit = "patients" if known and known.patients else "groups"
    population = [{"part": "train", "images": record["counts"]["train"]}]
    for part, rows in (("validation", validation), ("test", test)):
        counts = rows["y_true"].value_counts().reindex(range(len(network.classes)), fill_value=0)
        row = {"part": part, "images": len(rows), unit: int(rows["group"].nunique())}
        population.append(row | {name: int(k) for name, k in zip(network.classes, counts, strict=True)})
    limits = [*LIMITS, *(f"Of the set: {defect}" for defect in (known.defects if known else ()))]
    return asdict(network) | {
        "rule": network.rule,
        "fit": record["key"],
        "commit": record["made_by"]["commit"],
        "precision": record["precision"],
        "parameters": record["parameters"],
        "seed": asked["seed"],
        "initial": record["initial"]["source"],
        "initial_licence": f" ({start.published}, {start.licence})" if start else "",
        "dataset": asked["dataset"],
        "dataset_title": f"{known.title} ({known.citation}; {known.licence})" if known else asked["dataset"],
        "version": record["data"].get("version", "unknown"),
        "split": asked["split"],
        "population": population,
        "n": len(test),
        "n_groups": int(test["group"].nunique()),
        "groups": unit,
        "scored": len(frame),
        "metrics": _json_rows(metrics),
        "calibration": _json_rows(calibration.before_after(validation, test)),
        "limits": limits,
    }


def card(name: str, facts: Facts, told: dict) -> str:
    """The model card, Markdown, of what `model.json` says."""
    kept = pd.DataFrame(told["metrics"]).set_index("metric").loc[list(SHOWN[facts.kind])].reset_index()
    calibrated = pd.DataFrame(told["calibration"])
    calibrated = calibrated[calibrated["metric"].isin(["ece", "brier"]) & (calibrated["scaling"] != "after - before")]
    n = f"{told['n']:,} test images of {told['n_groups']:,} {told['groups']}"
    classes = "; ".join(f"{k}: {text}" for k, text in enumerate(facts.classes))
    start = f"{told['initial']}{' weights' if told['initial'] == 'random' else ''}{told['initial_licence']}"
    otherwise = ""
    if told["other_calls"] is not None:
        otherwise = (
            f", and {told['other_calls']:,} of {told['scored']:,} validation and test images are called otherwise"
        )
    rounding = (
        f"Beside the scores that the training stored ({told['precision']}), those of this file differ by at most "
        f"{told['rounding']:.2g}{otherwise}."
        if told["rounding"] is not None
        else "The scores below are those that the training stored: its images were not at hand when this was promoted, "
        "so how much the rounding to bfloat16 changes them was not measured."
    )
    lines = [
        f"# {name}: {facts.task} from radiographs",
        "",
        f"{facts.backbone}, {told['parameters']:,} weights, trained from {start}, recipe {facts.recipe}, seed "
        f"{told['seed']}. It gives the probability of each class ({classes}).",
        "",
        "```bash",
        f"ortholib predict {name} FOLDER",
        "```",
        "",
        f"Input: one grey channel, letterboxed to {facts.size} x {facts.size} px"
        f"{', left sides mirrored so that all lie as right ones' if facts.sides else ''}. Weights: kernels and "
        f"matrices bfloat16, Apache-2.0. {rounding}",
        "",
        "## Data and population",
        "",
        f"{told['dataset_title']}, release {told['version']}, split {told['split']}.",
        "",
        tables.markdown(pd.DataFrame(told["population"]).astype("object").map(_count)),
        "",
        "## Operating point",
        "",
        facts.rule,
        "",
        "## Calibration",
        "",
        f"Temperature {facts.temperature:.3f}, fitted on validation. Scores are given without it; the confidence of a "
        f"call is given with it. On {n}, with 95 % intervals:",
        "",
        tables.markdown(_rows(calibrated, ("metric", "scaling")), ("metric", "temperature", "value", "95 % interval")),
        "",
        "## On the test part",
        "",
        f"{n}; 95 % intervals by a bootstrap over {told['groups']}. All metrics: `model.json`; they recompute from "
        "`predictions.parquet`.",
        "",
        tables.markdown(_rows(kept, ("metric",)), ("metric", "value", "95 % interval")),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in told["limits"]),
        "",
    ]
    return "\n".join(lines)


def _count(value) -> str:
    """A cell of the population: what is not known (of the training part) is empty."""
    return value if isinstance(value, str) else "" if pd.isna(value) else f"{int(value):,}"


def _json_rows(table: pd.DataFrame) -> list[dict]:
    return json.loads(table.to_json(orient="records", double_precision=15))


def _rows(table: pd.DataFrame, named: tuple[str, ...]) -> list[list[str]]:
    """Names, value and interval of each row, as a card shows them."""
    shown = []
    for row in table.to_dict("records"):
        value = row["reason"] if pd.isna(row["value"]) else f"{row['value']:.3f}"
        interval = "none" if pd.isna(row["low"]) else f"{row['low']:.3f} to {row['high']:.3f}"
        shown.append([*(row[name] for name in named), value, interval])
    return shown
