"""Numbers that are exact where they can be, the functions on them, and how large they may become.

A number is a ``Fraction``, or where it is irrational one of mpmath's, of ``DIGITS`` digits. What would become
longer than ``MOST_BITS`` is refused before it is computed, or at once after where it cannot be much longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

from somaagent.errors import SomaError, invalid

Number: TypeAlias = Any  # Fraction or mpmath's mpf; mpmath has no types
DIGITS = 50
MOST_DIGITS = 4000
MOST_BITS = 13_288  # of 10 ** MOST_DIGITS, rounded up
MOST_COUNTED = 1000
_MOST_EXPONENT = 10**9


def refused(code: str, message: str) -> SomaError:
    return invalid("expression", message, code=f"calculator_{code}")


def too_large() -> SomaError:
    return refused("too_large", f"A number in it has more than {MOST_DIGITS} digits: that is too large.")


def _no_real() -> SomaError:
    return refused("undefined", "This has no real number as its value.")


class Numbers:
    """Constants, functions and powers of one calculation: mpmath's contexts are not for several threads."""

    def __init__(self) -> None:
        from mpmath import MPContext  # noqa: PLC0415  a second to import, for who calculates alone

        self._digits = MPContext()
        self._digits.dps = DIGITS
        self.constants: Mapping[str, Number] = {
            "pi": +self._digits.pi,
            "e": +self._digits.e,
            "tau": 2 * self._digits.pi,
        }
        self.functions: Mapping[str, Any] = {
            "abs": abs,
            "min": min,
            "max": max,
            "sum": lambda *numbers: sum(numbers, Fraction(0)),
            "mean": lambda first, *more: sum(more, first) / (1 + len(more)),
            "round": _rounded,
            "floor": lambda x: Fraction(math.floor(fraction_of(x))),
            "ceil": lambda x: Fraction(math.ceil(fraction_of(x))),
            "factorial": lambda n: Fraction(math.factorial(_counted(n))),
            "comb": lambda n, k: Fraction(math.comb(_counted(n), _counted(k))),
            "perm": lambda n, k: Fraction(math.perm(_counted(n), _counted(k))),
            "gcd": lambda *numbers: Fraction(math.gcd(*map(_whole, numbers))),
            "lcm": _least_multiple,
            "sqrt": self._root,
            "exp": lambda x: self.power(self.constants["e"], x),
            "log": lambda x, base: self._real("ln", x) / self._real("ln", base),
            "degrees": lambda x: x * 180 / self._digits.pi,
            "radians": lambda x: x * self._digits.pi / 180,
        } | {name: self._of_digits(name) for name in _OF_DIGITS}

    def power(self, base: Number, exponent: Number) -> Number:
        """Exact for a fraction to a whole power."""
        if abs(base) not in (0, 1):
            self._check_growth(base, exponent)
        if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
            return self.fits(base ** int(exponent))
        return self._checked(self._digits.power(self._digits.mpf(base), self._digits.mpf(exponent)))

    def _check_growth(self, base: Number, exponent: Number) -> None:
        """Of a fraction, numerator and denominator grow; of an irrational number its magnitude does."""
        if abs(exponent) > _MOST_EXPONENT:
            raise too_large()
        if isinstance(base, Fraction):
            growth = max(math.log2(abs(base.numerator)), math.log2(base.denominator))
        else:
            growth = abs(float(self._digits.ln(abs(base)))) / math.log(2)
        _check_bits(growth * abs(float(exponent)))

    def fits(self, number: Number) -> Number:
        """The number itself, if it is not too large."""
        if isinstance(number, Fraction):
            _check_bits(max(number.numerator.bit_length(), number.denominator.bit_length()))
            return number
        return self._checked(number)

    def shown(self, number: Number, digits: int) -> str:
        """An irrational number, rounded."""
        return str(self._digits.nstr(number, digits))

    def _of_digits(self, name: str) -> Callable[[Number], Number]:
        return lambda x: self._real(name, x)

    def _real(self, name: str, x: Number) -> Number:
        return self._checked(getattr(self._digits, name)(self._digits.mpf(x)))

    def _root(self, x: Number) -> Number:
        if isinstance(x, Fraction) and x >= 0:
            root = Fraction(math.isqrt(x.numerator), math.isqrt(x.denominator))
            if root * root == x:
                return root
        return self._real("sqrt", x)

    def _checked(self, number: Number) -> Number:
        if not isinstance(number, self._digits.mpf) or not self._digits.isfinite(number):
            raise _no_real()
        if number != 0:
            _check_bits(abs(self._digits.mag(number)))
        return number


# Those of mpmath's that are taken as they are, of one number.
_OF_DIGITS = (
    "ln", "log10", "cbrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
)  # fmt: skip
# Of large numbers these become far larger than what they are of.
GROWING = frozenset({"sinh", "cosh"})


def fraction_of(number: Number) -> Fraction:
    """A number of digits is a fraction, too: of the digits that it has."""
    if isinstance(number, Fraction):
        return number
    return Fraction(int(number.man)) * Fraction(2) ** int(number.exp)


def _check_bits(bits: float | Fraction) -> None:
    if bits > MOST_BITS:
        raise too_large()


def _rounded(x: Number, places: Number = Fraction(0)) -> Fraction:
    """Half to even. To a negative number of places: to tens, hundreds …"""
    digits = _whole(places)
    if abs(digits) > MOST_DIGITS:
        raise too_large()
    return Fraction(round(fraction_of(x), digits))


def _whole(number: Number) -> int:
    if not isinstance(number, Fraction) or number.denominator != 1:
        raise refused("whole_number", "This function takes whole numbers.")
    return int(number)


def _counted(number: Number) -> int:
    whole = _whole(number)
    if not 0 <= whole <= MOST_COUNTED:
        raise refused("too_large", f"factorial, comb and perm take whole numbers from 0 to {MOST_COUNTED}.")
    return whole


def _least_multiple(*numbers: Number) -> Fraction:
    found = 1
    for number in numbers:
        found = math.lcm(found, _whole(number))
        _check_bits(found.bit_length())
    return Fraction(found)
