"""People go other ways in a conversation: they edit, ask again, and go from one version to another."""

from __future__ import annotations

from playwright.sync_api import expect

LONG = "slow 0.1: " + " ".join(f"word{number}" for number in range(300))


def test_what_was_said_is_edited_and_both_versions_can_be_read(visitor):
    visitor.ask("say: Paris")
    visitor.ask("say: Madrid")
    visitor.ask("say: Lisbon")
    box = visitor.edit(1)
    expect(box).to_have_value("say: Madrid")
    box.fill("say: Rome")
    visitor.page.get_by_role("button", name="Send", exact=True).first.click()
    expect(visitor.answers.last).to_contain_text("Rome")
    visitor.answered()
    expect(visitor.page.get_by_label("Your message")).to_be_focused()
    expect(visitor.said.nth(0).get_by_role("group")).to_have_count(0)

    fork = visitor.said.nth(1).get_by_role("group")
    expect(fork).to_have_accessible_name("Version 2 of 2")
    expect(fork.get_by_role("button", name="Version after")).to_be_disabled()
    fork.get_by_role("button", name="Version before").click()
    expect(visitor.words).to_have_text(["say: Paris", "say: Madrid", "say: Lisbon"])
    expect(visitor.heard()).to_have_text("Version 1 of 2.")
    expect(fork.get_by_role("button", name="Version after")).to_be_focused()
    expect(fork.get_by_role("button", name="Version before")).to_be_disabled()

    visitor.page.reload()
    expect(visitor.words).to_have_text(["say: Paris", "say: Madrid", "say: Lisbon"])
    fork.get_by_role("button", name="Version after").click()
    expect(visitor.answers.last).to_contain_text("Rome")
    assert visitor.ask("say: Naples").inner_text().startswith("Naples")
    expect(visitor.words).to_have_text(["say: Paris", "say: Rome", "say: Naples"])


def test_editing_is_done_and_left_with_the_keyboard(visitor):
    visitor.ask("say: first")
    keys = visitor.page.keyboard
    button = visitor.said.first.get_by_role("button", name="Edit what you said")
    button.focus()
    keys.press("Enter")
    box = visitor.page.get_by_label("What you say instead")
    expect(box).to_be_focused()
    keys.type(" thought")
    keys.press("Escape")
    expect(visitor.words).to_have_text(["say: first"])
    expect(button).to_be_focused()

    keys.press("Enter")
    low = box.bounding_box()["height"]
    keys.press("Shift+Enter")
    keys.type("of two lines")
    assert box.bounding_box()["height"] > low
    box.fill("   ")
    expect(visitor.said.first.get_by_role("button", name="Send")).to_be_disabled()
    box.fill("say: second")
    keys.press("Enter")
    expect(visitor.answers.last).to_contain_text("second")
    expect(visitor.words).to_have_text(["say: second"])
    expect(visitor.heard()).to_have_text("second The answer is complete.")


def test_the_last_answer_is_given_anew_beside_the_first(visitor, gateway):
    visitor.ask("say: before")
    gateway.model.script("say: One joke.", "say: Another joke.")
    visitor.ask("Tell a joke")
    again = visitor.page.get_by_role("button", name="Regenerate the answer")
    expect(again).to_have_count(1)
    again.click()
    expect(visitor.answers.last).to_contain_text("Another joke.")
    fork = visitor.answered().get_by_role("group", name="Version 2 of 2")
    fork.get_by_role("button", name="Version before").click()
    expect(visitor.answers.last).to_contain_text("One joke.")
    expect(visitor.said).to_have_count(2)
    expect(visitor.answers).to_have_count(2)


def test_a_question_is_edited_while_it_is_answered(visitor):
    visitor.say(LONG)
    expect(visitor.answers.last).to_contain_text("word3")
    visitor.edit(0).fill("say: That is enough")
    visitor.page.get_by_role("button", name="Stop the answer and send").click()
    expect(visitor.answers.last).to_contain_text("That is enough")
    expect(visitor.answers).to_have_count(1)
    visitor.answered()
    visitor.said.first.get_by_role("button", name="Version before").click()
    expect(visitor.answers.last).to_contain_text("word3")
    expect(visitor.answers.last).to_contain_text("Stopped.")


def test_another_version_is_shown_where_the_reader_looks(visitor):
    for number in range(4):
        visitor.ask(f"say: {number} " + "\n\n".join(f"line {line}" for line in range(20)))
    visitor.edit(1).fill("say: short")
    visitor.page.keyboard.press("Enter")
    expect(visitor.answers.last).to_contain_text("short")
    visitor.answered()
    fork = visitor.said.nth(1).get_by_role("group")
    before = fork.bounding_box()["y"]
    fork.get_by_role("button", name="Version before").click()
    expect(visitor.said).to_have_count(4)
    assert abs(fork.bounding_box()["y"] - before) < 2


def test_an_edit_that_cannot_be_sent_is_not_lost(visitor):
    visitor.ask("say: something")
    box = visitor.edit(0)
    box.fill("say: anything")
    visitor.page.context.set_offline(True)
    box.press("Enter")
    expect(visitor.page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    expect(box).to_have_value("say: anything")
    visitor.page.context.set_offline(False)
    box.press("Enter")
    expect(visitor.answers.last).to_contain_text("anything")
    visitor.answered()
    expect(visitor.page.get_by_role("alert")).to_be_hidden()
    assert len(visitor.complaints) == 1
    visitor.complaints.clear()


def test_a_refusal_is_told_in_words(visitor):
    visitor.say(LONG)
    expect(visitor.answers.last).to_contain_text("word3")
    visitor.edit(0).fill("say: A way beside it")
    visitor.page.keyboard.press("Enter")
    expect(visitor.answers.last).to_contain_text("A way beside it")
    visitor.answered()
    visitor.say(LONG)
    expect(visitor.answers.last).to_contain_text("word3")
    visitor.said.first.get_by_role("button", name="Version before").click()
    visitor.page.get_by_role("button", name="Try again").click()
    expect(
        visitor.page.get_by_role("alert").filter(has_text="Another answer is being written")
    ).to_be_visible()
    visitor.said.first.get_by_role("button", name="Version after").click()
    expect(visitor.answers.last).to_have_attribute("aria-busy", "true")
    visitor.page.get_by_role("button", name="Stop the answer").click()
    visitor.answered()
    assert [complaint for complaint in visitor.complaints if "409" not in complaint] == []
    visitor.complaints.clear()


def test_an_archived_chat_is_read_only(visitor):
    visitor.ask("say: one")
    visitor.edit(0).fill("say: two")
    visitor.page.keyboard.press("Enter")
    expect(visitor.answers.last).to_contain_text("two")
    visitor.answered()
    visitor.choose("Archive")
    expect(visitor.page.get_by_text("No chats yet")).to_be_visible()
    visitor.page.get_by_role("link", name="Archived").click()
    visitor.chats.first.click()
    expect(visitor.page.get_by_text("This chat is archived.")).to_be_visible()
    expect(visitor.said.get_by_role("group", name="Version 2 of 2")).to_be_visible()
    expect(visitor.said.get_by_role("button", name="Version before")).to_be_disabled()
    for name in ("Edit what you said", "Regenerate the answer"):
        expect(visitor.page.get_by_role("button", name=name)).to_have_count(0)
