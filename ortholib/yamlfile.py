"""YAML as people write it: `1e-3` is a number (YAML 1.1, and so PyYAML, reads text); errors name their file."""

import re
from pathlib import Path

import yaml

from ortholib.errors import UsageError


class Loader(yaml.SafeLoader):
    """The safe loader, with exponents that need no decimal point."""


EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))


def parse(text: str, source: str):
    """The value of a YAML text. Raises UsageError naming `source` (a file or an option) where it is no YAML."""
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: no readable YAML: {' '.join(str(error).split())}.") from error


def mapping(path: Path) -> dict:
    """The `name: value` lines of a file; empty for an empty one. Raises UsageError where it holds something else."""
    content = parse(path.read_text(), str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}; expected lines `name: value`.")
    return content
