// Buttons that copy: the address of the page, or what an element of it holds.

export default function share(place) {
  const status = place.querySelector("[role=status]");
  for (const button of place.querySelectorAll("[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = source ? source.textContent : location.href.split("#")[0];
      try {
        await navigator.clipboard.writeText(text);
        status.textContent = "Copied.";
      } catch {
        // Not everywhere may a page write to the clipboard: then it is shown, or chosen, to be copied by hand.
        status.textContent = source ? "Press Ctrl+C or ⌘C." : text;
        if (source) getSelection().selectAllChildren(source);
      }
    });
  }
}
