"""`shardgate check FILE`: every mistake of a file at once, with its place and what was expected."""

import re
import subprocess
from pathlib import Path

import pytest

from gateway import BINARY, CLEAN

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
TEN = """\
model_list:
  - model_name: gpt
    litellm_params:
      model: openai/gpt-4o
      rpm: many
  - litellm_params:
      model: openai/gpt-4o
  - model_name: no-params
  - model_name: timeouts
    litellm_params:
      model: openai/gpt-4o
      timeout: -5
litellm_settings:
  set_verbose: perhaps
  request_timeout: soon
general_settings:
  max_request_size_mb: [10]
  allowed_ips: [300.1.2.3]
router_settings:
  routing_strategy: fastest
  num_retries: 1.5
"""
PLACES = {5: "rpm", 6: "model_name", 8: "litellm_params", 12: "timeout", 14: "set_verbose", 15: "request_timeout",
          17: "max_request_size_mb", 18: "allowed_ips", 20: "routing_strategy", 21: "num_retries"}


def check(path, *flags, env=None):
    return subprocess.run([BINARY, "check", *flags, str(path)], capture_output=True, text=True, timeout=20, env={**CLEAN, **(env or {})})


def written(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_a_good_file(tmp_path):
    path = written(tmp_path, "model_list:\n  - model_name: m\n    litellm_params: {model: openai/x, api_key: k}\n")
    done = check(path)
    assert done.returncode == 0, done.stderr


def test_ten_mistakes_ten_diagnostics(tmp_path):
    done = check(written(tmp_path, TEN))
    assert done.returncode == 2
    found = re.findall(r"^.*config\.yaml:(\d+):(\d+): (.*)$", done.stdout + done.stderr, re.MULTILINE)
    by_line = {int(line): text for line, _, text in found}
    missing = {line: name for line, name in PLACES.items() if line not in by_line or name not in by_line[line]}
    assert not missing, f"{missing}\n{done.stderr}"
    assert len(found) == 10, done.stderr


def test_nearest_name(tmp_path):
    done = check(written(tmp_path, "router_settings:\n  routing_stratgy: least-busy\n"))
    assert done.returncode == 0 and "routing_strategy" in done.stderr + done.stdout


def test_strict(tmp_path):
    done = check(written(tmp_path, "router_settings:\n  routing_stratgy: least-busy\n"), "--strict")
    assert done.returncode == 2 and "routing_strategy" in done.stderr


def test_no_file(tmp_path):
    done = check(tmp_path / "nothing.yaml")
    assert done.returncode == 2 and "nothing.yaml" in done.stderr


@pytest.mark.parametrize("text", ["model_list: [", "a: b: c", "\t- x", "a: &x *y", "!!python/object:os.system x", "- 1\n- 2\n", "just text"])
def test_not_a_config(tmp_path, text):
    done = check(written(tmp_path, text))
    assert done.returncode == 2 and re.search(r"config\.yaml(:\d+:\d+)?: ", done.stderr), done.stderr


def test_bombs(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n-1}'] * 9)}]" for n in range(1, 12)]
    done = check(written(tmp_path, "\n".join(lines)))
    assert done.returncode in (0, 2)
    assert check(written(tmp_path, "a: " + "[" * 100_000)).returncode == 2


def test_secrets_are_not_quoted(tmp_path):
    done = check(written(tmp_path, """\
model_list:
  - model_name: m
    litellm_params: {model: openai/x, api_key: [sk-canary-in-a-list], api_base: "http://user:canary-pass@ x"}
general_settings: {master_key: {a: sk-canary-master}, database_url: "postgresql://u:canary-db@[bad"}
"""))
    assert "canary" not in done.stdout + done.stderr, done.stderr


def example_value(name):
    """A value of the right kind for a variable that an example asks for."""
    for word, value in {"DATABASE_URL": "postgresql://u:p@127.0.0.1/d", "REDIS_URL": "redis://127.0.0.1:6379", "URL": "https://hooks.example/x",
                        "API_BASE": "https://api.example", "PORT": "6379", "SMTP_PORT": "25"}.items():
        if word in name:
            return value
    return "sk-example-0123456789"


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_every_example_loads(path):
    names = set(re.findall(r"os\.environ/([A-Za-z0-9_]+)", path.read_text()))
    done = check(path, env={name: example_value(name) for name in names})
    assert done.returncode == 0, done.stderr


def test_router_examples_are_all_there():
    assert {f"router-{n:02}" for n in range(1, 11)} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("spelling,value", [("yes", True), ("no", False), ("on", True), ("off", False), ("True", True), ("'true'", None)])
def test_yaml_1_1_booleans(tmp_path, spelling, value):
    done = check(written(tmp_path, f"litellm_settings: {{set_verbose: {spelling}}}\n"))
    assert done.returncode == 0 or value is None, done.stderr


def test_anchors_and_merge_keys(tmp_path):
    done = check(written(tmp_path, """\
defaults: &defaults {api_key: k, temperature: 0.5}
model_list:
  - model_name: a
    litellm_params: {<<: *defaults, model: openai/x}
"""))
    assert done.returncode == 0, done.stderr
