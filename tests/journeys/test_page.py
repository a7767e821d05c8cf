"""People chat on the page, in a real browser, with a model that does what it is told."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.journeys.page import OWN_PASSWORD, visiting

MARKDOWN = """say: ## Reading

Some **bold** words and `code`.

```python
def area(r):
    return 3.14 * r
```

| a | b |
|---|--:|
| 1 | 2 |

- [x] done

<script>window.hacked = true</script> <img src=x onerror="window.hacked = true">

[click](javascript:alert(1)) and https://example.org/page and ![picture](http://evil.invalid/x.png)"""


def test_a_newcomer_signs_in_chooses_a_password_and_chats(browser, gateway):
    newcomer = gateway.newcomer()
    with visiting(browser, gateway) as somebody:
        page = somebody.page
        page.goto(f"{gateway.url}/")
        expect(page).to_have_url(re.compile(r"/sign-in/\?next=/$"))
        somebody.sign_in(newcomer, "a wrong one")
        expect(page.get_by_role("alert")).to_contain_text("do not belong together")
        somebody.sign_in(newcomer)
        expect(page.get_by_role("heading", name="Choose your password")).to_be_visible()
        page.goto(f"{gateway.url}/")
        expect(page.get_by_role("heading", name="Choose your password")).to_be_visible()
        somebody.choose_password(newcomer.password, newcomer.password)
        expect(page.get_by_text("This is the password that you have")).to_be_visible()
        somebody.choose_password(newcomer.password)
        expect(page.get_by_text("No chats yet")).to_be_visible()
        expect(somebody.ask("say: Welcome!")).to_contain_text("Welcome!")
        page.get_by_role("button", name=newcomer.name).click()
        page.get_by_role("button", name="Sign out").click()
        somebody.sign_in(newcomer, OWN_PASSWORD)
        expect(somebody.chats).to_have_text(["say: Welcome!"])


def test_markdown_is_shown_and_what_is_dangerous_in_it_is_not(visitor):
    answer = visitor.ask(MARKDOWN)
    prose = answer.locator(".prose")
    expect(prose.get_by_role("heading", name="Reading")).to_be_visible()
    expect(prose.locator("strong")).to_have_text("bold")
    expect(prose.locator("pre .k").first).to_have_text("def")
    expect(prose.locator("td.align-right")).to_have_text("2")
    expect(prose.get_by_role("checkbox")).to_be_checked()
    assert "<script>window.hacked = true</script>" in prose.inner_text()
    assert visitor.page.evaluate("window.hacked") is None
    expect(prose.locator("img, script")).to_have_count(0)
    links = prose.get_by_role("link")
    assert [link.get_attribute("href") for link in links.all()] == [
        "https://example.org/page",
        "http://evil.invalid/x.png",
    ]
    assert {link.get_attribute("rel") for link in links.all()} == {"noopener noreferrer nofollow"}


def test_an_answer_appears_while_it_is_written_and_can_be_stopped_and_tried_again(visitor):
    page = visitor.page
    visitor.say("slow 0.1: " + " ".join(f"word{n}" for n in range(300)))
    expect(visitor.answers.last).to_contain_text("word5")
    expect(visitor.answers.last).to_have_attribute("aria-busy", "true")
    page.get_by_role("button", name="Stop the answer").click()
    stopped = visitor.answered()
    expect(stopped).to_contain_text("Stopped.")
    expect(stopped).to_contain_text("word5")
    page.get_by_role("button", name="Try again").click()
    expect(visitor.answers.last).to_have_attribute("aria-busy", "true")
    expect(visitor.answers.last).to_contain_text("word3")
    page.get_by_role("button", name="Stop the answer").click()
    again = visitor.answered()
    expect(visitor.answers).to_have_count(1)
    expect(again.get_by_role("group", name="Version 2 of 2")).to_be_visible()


