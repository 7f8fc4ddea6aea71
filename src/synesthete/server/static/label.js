// Blind labelling by keyboard: one image after the other, Enter sends, an empty answer skips, 1 to 9 repeat an earlier one.

export default function label(form) {
  const images = JSON.parse(document.getElementById("images").textContent);
  const shown = form.querySelector(".label-image");
  const status = form.querySelector(".label-status");
  const list = form.querySelector(".label-answers");
  const { value, image, rater } = form.elements;
  const button = form.querySelector("button");
  const answers = [];
  let place = 0, given = 0;

  function show() {
    if (place >= images.length) {
      shown.hidden = true; value.disabled = button.disabled = true;
      status.textContent = `Done: ${given} labels given. Thank you.`;
      return;
    }
    shown.src = images[place].path; shown.hidden = false;
    image.value = images[place].id;
    value.disabled = button.disabled = false;
    value.value = "";
    status.textContent = `${place + 1} of ${images.length}`;
    if (rater.value && document.activeElement !== rater) value.focus();
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let answer = value.value.trim();
    if (/^[1-9]$/.test(answer) && answers[answer - 1]) answer = answers[answer - 1];
    if (!answer) { place += 1; show(); return; }
    value.value = answer;
    const body = new FormData(form);
    value.disabled = button.disabled = true;
    try {
      const response = await fetch(form.getAttribute("action"), { method: "POST", body });
      if (!response.ok) throw new Error((await response.json()).error.message);
    } catch (error) {
      status.textContent = `That was not kept: ${error.message}`;
      value.disabled = button.disabled = false;
      return;
    }
    if (!answers.includes(answer) && answers.length < 9) {
      answers.push(answer);
      const item = document.createElement("li");
      item.textContent = answer;
      list.append(item);
    }
    given += 1; place += 1; show();
  });
  show();
}
