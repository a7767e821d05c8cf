"""The calculator: exact where it can be, honest where it cannot, and never long at it."""

from __future__ import annotations

import pytest

from tests.unit.tools.calling import call, fits, refused


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0.1 + 0.2", "0.3"),
        ("1/3 * 3", "1"),
        ("1249.90 * 1.19", "1487.381"),
        ("2**-3", "0.125"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("1_000 + 0xff", "1255"),
        ("sqrt(16/9)", "≈ 1.33333333333333333333333333333 (exactly 4/3)"),
        ("2**0.5", "≈ 1.41421356237309504880168872421"),
        ("log(8, 2)", "≈ 3.0"),
        ("round(1234.5678, 2)", "1234.57"),
        ("round(2.5)", "2"),
        ("max(1, 2.5, 2) - mean(1, 2)", "1"),
        ("comb(52, 5)", "2598960"),
        ("sin(pi / 6)", "≈ 0.5"),
        ("10**4000", "1" + "0" * 4000),
        ("1**10**3999", "1"),
        ("+".join(["1"] * 250), "250"),
        ("10**-4000", "1E-4000"),
    ],
)
async def test_it_calculates(expression, value):
    assert await call("calculator", expression=expression) == value


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("9**9**9", "too_large"),
        ("9" * 400 + "**" + "9" * 90, "too_large"),
        ("pi**pi**pi**pi", "too_large"),
        ("(1 + 1e-3999)**1e9", "too_large"),
        ("1e999999999", "too_large"),
        ("1e-999999999", "too_large"),
        ("1e99999999999999999999", "too_large"),
        ("1e3999 * 1e3999", "too_large"),
        ("factorial(10**9)", "too_large"),
        ("factorial(-1)", "too_large"),
        ("comb(10**8, 10**7)", "too_large"),
        ("exp(1e300)", "too_large"),
        ("sinh(1e300)", "too_large"),
        ("cosh(-1e300)", "too_large"),
        ("round(1, -99999)", "too_large"),
        ("round(1, 1e3000)", "too_large"),
        ("lcm(10**3999 + 1, 10**3998 + 7)", "too_large"),
        ("factorial(2.5)", "whole_number"),
        ("1 / 0", "undefined"),
        ("0**-1", "undefined"),
        ("5 % 0", "undefined"),
        ("5 // (1 - 1)", "undefined"),
        ("sqrt(-1)", "undefined"),
        ("(-8)**(1/3)", "undefined"),
        ("ln(0)", "undefined"),
        ("asin(2)", "undefined"),
        ("2^3", "syntax"),
        ("1,000", "syntax"),
        ("1 +", "syntax"),
        ("１+1", "syntax"),
        ("True", "syntax"),
        ("1j", "syntax"),
        ("'a' * 9", "syntax"),
        ("[1] * 9", "syntax"),
        ("1 << 9", "syntax"),
        ("x", "syntax"),
        ("sqrt()", "syntax"),
        ("sqrt(x=2)", "syntax"),
        ("max(*[1, 2])", "syntax"),
        ("__import__('os').system('id')", "syntax"),
        ("().__class__.__mro__", "syntax"),
        ("sqrt.__globals__", "syntax"),
        ("(lambda: 1)()", "syntax"),
        ("[x for x in (1,)]", "syntax"),
        ("(x := 1)", "syntax"),
        ("1 if 1 else 2", "syntax"),
        ("(" * 240 + "1" + ")" * 240, "syntax"),
        ("\0", "syntax"),
    ],
)
async def test_it_says_why_it_does_not(expression, code):
    error = await refused("calculator", expression=expression)
    assert error.code == f"calculator_{code}"
    assert error.message.endswith((".", "."))


async def test_what_is_nested_to_the_limit_ends():
    assert await call("calculator", expression="-" * 400 + "1") == "1"


def test_what_is_too_long_does_not_fit():
    assert not fits("calculator", {"expression": "1" * 501})
