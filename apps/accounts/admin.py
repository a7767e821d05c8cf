"""What operators see of accounts: nothing of allauth's own pages."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from django.contrib import admin

admin.site.unregister(EmailAddress)
