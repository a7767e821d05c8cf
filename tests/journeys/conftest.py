"""A gateway that runs, and a real browser: what the journeys have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from django.db import connection
from playwright.sync_api import Browser, sync_playwright
from pytest_django import DjangoDbBlocker

from tests.journeys import chromium
from tests.journeys.gateway import Gateway, another_gateway, running_gateway, running_worker
from tests.journeys.page import Visitor, visiting
from tests.stack import RunningStack


@pytest.fixture(scope="session")
def gateway(
    stack: RunningStack,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """The whole gateway over HTTP, in front of the scripted model. One for all journeys."""

    def in_database(function: Callable[[], Any]) -> Any:
        # In a thread of its own: Playwright has an event loop in this one, where Django refuses to work.
        def call() -> Any:
            with django_db_blocker.unblock():
                try:
                    return function()
                finally:
                    connection.close()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(call).result()

    with running_gateway(stack, tmp_path_factory.mktemp("gateway"), in_database) as running:
        yield running


@pytest.fixture(scope="session")
def neighbour(
    gateway: Gateway, stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Another gateway of the same house, for all that stop none: its address without a slash at the end."""
    with another_gateway(gateway, stack, tmp_path_factory.mktemp("neighbour")) as url:
        yield url


@pytest.fixture(scope="module")
def worker(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker, for the stories of one file: others count on there being none."""
    with running_worker(stack, tmp_path_factory.mktemp("worker")):
        yield


@pytest.fixture(scope="module")
def browser(stack: RunningStack) -> Iterator[Browser]:
    """A Chromium with a fresh profile; fails where none can be had.

    Not kept for longer: while Playwright runs, its event loop runs in this thread, and no other can.
    """
    flags = [*chromium.FLAGS, stack.certificate.browser_flag]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium.path(), args=flags)
        yield running
        running.close()


@pytest.fixture
def visitor(browser: Browser, gateway: Gateway) -> Iterator[Visitor]:
    """A member who is signed in, in front of a model that remembers nothing."""
    gateway.model.reset()
    with visiting(browser, gateway, viewport={"width": 1280, "height": 800}) as somebody:
        somebody.sign_in(gateway.newcomer(one_time=False))
        yield somebody


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> str:
    """An API key of a newcomer."""
    return gateway.newcomer(one_time=False).api_key


@pytest.fixture
def client(gateway: Gateway, key: str) -> openai.OpenAI:
    """The official client of OpenAI's API, in front of a model that remembers nothing."""
    gateway.model.reset()
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)
