"""What a person does with the page, in a real browser."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.journeys.gateway import Gateway, Person

OWN_PASSWORD = "correct-horse-battery-staple"
SECONDS = 30_000
# What is looked for is waited for as long as what is clicked: a machine that is busy changes no story.
expect.set_options(timeout=SECONDS)


class Visitor:
    """Somebody at the page. What the page's own code complains about is kept in ``complaints``."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(SECONDS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def sign_in(self, person: Person, password: str | None = None) -> None:
        self.page.goto(f"{self.url}/sign-in/")
        self.page.get_by_label("Username").fill(person.name)
        self.page.get_by_label("Password").fill(password or person.password)
        self.page.get_by_role("button", name="Sign in").click()

    def choose_password(self, old: str, new: str = OWN_PASSWORD) -> None:
        self.page.get_by_label("Old password").fill(old)
        self.page.get_by_label("New password", exact=True).fill(new)
        self.page.get_by_label("New password confirmation").fill(new)
        self.page.get_by_role("button", name="Save the password").click()

    def say(self, text: str) -> None:
        # The page's modules have run by then: before, Enter would only begin a new line.
        self.page.wait_for_load_state("domcontentloaded")
        box = self.page.get_by_label("Your message")
        box.fill(text)
        box.press("Enter")

    def ask(self, text: str) -> Locator:
        """Say something and wait for the end of its answer."""
        before = self.answers.count()
        self.say(text)
        expect(self.answers).to_have_count(before + 1)
        return self.answered()

    def answered(self) -> Locator:
        """The newest answer, once it is whole."""
        expect(self.page.locator("article.answer[aria-busy=true]")).to_have_count(0, timeout=SECONDS)
        return self.answers.last

    @property
    def answers(self) -> Locator:
        return self.page.locator("article.answer")

    @property
    def said(self) -> Locator:
        return self.page.locator("article.said")

    @property
    def words(self) -> Locator:
        """What was said, without what can be done with it."""
        return self.page.locator("article.said .said-text")

    def heard(self) -> Locator:
        """What a screen reader was told last."""
        return self.page.get_by_role("status")

    def edit(self, number: int) -> Locator:
        """Begin to edit the thing that was said so many places down; gives the box."""
        said = self.said.nth(number)
        said.hover()
        said.get_by_role("button", name="Edit what you said").click()
        return said.get_by_label("What you say instead")

    @property
    def chats(self) -> Locator:
        return self.page.locator("#sessions li.session > a")

    def another_tab(self) -> Visitor:
        tab = Visitor(self.page.context.new_page(), self.url)
        tab.page.goto(self.page.url)
        return tab

    def choose(self, action: str) -> None:
        """From the menu of the first chat in the list."""
        self.page.wait_for_load_state("domcontentloaded")
        self.page.get_by_role("button", name=re.compile("What to do with")).first.click()
        self.page.locator("#session-menu").get_by_role("button", name=action).click()


@contextlib.contextmanager
def visiting(browser: Browser, gateway: Gateway, **context: Any) -> Iterator[Visitor]:
    """A visitor with a fresh profile. Their page must not have complained at the end."""
    profile = browser.new_context(**context)
    visitor = Visitor(profile.new_page(), gateway.url)
    yield visitor
    profile.close()
    assert visitor.complaints == [], visitor.complaints  # nobody rewrites the assertions of this module
