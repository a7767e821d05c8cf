"""Which lane answers a request: the one that suits its view."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from ninja.operation import Operation, PathView

View = Callable[..., Any]
V = TypeVar("V", bound=View)
_HOLDS = "_somaagent_holds_proofs"


def is_coroutine(view: View, method: str) -> bool:
    """Whether this view answers this method with a coroutine.

    An address of ninja's is one view for several operations: the method chooses, and a method that it does
    not have is refused without waiting for anything.
    """
    if _operations(view) is None:
        return iscoroutinefunction(view)
    chosen = _operation(view, method)
    return chosen is not None and chosen.is_async


def proves(view: View, method: str | None) -> bool:
    """Whether the operation behind this view and method is one of ``holding_proofs``."""
    chosen = _operation(view, method)
    return chosen is not None and getattr(chosen.view_func, _HOLDS, False)


def _operation(view: View, method: str | None) -> Operation | None:
    operations = _operations(view)
    if operations is None:
        return None
    return next((item for item in operations.operations if method in item.methods), None)


def holding_proofs(view: V) -> V:
    """Marks a coroutine operation whose every answer comes of a script that holds its actor's ``proof``, and
    that does nothing else before. It is then called before anybody has asked whose the key is.
    """
    setattr(view, _HOLDS, True)
    return view


@functools.lru_cache(maxsize=4096)
def plain(view: View) -> View:
    """The view as a function for threads. Ninja makes one address a coroutine as soon as one operation is."""
    operations = _operations(view)
    if operations is None or not iscoroutinefunction(view):
        return view

    @functools.wraps(view)
    def called(request: HttpRequest, *arguments: Any, **keywords: Any) -> HttpResponseBase:
        return operations._sync_view(request, *arguments, **keywords)  # noqa: SLF001 ninja's own for addresses without coroutines

    return called


@functools.lru_cache(maxsize=4096)
def _operations(view: View) -> PathView | None:
    """The operations behind a view of ninja's, which it keeps in the function's closure and nowhere else."""
    for cell in getattr(view, "__closure__", None) or ():
        if isinstance(cell.cell_contents, PathView):
            return cell.cell_contents
    return None
