"""Print, as JSON, what a mode consists of. Run in a process of its own: a mode is chosen once."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import settings

os.environ["DJANGO_SETTINGS_MODULE"] = settings.module_for_environment()

import django

django.setup()

from django.apps import apps
from django.conf import settings as django_settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.urls import URLPattern, URLResolver, get_resolver

from somaagent.api import api

SECRET = ("SECRET", "PASSWORD")


def routes(resolver: URLResolver, prefix: str = "") -> list[str]:
    found = []
    for entry in resolver.url_patterns:
        place = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            found.append(place)
        else:
            found += routes(entry, place)
    return found


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str, sort_keys=True))


def described() -> dict[str, Any]:
    names = [
        name for name in dir(django_settings) if name.isupper() and not any(word in name for word in SECRET)
    ]
    return {
        "apps": [config.name for config in apps.get_app_configs()],
        "models": {
            model._meta.label: [(field.name, type(field).__name__) for field in model._meta.get_fields()]
            for model in apps.get_models()
        },
        "migrations": sorted(map(list, MigrationLoader(connection).disk_migrations)),
        "routes": routes(get_resolver()),
        "openapi": plain(api.get_openapi_schema()),
        "settings": {name: plain(getattr(django_settings, name)) for name in names},
    }


if __name__ == "__main__":
    json.dump(described(), sys.stdout)
