"""Whether the policy of tools is there and parses. Reads the files as ``apps.tools.policy`` will."""

from __future__ import annotations

from pathlib import Path

_RULES = ["somaagent/tools/decision", "somaagent/approvals/decision"]


def unsound(directory: Path) -> str:
    """The end of a sentence about what is wrong with a folder of Rego files; empty for a sound one."""
    from regopy import Interpreter  # noqa: PLC0415 - only a check needs it
    from regopy.rego_shared import LogLevel, RegoError  # noqa: PLC0415 - see above

    interpreter = Interpreter()
    interpreter.log_level = LogLevel.NONE
    try:
        files = [path for path in sorted(directory.rglob("*.rego")) if not path.name.endswith("_test.rego")]
        for path in files:
            interpreter.add_module(path.relative_to(directory).as_posix(), path.read_text(encoding="utf-8"))
        sound = bool(files) and interpreter.build(None, _RULES).ok()
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {error}"
    except RegoError as error:
        return f"does not parse: {' '.join(str(error).split())[:400]}"
    if not files:
        return "holds no *.rego file."
    return "" if sound else "does not compile."
