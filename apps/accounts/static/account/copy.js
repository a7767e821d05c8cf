// Copies what a field shows.

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copies);
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      document.execCommand("copy"); // browsers keep the clipboard from pages that came over plain HTTP
    }
    button.parentElement.querySelector("[data-copied]").textContent = "Copied.";
  });
}
