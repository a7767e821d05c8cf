"""Actions of the admin that ask on a page of their own before anything is done.

    @action(description="Suspend the chosen things", permissions=["change"])
    def suspend(self, request, things):
        return self.confirmed(request, things, SUSPEND, self._suspend)

For ``actions`` (rows that were chosen) and ``actions_detail`` (the row that is open) alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from somaagent.errors import SomaError

CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: ``title`` is above the rows, ``consequences`` below, ``button`` says what is done."""

    title: str
    consequences: str
    button: str
    dangerous: bool = True


class ConfirmingAdmin:
    """For a ``ModelAdmin``."""

    def in_words(self, row: Any) -> str:
        """What the page says of a row that something is about to be done to."""
        return str(row)

    def confirmed(
        self,
        request: HttpRequest,
        rows: Iterable[Any],
        question: Question,
        act: Callable[[HttpRequest, Any], HttpResponse | None],
    ) -> HttpResponse | None:
        """The page that asks; once it was answered, ``act`` on each row, and what the last one answers with.

        An error of the domain is told, and the other rows go on.
        """
        chosen = list(rows)
        if request.method != "POST" or request.POST.get(CONFIRMED) != "yes":
            return self._asked(request, chosen, question)
        answer = None
        for row in chosen:
            try:
                with transaction.atomic():
                    answer = act(request, row)
            except SomaError as error:
                messages.error(request, f"{row}: {error.message}")
        return answer

    def confirmed_here(
        self,
        request: HttpRequest,
        object_id: str,
        question: Question,
        act: Callable[[HttpRequest, Any], HttpResponse | None],
    ) -> HttpResponse:
        """The same for the row that is open; its page comes after."""
        row: models.Model | None = self.get_object(request, object_id)  # type: ignore[attr-defined]  # a ModelAdmin's
        if row is None:
            raise Http404
        return self.confirmed(request, [row], question, act) or redirect(self._page_of(row))

    def shown_once(self, request: HttpRequest, row: models.Model, *, title: str, secret: str) -> HttpResponse:
        """A page with a secret that is kept nowhere: no message waits with it in a cookie."""
        context = self._context(request, title) | {"row": row, "secret": secret, "back": self._page_of(row)}
        return TemplateResponse(request, "platform_admin/shown_once.html", context)

    def _asked(self, request: HttpRequest, rows: list[Any], question: Question) -> TemplateResponse:
        posted = request.POST.get("action", "")
        back = request.path if posted else self._page_of(rows[0])
        context = self._context(request, question.title) | {
            "question": question,
            "rows": [(row, self.in_words(row)) for row in rows],
            "action": posted,
            "checkbox": ACTION_CHECKBOX_NAME,
            "confirmed": CONFIRMED,
            "back": back,
        }
        return TemplateResponse(request, "platform_admin/confirm.html", context)

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        site = self.admin_site  # type: ignore[attr-defined]  # a ModelAdmin's
        return {**site.each_context(request), "title": title, "opts": self.opts}  # type: ignore[attr-defined]  # as above

    def _page_of(self, row: models.Model) -> str:
        facts = row._meta  # noqa: SLF001 Django's documented model API
        return reverse(f"admin:{facts.app_label}_{facts.model_name}_change", args=[row.pk])
