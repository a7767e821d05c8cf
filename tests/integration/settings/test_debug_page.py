"""Django's debug page, made by a view that fails with secrets in its hands."""

from __future__ import annotations

from tests.integration.settings.conftest import Installation
from tests.integration.settings.test_boot import secret_values

SCRIPT = """
import os, sys, types
import settings as ours
os.environ.setdefault("DJANGO_SETTINGS_MODULE", ours.module_for_environment())
from django.conf import settings
import django
django.setup()
from django.urls import path

def view(request):
    import psycopg
    password = settings.DATABASES["default"]["PASSWORD"]
    innocent = [settings.SECRET_KEY, {"deep": (settings.VALKEY["password"],)}]
    padded = "x" * 4090 + settings.SECRET_KEY
    session = settings.SECRETS._session
    try:
        at = settings.DATABASES["default"]
        psycopg.connect(host=at["HOST"], port=at["PORT"], user=at["USER"], password=at["PASSWORD"])
    except psycopg.Error as error:
        raise RuntimeError(f"cannot connect with {innocent[0]} or {password}") from error

urls = types.ModuleType("urls_of_the_story")
urls.urlpatterns = [path("fail/", view)]
sys.modules["urls_of_the_story"] = urls
settings.ROOT_URLCONF = "urls_of_the_story"
settings.MIDDLEWARE = []
from django.test import Client
client = Client(raise_request_exception=False, headers={"host": "agents.example.org"})
for accept in ("text/html", "text/plain"):
    response = client.post("/fail/?key=" + settings.SECRET_KEY, {"note": settings.SECRET_KEY},
        headers={"authorization": "Bearer soma_key_of_the_story", "accept": accept})
    print(response.status_code, response.content.decode())
"""


def test_it_shows_no_secret_whatever_holds_it(installation: Installation):
    shown = installation.run("-c", SCRIPT, environment=installation.with_(SA01_DEBUG="true"))

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("RuntimeError") > 2
    assert "cannot connect with •••• or ••••" in shown.stdout
    assert "psycopg" in shown.stdout
    for value in secret_values(installation):
        assert value not in shown.stdout
        assert value[:12] not in shown.stdout  # nor the part that a cut would leave
    assert "soma_key_of_the_story" not in shown.stdout
