"""While an answer is being written: more is said, waits, is sent at once; other tabs see all of it."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.journeys.page import Visitor

LONG = "slow 0.1: " + " ".join(f"word{number}" for number in range(300))


def stop(somebody: Visitor) -> None:
    somebody.page.get_by_role("button", name="Stop the answer").click()


def test_what_is_said_meanwhile_waits_and_is_answered_in_order(visitor):
    visitor.say(LONG)
    expect(visitor.answers.first).to_contain_text("word2")
    visitor.say("say: second")
    expect(visitor.heard()).to_have_text("Your message waits for the answer before it.")
    visitor.say("say: third")
    expect(visitor.page.locator(".waiting-note:visible")).to_have_count(2)
    expect(visitor.page.locator("[data-unsent]")).to_have_count(0)
    visitor.page.reload()
    expect(visitor.page.locator(".waiting-note:visible")).to_have_count(2)
    expect(visitor.answers.first).to_contain_text("word3")
    stop(visitor)
    expect(visitor.answers.last).to_contain_text("third")
    visitor.answered()
    expect(visitor.answers.nth(1)).to_contain_text("second")
    expect(visitor.words).to_have_text([LONG, "say: second", "say: third"])
    visitor.page.reload()
    expect(visitor.words).to_have_text([LONG, "say: second", "say: third"])


def test_what_waits_can_be_cancelled(visitor):
    visitor.say(LONG)
    expect(visitor.answers.first).to_contain_text("word2")
    visitor.say("say: second")
    visitor.say("say: third")
    visitor.answers.nth(1).get_by_role("button", name="Cancel this message").click()
    expect(visitor.heard()).to_have_text("It will not be answered.")
    expect(visitor.answers.nth(1)).to_contain_text("Stopped before the first word.")
    expect(visitor.page.locator(".waiting-note:visible")).to_have_count(1)
    stop(visitor)
    expect(visitor.answers.last).to_contain_text("third")
    visitor.answered()
    expect(visitor.answers.nth(1)).to_contain_text("Stopped before the first word.")


def test_an_answer_is_interrupted_by_what_cannot_wait(visitor):
    page = visitor.page
    expect(page.get_by_role("button", name="Send now")).to_be_hidden()
    visitor.say(LONG)
    expect(visitor.answers.first).to_contain_text("word2")
    page.get_by_label("Your message").fill("say: at once")
    page.get_by_role("button", name="Send now").click()
    expect(visitor.answers.last).to_contain_text("at once")
    visitor.answered()
    expect(visitor.answers.first).to_contain_text("Stopped.")
    visitor.say(LONG)
    expect(visitor.answers.last).to_contain_text("word2")
    page.get_by_label("Your message").fill("say: by keyboard")
    page.get_by_label("Your message").press("Control+Enter")
    expect(visitor.answers.last).to_contain_text("by keyboard")
    visitor.answered()
    expect(page.get_by_role("button", name="Stop the answer")).to_be_hidden()


def test_a_second_tab_sees_at_once_what_the_first_does(visitor):
    visitor.ask("say: hello")
    second = visitor.another_tab()
    expect(second.answers).to_have_count(1)
    second.page.wait_for_load_state("domcontentloaded")
    visitor.say(LONG)
    expect(second.answers.last).to_contain_text("word2")
    visitor.say("say: and more")
    expect(second.page.locator(".waiting-note:visible")).to_have_count(1)
    stop(second)
    for tab in (visitor, second):
        expect(tab.answers).to_have_count(3)
        expect(tab.answers.last).to_contain_text("and more")
        expect(tab.answered()).to_contain_text("and more")
        expect(tab.answers.nth(1)).to_contain_text("Stopped.")
    visitor.edit(0).fill("say: goodbye")
    visitor.page.keyboard.press("Enter")
    expect(second.answered()).to_contain_text("goodbye")
    expect(second.words).to_have_text(["say: goodbye"])
    second.said.first.get_by_role("button", name="Version before").click()
    expect(visitor.said).to_have_count(3)
    assert second.complaints == []


def test_a_tab_that_catches_up_keeps_what_is_being_written_in_it(visitor):
    visitor.ask("say: hello")
    second = visitor.another_tab()
    box = second.edit(0)
    box.fill("half a thou")
    visitor.ask("say: meanwhile")
    expect(second.answers).to_have_count(2)
    expect(box).to_have_value("half a thou")
    expect(box).to_be_focused()


def test_two_messages_in_a_row_begin_one_chat(visitor):
    visitor.say("slow 0.1: one two three four")
    visitor.say("say: five")
    expect(visitor.answers.last).to_contain_text("five")
    visitor.answered()
    expect(visitor.chats).to_have_count(1)
    expect(visitor.words).to_have_text(["slow 0.1: one two three four", "say: five"])
