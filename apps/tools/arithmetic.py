"""Arithmetic that is exact as long as it can be, and that ends: what ``calculator`` runs.

An expression is parsed by Python and walked here; nothing of it is executed. Numbers are fractions, so that
0.1 + 0.2 is 0.3 and 1/3*3 is 1. What comes of roots, logarithms, angles and broken powers is rounded, and
says so.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction
from typing import Any

from somaagent.errors import SomaError

from .numbers import GROWING, MOST_BITS, MOST_DIGITS, Number, Numbers, refused, too_large

LONGEST = 500
SHOWN_DIGITS = 30
_EXACT_DIGITS = 60
_SHORT = 40
_PLAIN = 60

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(math.floor(a / b)),
    ast.Mod: operator.mod,
}


def calculated(expression: str) -> str:
    """The value of an expression of at most ``LONGEST`` characters, as text; rounded ones begin with ≈.

    Raises ``calculator_syntax``, ``calculator_undefined``, ``calculator_too_large`` or
    ``calculator_whole_number`` (INVALID).
    """
    if len(expression) > LONGEST:
        raise refused("syntax", f"An expression has at most {LONGEST} characters.")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _Walk(expression.strip()).result(tree.body)
    except ZeroDivisionError as error:
        raise refused("undefined", "It divides by zero.") from error
    except (SyntaxError, ValueError) as error:
        raise refused("syntax", "Write one expression, such as (2.5 + 3) * 4 / 7 or sqrt(2).") from error
    except (RecursionError, MemoryError) as error:
        raise refused("syntax", "It is nested too deeply.") from error


class _Walk:
    def __init__(self, source: str) -> None:
        self._source, self._numbers = source, Numbers()

    def result(self, node: ast.expr) -> str:
        number = self._value(node)
        if not isinstance(number, Fraction):
            return f"≈ {self._numbers.shown(number, SHOWN_DIGITS)}"
        if number.denominator == 1:
            return str(number.numerator)
        try:
            exact = Context(prec=_EXACT_DIGITS, traps=[Inexact])
            return _plain(exact.divide(Decimal(number.numerator), Decimal(number.denominator)))
        except Inexact:
            near = Context(prec=SHOWN_DIGITS).divide(Decimal(number.numerator), Decimal(number.denominator))
            fraction = f" (exactly {number})" if len(str(number)) <= _SHORT else ""
            return f"≈ {_plain(near)}{fraction}"

    def _value(self, node: ast.expr) -> Number:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._literal(node)
            case ast.UnaryOp(op=ast.UAdd() | ast.USub() as sign):
                value = self._value(node.operand)
                return -value if isinstance(sign, ast.USub) else value
            case ast.BinOp():
                return self._combined(node)
            case ast.Name(id=name) if name in self._numbers.constants:
                return self._numbers.constants[name]
            case ast.Call(func=ast.Name(id=name), keywords=[]) if name in self._numbers.functions:
                return self._called(name, [self._value(each) for each in node.args])
        raise self._unknown()

    def _combined(self, node: ast.BinOp) -> Number:
        if isinstance(node.op, ast.BitXor):
            raise refused("syntax", "Write powers with **, for example 2**10.")
        combine = self._numbers.power if isinstance(node.op, ast.Pow) else _BINARY.get(type(node.op))
        if combine is None:
            raise self._unknown()
        return self._numbers.fits(combine(self._value(node.left), self._value(node.right)))

    def _unknown(self) -> SomaError:
        known = ", ".join([*self._numbers.functions, *self._numbers.constants])
        return refused(
            "syntax",
            "It has something in it that is neither a number, one of + - * / // % **, a function nor a "
            f"constant of these: {known}.",
        )

    def _literal(self, node: ast.Constant) -> Number:
        """As it is written: Python's own reading of 0.1 is not 0.1."""
        text = ast.get_source_segment(self._source, node) or ""
        if isinstance(node.value, int):
            number = Fraction(node.value)
        else:
            try:
                decimal = Decimal(text)
            except InvalidOperation as error:
                raise too_large() from error
            if decimal and abs(decimal.adjusted()) > MOST_DIGITS:
                raise too_large()
            number = Fraction(decimal)
        self._numbers.fits(number)
        return number

    def _called(self, name: str, arguments: list[Number]) -> Number:
        if name in GROWING and arguments and abs(arguments[0]) > MOST_BITS:
            raise too_large()
        try:
            return self._numbers.fits(self._numbers.functions[name](*arguments))
        except TypeError as error:
            raise refused("syntax", f"{name} takes another number of arguments.") from error


def _plain(number: Decimal) -> str:
    """Without an exponent where that can be read, and without zeros at the end."""
    if number and abs(number.adjusted()) > _PLAIN:
        return str(number.normalize(Context(prec=_EXACT_DIGITS)))
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