def test_a_failed_answer_says_why_and_is_tried_again(visitor, gateway):
    gateway.model.script("fail 503", "fail 503", "fail 503", "say: Better now.")
    failed = visitor.ask("Hello?")
    expect(failed).to_contain_text("No whole answer came.")
    expect(failed).to_contain_text("503")
    gateway.model.reset()
    gateway.model.script("say: Better now.")
    visitor.page.get_by_role("button", name="Try again").click()
    expect(visitor.answers.last).to_contain_text("Better now.")
    expect(visitor.answers).to_have_count(1)
    visitor.page.reload()
    expect(visitor.answers).to_have_count(1)
    expect(visitor.answered()).to_contain_text("Better now.")


def test_what_the_model_thinks_is_folded_away_above_its_answer(visitor):
    answer = visitor.ask("think: It is 42.")
    thoughts = answer.get_by_text("Thoughts")
    expect(answer.locator(".prose")).to_have_text("It is 42.")
    expect(answer.get_by_text("Let me see")).to_be_hidden()
    thoughts.click()
    expect(answer.get_by_text("Let me see")).to_be_visible()
    visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    visitor.ask("say: next")
    expect(visitor.answers.first.get_by_text("Let me see")).to_be_visible()
    visitor.page.reload()
    expect(visitor.answers.first.locator(".prose")).to_have_text("It is 42.")
    expect(visitor.answers.first.get_by_text("Let me see")).to_be_hidden()
    visitor.answers.first.get_by_text("Thoughts").click()
    expect(visitor.answers.first.get_by_text("Let me see")).to_be_visible()
    expect(visitor.answers.last.get_by_text("Thoughts")).to_have_count(0)


def test_a_reload_and_a_second_tab_show_the_same_running_answer(visitor):
    words = [f"word{n}" for n in range(150)]
    visitor.say("slow 0.06: " + " ".join(words))
    expect(visitor.answers.last).to_contain_text("word3")
    visitor.page.wait_for_url("**/chats/*/")
    second = visitor.another_tab()
    expect(second.answers.last).to_contain_text("word3")
    visitor.page.reload()
    expect(visitor.answers.last).to_have_attribute("aria-busy", "true")
    expect(visitor.answers.last).to_contain_text("word4")
    for tab in (visitor, second):
        expect(tab.answered().locator(".prose")).to_have_text(" ".join(words))
    assert second.complaints == []


def test_a_tab_that_was_away_catches_up(visitor):
    visitor.ask("say: first")
    second = visitor.another_tab()
    expect(second.answers).to_have_count(1)
    visitor.ask("say: second")
    second.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(second.answers).to_have_count(2)
    expect(second.answered()).to_contain_text("second")


def test_a_chat_is_renamed_archived_brought_back_and_deleted(visitor):
    page = visitor.page
    visitor.ask("say: something")
    visitor.choose("Rename")
    page.get_by_label("Its new name").fill("Holidays")
    page.get_by_label("Its new name").press("Enter")
    expect(visitor.chats).to_have_text(["Holidays"])
    expect(page.locator("#title")).to_have_text("Holidays")
    visitor.choose("Archive")
    expect(page.get_by_text("No chats yet")).to_be_visible()
    page.get_by_role("link", name="Archived").click()
    visitor.chats.first.click()
    expect(page.get_by_text("This chat is archived.")).to_be_visible()
    page.wait_for_load_state("domcontentloaded")
    page.get_by_role("button", name="Bring it back").click()
    expect(page.get_by_label("Your message")).to_be_visible()
    visitor.choose("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    expect(visitor.chats).to_have_text(["Holidays"])
    visitor.choose("Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No chats yet")).to_be_visible()


