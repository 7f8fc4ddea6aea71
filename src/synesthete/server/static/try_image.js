// An image chosen, dropped or pasted is sent at once.

export default function tryImage(form) {
  const input = form.elements.file, drop = form.querySelector(".drop"), button = form.querySelector("button");

  function send(files) {
    if (!files.length) return;
    const holder = new DataTransfer();
    holder.items.add(files[0]);
    input.files = holder.files;
    form.elements.word.value = "";
    form.requestSubmit();
  }

  input.addEventListener("change", () => { if (input.files.length) { form.elements.word.value = ""; form.requestSubmit(); } });
  document.addEventListener("paste", (event) => {
    const images = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (images.length) { event.preventDefault(); send(images); }
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") send([...event.dataTransfer.files]);
    });
  }
  form.addEventListener("submit", () => { button.disabled = true; button.textContent = "Looking …"; });
  addEventListener("pageshow", () => { button.disabled = false; button.textContent = "Look"; });
}
