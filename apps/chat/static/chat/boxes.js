// Boxes to write in: they grow with their text, Enter sends, Shift+Enter makes a new line.

/**
 * @param area the textarea
 * @param on {send(event), changed()}
 */
export function box(area, on) {
  area.addEventListener("input", () => {
    fit(area);
    on.changed();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    on.send(event);
  });
}

/** Put a text into a box, as if it had been typed. */
export function write(area, text) {
  area.value = text;
  area.dispatchEvent(new Event("input"));
}

function fit(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
