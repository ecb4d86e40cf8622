"""Learners on embeddings, and what is tried of each: a fixed number of settings; validation chooses.

XGBoost (Chen and Guestrin 2016, arXiv 1603.02754), as Chavoshi et al. 2025 put on embeddings, stops adding trees when
the validation loss does not fall; the others are scikit-learn's.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ortholib import machine
from ortholib.errors import UsageError
from ortholib.settings import LEARNERS

# what is tried of each, the likeliest first: C on standardised features, neighbours, alpha
TRIED = {"logistic regression": (1e-3, 1e-2, 1e-4, 1e-1, 1.0), "kNN": (20, 10, 50, 5, 100)}
TRIED |= {"MLP": (0.1, 1.0, 0.01, 10.0, 1e-4)}
# of probes: C of the logistic regression, neighbours
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
NEIGHBOURS = (5, 10, 20, 50, 100)
TEMPERATURE = 0.07  # of the vote: weights exp(cosine / TEMPERATURE)
TREES, PATIENCE = 300, 10  # at most; rounds without a lower validation loss
BOOSTED = {  # what XGBoost's settings are drawn from
    "max_depth": (2, 3, 4),
    "learning_rate": (0.1, 0.2),
    "min_child_weight": (1, 5, 20),
    "reg_lambda": (1.0, 10.0),
}
SHARES = {"subsample": 0.7, "colsample_bynode": 0.1}  # of images a tree, of features a split: many say the same
HIDDEN, EPOCHS = 128, 40  # of the MLP


def fitted(learner: str, tries: int, seed: int, train: tuple, validation: tuple) -> Iterator[tuple[dict, object]]:
    """(settings tried, fitted classifier), at most `tries` of them. train, validation: (features (n, D), classes (n,)).

    Raises UsageError for an unknown learner.
    """
    features, y = train
    if learner == "XGBoost":
        yield from _boosted(tries, seed, train, validation)
    elif learner == "logistic regression":
        for value in TRIED[learner][:tries]:
            yield {"C": value}, logistic(value).fit(features, y)
    elif learner == "kNN":
        for k in dict.fromkeys(min(k, len(y)) for k in TRIED[learner][:tries]):
            yield {"neighbours": k}, nearest(k).fit(features, y)
    elif learner == "MLP":
        for value in TRIED[learner][:tries]:
            network = MLPClassifier(
                (HIDDEN,), alpha=value, batch_size=min(128, len(y)), max_iter=EPOCHS, random_state=seed
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is meant
                yield {"alpha": value}, make_pipeline(StandardScaler(), network).fit(features, y)
    else:
        raise UsageError(f"learner '{learner}' is unknown; expected one of {', '.join(LEARNERS)}.")


def logistic(penalty: float):
    """Logistic regression on standardised features, unfitted."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=500, tol=1e-3))


def nearest(k: int) -> KNeighborsClassifier:
    """A weighted vote of the k nearest by cosine, unfitted."""
    return KNeighborsClassifier(k, weights=vote, metric="cosine", algorithm="brute")


def vote(distance: np.ndarray) -> np.ndarray:
    """Weights of neighbours at these cosine distances (1 - cosine): Wu et al. 2018, arXiv 1805.01978, section 3.4."""
    return np.exp((1 - distance) / TEMPERATURE)


def scores(head, features: np.ndarray, classes: int) -> np.ndarray:
    """(n, classes) probabilities; 0 for a class without a training image."""
    probability = np.zeros((len(features), classes))
    probability[:, head.classes_] = head.predict_proba(features)
    return probability


class _Boosted:
    """An XGBoost classifier on the classes that training has, which XGBoost wants numbered without a gap."""

    def __init__(self, model, classes: np.ndarray):
        self.model, self.classes_ = model, classes

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(features)


def _boosted(tries: int, seed: int, train: tuple, validation: tuple) -> Iterator[tuple[dict, object]]:
    from xgboost import XGBClassifier  # a second: only where it is asked for

    rng = np.random.default_rng([seed, 0])
    classes = np.unique(train[1])
    known = np.isin(validation[1], classes)
    watched = [(validation[0][known], np.searchsorted(classes, validation[1][known]))]
    for _ in range(tries):
        drawn = {name: values[rng.integers(len(values))] for name, values in BOOSTED.items()}
        model = XGBClassifier(
            n_estimators=TREES, early_stopping_rounds=PATIENCE, tree_method="hist", device=machine.pick().type,
            random_state=seed, n_jobs=torch.get_num_threads(), **SHARES, **drawn,
        )  # fmt: skip
        model.fit(train[0], np.searchsorted(classes, train[1]), eval_set=watched, verbose=False)
        yield drawn | {"trees": model.best_iteration + 1}, _Boosted(model, classes)
