"""Which lane answers a request: the one that suits its view."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from ninja.operation import PathView

View = Callable[..., Any]


def is_coroutine(view: View, method: str) -> bool:
    """Whether this view answers this method with a coroutine.

    An address of ninja's is one view for several operations: the method chooses, and a method that it does
    not have is refused without waiting for anything.
    """
    operations = _operations(view)
    if operations is None:
        return iscoroutinefunction(view)
    chosen = next((item for item in operations.operations if method in item.methods), None)
    return chosen is not None and chosen.is_async


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
