"""Ids fit to be published: salted hashes, so that no patient's or file's own name stands in a stored prediction.

For published sets the salt is public: their names are no secret, the hash only keeps them out of the repository, and
anyone who holds the set can join predictions to images. Other sets (a user's own) get this machine's private salt.
"""

import hashlib
import secrets
from collections.abc import Iterable

import numpy as np

from ortholib import locks, paths

PUBLISHED = ("fracatlas", "kneekl", "mura", "mrnet", "oai", "grazpedwri")
PUBLIC_SALT = "ortholib-open-1"


def hashed(names: Iterable[str], dataset: str) -> np.ndarray:
    """One 12-digit hash a name, of a set named in `PUBLISHED` or of a user's own."""
    salt = PUBLIC_SALT if dataset in PUBLISHED else _private_salt()
    return np.array([hashlib.sha256(f"{salt}:{name}".encode()).hexdigest()[:12] for name in names], dtype=str)


def _private_salt() -> str:
    """Made at first use and kept in `runs/salt`, readable by its owner only."""
    file = paths.runs() / "salt"
    with locks.held(file):
        if not file.is_file():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(16))
        return file.read_text()
