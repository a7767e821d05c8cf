"""``python``: code of the model's own, in a sandbox."""

from __future__ import annotations

from apps.tools.sandbox import executed
from apps.tools.tool import Arguments, Caller, Risk, Tool


async def run(caller: Caller, arguments: Arguments) -> str:
    return await executed(arguments["code"])


TOOL = Tool(
    name="python",
    description=(
        "Runs Python code in a sandbox and gives what it prints, and the value of the last line where that "
        "is an expression. At most 5 seconds and 64 MB. Nothing is kept between calls. No files, no network, "
        "no packages. Importable: asyncio, base64, binascii, bisect, collections, copy, csv, dataclasses, "
        "datetime, decimal, functools, hashlib, itertools, json, math, random, re, time, tomllib, typing, "
        "unicodedata. Not supported: class inheritance, yield, del, with open()."
    ),
    parameters={
        "type": "object",
        "properties": {
            "code": {"type": "string", "minLength": 1, "maxLength": 20_000, "description": "Python source."}
        },
        "required": ["code"],
        "additionalProperties": False,
    },
    run=run,
    idempotent=True,
    needs_approval=False,
    risk=Risk.LOW,
    seconds=30,
    most_characters=42_000,
)