def test_a_message_that_could_not_be_sent_is_still_in_the_box(visitor):
    page = visitor.page
    expect(page.get_by_label("Your message")).to_be_focused()
    page.context.set_offline(True)
    visitor.say("Do not lose this")
    expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    expect(page.get_by_label("Your message")).to_have_value("Do not lose this")
    expect(visitor.answers).to_have_count(0)
    page.context.set_offline(False)
    page.reload()
    expect(page.get_by_label("Your message")).to_have_value("Do not lose this")
    page.get_by_label("Your message").press("Enter")
    expect(visitor.answered()).to_contain_text("You said: Do not lose this")
    assert len(visitor.complaints) == 1
    visitor.complaints.clear()


def test_everything_is_done_with_the_keyboard(visitor):
    page = visitor.page
    keys = page.keyboard
    expect(page.get_by_label("Your message")).to_be_focused()
    keys.type("say: typed")
    keys.press("Shift+Enter")
    keys.type("on two lines")
    keys.press("Enter")
    expect(visitor.answered()).to_contain_text("typed on two lines")
    page.locator("#sessions a").first.focus()
    keys.press("Tab")
    keys.press("Enter")
    expect(page.locator("#session-menu").get_by_role("button", name="Rename")).to_be_focused()
    keys.press("Escape")
    expect(page.locator("#session-menu")).to_be_hidden()
    keys.press("Enter")
    keys.press("Enter")
    expect(page.get_by_label("Its new name")).to_be_focused()
    keys.type("By keyboard")
    keys.press("Enter")
    expect(visitor.chats).to_have_text(["By keyboard"])
    page.reload()
    page.locator("body").press("Tab")
    page.evaluate("document.activeElement.blur()")
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the message box")).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_label("Your message")).to_be_focused()


def test_a_screen_reader_hears_of_the_answer_politely(visitor):
    status = visitor.page.get_by_role("status")
    expect(status).to_have_attribute("aria-live", "polite")
    visitor.ask("say: all of it")
    expect(status).to_have_text("all of it The answer is complete.")


def test_on_a_phone_the_list_is_a_drawer_and_nothing_is_cut_off(browser, gateway):
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    with visiting(browser, gateway, **phone) as somebody:
        page = somebody.page
        somebody.sign_in(gateway.newcomer(one_time=False))
        somebody.ask("say: " + "a" * 200 + "\n\n```\n" + "b" * 200 + "\n```")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        expect(page.get_by_role("navigation", name="Chats")).to_be_hidden()
        page.wait_for_load_state("domcontentloaded")
        page.get_by_role("button", name="Chats", exact=True).tap()
        expect(page.get_by_role("navigation", name="Chats")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("navigation", name="Chats")).to_be_hidden()
        expect(page.get_by_role("button", name="Chats", exact=True)).to_be_focused()


def test_dark_and_light_follow_the_system_until_the_reader_chooses(browser, gateway):
    with visiting(browser, gateway, color_scheme="dark") as somebody:
        page = somebody.page
        somebody.sign_in(gateway.newcomer(one_time=False))
        paper = "getComputedStyle(document.body).backgroundColor"
        page.wait_for_load_state("domcontentloaded")
        dark = page.evaluate(paper)
        page.get_by_role("button", name="Dark or light").click()
        light = page.evaluate(paper)
        assert (dark, light) == ("rgb(21, 23, 28)", "rgb(255, 255, 255)")
        page.reload()
        assert page.evaluate(paper) == light


def test_who_belongs_to_no_organisation_is_told_so(browser, gateway):
    stranger = gateway.newcomer(one_time=False, member=False)
    with visiting(browser, gateway) as somebody:
        somebody.sign_in(stranger)
        expect(somebody.page.get_by_role("heading")).to_have_text("You belong to no organisation yet")
        somebody.complaints.clear()


def test_the_api_is_explained_on_a_page_that_loads_nothing_from_elsewhere(browser, gateway):
    with visiting(browser, gateway) as somebody:
        somebody.page.goto(f"{gateway.url}/api/v1/docs")
        expect(somebody.page.get_by_role("heading", name="SomaAgent")).to_be_visible()
        expect(somebody.page.get_by_text("/api/v1/turns", exact=True).first).to_be_visible()
