#!/usr/bin/env python3
"""Writes NAME.json beside each NAME.yaml: what PyYAML's SafeLoader makes of it.

Run it once after adding a file, with PyYAML 6 (`pip install pyyaml`), and commit the results.
Two departures of ours are built in: dates stay text, and what JSON cannot hold is null.
"""
import json
import math
import pathlib

import yaml


class Loader(yaml.SafeLoader):
    pass


Loader.yaml_implicit_resolvers = {
    letter: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def plain(value):
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


for path in sorted(pathlib.Path(__file__).parent.glob("*.yaml")):
    with open(path, "rb") as file:
        value = plain(yaml.load(file, Loader))
    path.with_suffix(".json").write_text(json.dumps(value, indent=1) + "\n")
