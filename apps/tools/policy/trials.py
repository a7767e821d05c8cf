"""The policy's own tests: rules named ``test_…`` in ``*_test.rego``, as ``opa test`` has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .child import Evaluator
from .failures import Failure, PolicyError
from .sources import Sources

SECONDS = 10.0
_PACKAGE = re.compile(r"^package\s+([\w.]+)", re.MULTILINE)
_TEST = re.compile(r"^test_\w+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Trial:
    """One test: ``problem`` is empty where it passed."""

    file: str
    name: str
    problem: str = ""


def run(sources: Sources) -> Iterator[Trial]:
    """Every test, in the order of files and lines. Raises ``PolicyError`` where the modules do not parse."""
    found = [
        (file, f"{package[1].replace('.', '/')}/{name}")
        for file, text in sorted(sources.tests.items())
        if (package := _PACKAGE.search(text))
        for name in dict.fromkeys(_TEST.findall(text))
    ]
    if not found:
        return
    evaluator = Evaluator({**sources.modules, **sources.tests}, [rule for _, rule in found])
    try:
        evaluator.start()
        for file, rule in found:
            yield Trial(file, rule.rpartition("/")[2], _problem(evaluator, rule))
    finally:
        evaluator.end()


def _problem(evaluator: Evaluator, rule: str) -> str:
    try:
        value = evaluator.ask(rule, "{}", SECONDS)
    except PolicyError as error:
        return "is not true" if error.failure is Failure.UNDEFINED else error.reason
    return "" if value is True else f"is {value!r}, not true"
