"""What the page of usage is asked: which days, and what a row stands for."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

EACH = [("day", "Day"), ("month", "Month")]
GROUPS = [
    ("", "Everything together"),
    ("user", "User"),
    ("agent", "Agent"),
    ("profile", "Model profile"),
    ("key", "API key"),
]
# As the API calls them: ``from`` is no name in Python.
_NAMES = {"first": "from", "last": "to"}
_NO_DAY = "Write a day as 2026-11-22."


class UsageForm(forms.Form):
    """Fields are named as those of ``/api/v1/usage``. What is left out has a default."""

    first = forms.DateField(
        label="From",
        required=False,
        input_formats=["%Y-%m-%d"],
        error_messages={"invalid": _NO_DAY},
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
    )
    last = forms.DateField(
        label="To",
        required=False,
        input_formats=["%Y-%m-%d"],
        error_messages={"invalid": _NO_DAY},
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
    )
    each = forms.ChoiceField(
        label="A row for each", choices=EACH, required=False, widget=UnfoldAdminSelectWidget
    )
    by = forms.ChoiceField(label="And each", choices=GROUPS, required=False, widget=UnfoldAdminSelectWidget)

    def __init__(self, asked: QueryDict) -> None:
        today = timezone.now().date()
        defaults = {
            "from": today.replace(day=1).isoformat(),
            "to": today.isoformat(),
            "each": "day",
            "by": "",
        }
        super().__init__({name: asked.get(name) or default for name, default in defaults.items()})

    def add_prefix(self, field_name: str) -> str:
        return _NAMES.get(field_name, field_name)

    def refuse(self, field: str, sentence: str) -> None:
        """Show what a selector found at the field that it names (``query.to``)."""
        name = field.rpartition(".")[2]
        own = {asked: ours for ours, asked in _NAMES.items()}.get(name, name)
        self.add_error(own if own in self.fields else None, sentence)


def ranges(today: date) -> list[tuple[str, dict[str, Any]]]:
    """Days that are often asked for, by name."""
    month = today.replace(day=1)
    before = month - timedelta(days=1)
    return [
        ("Last 7 days", {"from": today - timedelta(days=6), "to": today}),
        ("Last 30 days", {"from": today - timedelta(days=29), "to": today}),
        ("This month", {"from": month, "to": today}),
        ("Last month", {"from": before.replace(day=1), "to": before}),
        ("Last 12 months", {"from": _year_before(month), "to": today, "each": "month"}),
    ]


def _year_before(month: date) -> date:
    """The first of the month eleven months before this one."""
    year, number = divmod(month.year * 12 + month.month - 1 - 11, 12)
    return date(year, number + 1, 1)
