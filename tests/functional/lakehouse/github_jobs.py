"""As much of GitHub Actions as a workflow of ours needs: which jobs an event starts, and their steps in a real shell.

Expressions are evaluated from the event, variables and secrets, as GitHub does it; one that reads what is not there is an
error here. Of ``uses`` steps only the checkout does something. ``gh`` is a script that keeps comments in a folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_TOKEN = re.compile(r"'[^']*'|[A-Za-z_][\w.]*|&&|\|\||!=|==|!|[(),]|\s+")

GH = '''#!{python}
"""GitHub's command, as far as the workflow uses it: comments are files, and pulls.json says which request a commit is of."""
import json, os, pathlib, sys
folder = pathlib.Path({folder!r})
arguments = sys.argv[1:]
assert os.environ["GH_TOKEN"] == "gh-token" and arguments[0] == "api", arguments
where = next(a for a in arguments[1:] if a.startswith("repos/acme/shop/"))
body = next((a.removeprefix("body=@") for a in arguments if a.startswith("body=@")), None)
method = arguments[arguments.index("--method") + 1] if "--method" in arguments else "GET"
comments = sorted(folder.glob("*.md"))
parts = where.split("/")[3:]
if parts[0] == "commits":
    assert arguments[-1] == ".[0].number // empty", arguments
    print(json.loads((folder / "pulls.json").read_text()).get(parts[1], ""))
elif method == "GET":
    assert "startswith" in arguments[-1] and parts[2] == "comments", arguments
    for file in comments:
        if file.name.startswith(f"{{parts[1]}}-") and file.read_text().startswith("<!-- lakehouse ci -->"):
            print(file.stem)
elif method == "POST":
    (folder / f"{{parts[1]}}-{{len(comments)}}.md").write_text(pathlib.Path(body).read_text())
elif method == "PATCH":
    (folder / f"{{parts[2]}}.md").write_text(pathlib.Path(body).read_text())
else:
    sys.exit(f"unknown: {{arguments}}")
'''


class Missing(KeyError):
    """An expression reads what is not there."""


def evaluate(expression: str, context: Mapping[str, Any], functions: Mapping[str, Any]) -> Any:
    """The value of an expression of GitHub's."""
    found = []
    for token in _tokens(expression):
        words = {"&&": "and", "||": "or", "!": "not", "true": "True", "false": "False"}
        if token in words:
            found.append(f" {words[token]} ")
        elif re.match(r"[A-Za-z_]", token) and token not in functions:
            found.append(repr(_value(token, context)))
        else:
            found.append(token)
    return eval("".join(found).strip(), {"__builtins__": {}}, dict(functions))


def _tokens(expression: str) -> list[str]:
    tokens = _TOKEN.findall(expression)
    assert "".join(tokens) == expression, f"cannot read {expression!r}"
    return tokens


def _value(path: str, context: Mapping[str, Any]) -> Any:
    value: Any = context
    first, *names = path.split(".")
    if first not in context:
        raise Missing(path)
    value = context[first]
    for name in names:
        if first in ("vars", "secrets"):
            return value.get(name, "")
        if not isinstance(value, Mapping):
            return ""
        if name not in value and path.startswith("github.event."):
            return ""
        if name not in value:
            raise Missing(path)
        value = value[name]
    return value


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job ended."""

    name: str
    code: int
    output: str
    summary: str


class Actions:
    """A repository on GitHub with a workflow."""

    def __init__(
        self,
        folder: Path,
        workflow: Path,
        repository: Path,
        *,
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self.repository = repository
        self.workflow = yaml.safe_load(workflow.read_text())
        self.variables = variables
        self.secrets = secrets
        self.comments = folder / "comments"
        self.bin = folder / "bin"
        for made in (self.comments, self.bin):
            made.mkdir(parents=True)
        self._program("gh", GH.format(python=sys.executable, folder=str(self.comments)))
        self._program("pip", '#!/bin/sh\ntest "$1" = install\n')
        (self.comments / "pulls.json").write_text("{}")

    def _program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def merged(self, commit: str, number: int) -> None:
        """Let a commit be known as that of a merged pull request."""
        file = self.comments / "pulls.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), commit: str(number)}))

    def happens(self, name: str, event: Mapping[str, Any], *, ref: str, commit: str) -> list[Ended]:
        """An event: all jobs that it starts are run, at a commit."""
        github = {
            "event_name": name,
            "event": event,
            "ref": ref,
            "sha": commit,
            "repository": "acme/shop",
            "actor": "ann",
            "token": "gh-token",
        }
        context = {"github": github, "vars": self.variables, "secrets": self.secrets}
        triggers = self.workflow[True]  # YAML reads "on" so
        assert name in triggers
        if name == "pull_request":
            assert event["action"] in triggers[name]["types"]
        return [
            self._run(job, steps, context)
            for job, steps in self.workflow["jobs"].items()
            if evaluate(steps["if"].strip(), context, self._functions(failed=False))
        ]

    def _functions(self, *, failed: bool) -> dict[str, Any]:
        def hash_files(*patterns: str) -> str:
            return "hash" if any((self.repository / pattern).exists() for pattern in patterns) else ""

        return {"hashFiles": hash_files, "cancelled": lambda: False, "success": lambda: not failed}

    def _filled(self, text: Any, context: Mapping[str, Any]) -> str:
        functions = self._functions(failed=False)
        return _EXPRESSION.sub(lambda m: str(evaluate(m[1].strip(), context, functions)), str(text))

    def _environment(self, said: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, str]:
        return {name: self._filled(value, context) for name, value in said.items()}

    def _run(self, name: str, job: Mapping[str, Any], context: Mapping[str, Any]) -> Ended:
        assert self._filled(job["concurrency"]["group"], context)
        files = self.folder / "files"
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        (files / "event.json").write_text(json.dumps(context["github"]["event"]))
        github = context["github"]
        hidden = ("GITHUB_", "LAKEHOUSE_", "DBT_", "CI_")
        base = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        base |= {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CI": "true",
            "GITHUB_EVENT_NAME": github["event_name"],
            "GITHUB_EVENT_PATH": str(files / "event.json"),
            "GITHUB_REF": github["ref"],
            "GITHUB_SHA": github["sha"],
            "GITHUB_REPOSITORY": github["repository"],
            "GITHUB_STEP_SUMMARY": str(files / "summary.md"),
            "RUNNER_TEMP": str(files),
            "DO_NOT_TRACK": "1",
            "NO_COLOR": "1",
        }
        base |= self._environment(self.workflow.get("env", {}), context)
        code, output = 0, ""
        for step in job["steps"]:
            condition = str(step.get("if", "success()"))
            match = _EXPRESSION.fullmatch(condition)
            functions = self._functions(failed=code != 0)
            plain = "cancelled" not in condition and "success" not in condition
            if not evaluate((match[1] if match else condition).strip(), context, functions) or (plain and code):
                continue
            if "uses" in step:
                if step["uses"].startswith("actions/checkout@"):
                    subprocess.run(
                        ["git", "checkout", "-q", "--detach", github["sha"]], cwd=self.repository, check=True
                    )
                continue
            environment = {**base, **self._environment(step.get("env", {}), context)}
            ended = subprocess.run(
                ["bash", "-e", "-c", step["run"]],
                cwd=self.repository,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=240,
            )
            output += ended.stdout
            code = code or ended.returncode
        summary = files / "summary.md"
        return Ended(name=name, code=code, output=output, summary=summary.read_text() if summary.exists() else "")
