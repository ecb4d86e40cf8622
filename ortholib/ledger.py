"""The published numbers, as written in `params/published.yaml`."""

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ortholib import paths, yamlfile
from ortholib.errors import OrthoError

TEXT = ("paper", "source", "task", "dataset", "arm", "metric", "differs")
MARKS = ["S", "S2", "C", "I", "G"]  # certainty, see the head of the file
SCHEMA = pa.DataFrameSchema(
    {name: pa.Column(str, pa.Check.str_length(min_value=1)) for name in TEXT}
    | {"value": pa.Column(float, pa.Check.in_range(-1, 1)), "mark": pa.Column(str, pa.Check.isin(MARKS))},
    unique=["paper", "task", "dataset", "arm", "metric"],
    strict=True,
)


def published(task: str, metrics: list[str]) -> pd.DataFrame:
    """Published values of a task, best first, with the columns of the file and those that figures draw
    (`label, low, high, n, kind`). Raises OrthoError where the file breaks its schema or holds no such value."""
    path = paths.project() / "params" / "published.yaml"
    rows = yamlfile.parse(path.read_text(), str(path))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise OrthoError(f"{path}: expected a list of entries, each made of `name: value` lines.")
    try:
        table = SCHEMA.validate(pd.DataFrame(rows))
    except (pa.errors.SchemaError, pa.errors.SchemaErrors) as error:
        first = getattr(error, "schema_errors", [error])[0]
        raise OrthoError(f"{path}: {first}") from error
    found = table[(table["task"] == task) & table["metric"].isin(metrics)]
    if found.empty:
        raise OrthoError(f"{path} holds no value of task '{task}' with a metric among {', '.join(metrics)}.")
    found = found.sort_values("value", ascending=False, kind="stable", ignore_index=True)
    label = found["paper"] + ": " + found["dataset"]
    return found.assign(label=label, low=np.nan, high=np.nan, n=np.nan, kind="published")
