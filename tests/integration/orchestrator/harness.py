"""The orchestrator over services of a test's own: ``python -m tests.integration.orchestrator.harness PLAN``.

The plan is a JSON file: the services, each a name, the arguments of ``script.py`` and what else
``Service`` takes, and how the plan is run. Everything else is the real orchestrator.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from somaagent.embedded.launch import Command
from somaagent.orchestrator.configuration import Configuration
from somaagent.orchestrator.plan import Plan
from somaagent.orchestrator.registry import NotHealthy, RestartPolicy, Service, ServiceRegistry
from somaagent.orchestrator.run import AlreadyRunning, Options, on_terminal, run
from somaagent.orchestrator.seeding import Seeding

SCRIPT = Path(__file__).with_name("script.py")


class FileThere:
    """Well while a file is there that is nobody else's; may take its time over the answer."""

    def __init__(self, path: Path, seconds: float = 0.0) -> None:
        self.path = path
        self.seconds = seconds

    def check(self, pid: int | None) -> None:
        time.sleep(self.seconds)
        if not self.path.exists():
            raise NotHealthy(f"{self.path.name} is not there.")
        whose = self.path.read_text(encoding="utf-8")
        if whose and pid is not None and whose != str(pid):
            raise NotHealthy(f"{self.path.name} is another life's.")


def service(facts: dict[str, Any], home: Path) -> Service:
    facts = dict(facts)
    name, words = facts.pop("name"), facts.pop("does", None)
    seconds = facts.pop("check_takes", 0.0)
    policy = RestartPolicy(**facts.pop("restart", {"first_delay": 0.1, "limit": 3, "window": 30.0}))
    if facts.pop("secret", False):
        seeding = Seeding(lambda: None)
        facts |= {"consume": seeding.take, "configure": seeding.finished}
    command = None
    if words is not None:
        command = Command([sys.executable, str(SCRIPT), name, str(home), *words], dict(os.environ), home)
    if not facts.get("one_shot"):
        facts["health"] = FileThere(home / f"{name}.ready", seconds)
    facts["depends_on"] = tuple(facts.get("depends_on", ()))
    return Service(name=name, command=(lambda: command) if command else None, restart=policy, **facts)


def main() -> int:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    home = Path(sys.argv[1]).parent
    registry = ServiceRegistry(service(facts, home) for facts in plan["services"])
    configuration = Configuration(
        plain={"SA01_DATA_DIR": home / "data"}.__getitem__,
        owner_environment=dict,
        settings_module=lambda: "",
    )
    options = Options(
        mode="STANDALONE",
        announce=lambda: ["Hello, person."],
        stays=plan.get("stays", True),
        terminal=on_terminal(),
        log_level="INFO",
        tick=plan.get("tick", 0.2),
        grace=plan.get("grace", 1.0),
    )
    try:
        return run(Plan(registry), configuration, options)
    except AlreadyRunning as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
