"""``calculator``: arithmetic as it is meant, not as a float has it."""

from __future__ import annotations

import asyncio

from apps.tools.arithmetic import LONGEST, calculated
from apps.tools.tool import Arguments, Caller, Risk, Tool


async def run(caller: Caller, arguments: Arguments) -> str:
    return await asyncio.to_thread(calculated, arguments["expression"])


TOOL = Tool(
    name="calculator",
    description=(
        "The value of an arithmetic expression, exact for decimal numbers and fractions; a result that had "
        "to be rounded begins with ≈. Operators: + - * / // % ** and parentheses. Functions: abs, min, max, "
        "sum, mean, round(x, places), floor, ceil, factorial, comb, perm, gcd, lcm, sqrt, cbrt, exp, ln, "
        "log10, log(x, base), degrees, radians, sin, cos, tan, asin, acos, atan (radians), sinh, cosh, tanh. "
        "Constants: pi, e, tau. No variables, no units, no thousands separators."
    ),
    parameters={
        "type": "object",
        "properties": {
            "expression": {
                "type": "string",
                "minLength": 1,
                "maxLength": LONGEST,
                "description": "For example 1249.90 * 1.19 or sqrt(2) / 3.",
            }
        },
        "required": ["expression"],
        "additionalProperties": False,
    },
    run=run,
    idempotent=True,
    needs_approval=False,
    risk=Risk.LOW,
    seconds=10,
    most_characters=6000,
)
