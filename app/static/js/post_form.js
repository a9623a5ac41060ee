// The form of an article: tags at a click, a cover that is there at once, and how long the summary is.
(() => {
  const tagsOf = (input) => input.value.split(",").map((tag) => tag.trim().toLowerCase()).filter(Boolean);
  const markTags = () => {
    const input = document.querySelector("[data-tags]");
    if (!input) return;
    const chosen = tagsOf(input);
    for (const button of document.querySelectorAll("[data-add-tag]")) {
      button.setAttribute("aria-pressed", String(chosen.includes(button.dataset.addTag)));
    }
  };
  const changed = (input) => input.dispatchEvent(new Event("input", { bubbles: true }));

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-add-tag]");
    if (!button) return;
    const input = document.querySelector("[data-tags]");
    const tag = button.dataset.addTag;
    const chosen = tagsOf(input);
    input.value = (chosen.includes(tag) ? chosen.filter((other) => other !== tag) : [...chosen, tag]).join(", ");
    changed(input);
  });

  const count = (input) => {
    const counter = document.getElementById(input.dataset.counter);
    counter.textContent = `${input.value.trim().length} / ${input.dataset.best}`;
    counter.classList.toggle("is-long", input.value.trim().length > Number(input.dataset.best));
  };
  document.addEventListener("input", ({ target }) => {
    if (target.matches("[data-tags]")) markTags();
    if (target.matches("[data-counter]")) count(target);
  });

  document.addEventListener("change", async ({ target }) => {
    if (!target.matches("[data-cover-upload]") || !target.files.length) return;
    const box = target.closest("[data-cover]");
    const status = box.querySelector("[data-cover-status]");
    const [file] = target.files;
    const say = (text, isBad = false) => {
      status.textContent = text;
      status.classList.toggle("is-bad", isBad);
    };
    const tooLarge = file.size > Number(box.dataset.largest);
    if (tooLarge) target.value = "";
    if (tooLarge) return say(box.dataset.tooLarge.replace("{name}", file.name), true);
    try {
      const { id, src } = await golubUpload(target.dataset.coverUpload, file, (percent) => (
        say(box.dataset.uploading.replace("{name}", file.name).replace("{percent}", percent))
      ));
      const picture = box.querySelector("[data-cover-picture]");
      picture.src = src;
      picture.hidden = false;
      box.classList.add("has-cover");
      const remove = box.querySelector("input[name=remove_cover]");
      if (remove) remove.checked = false;
      target.value = ""; // it is there already
      const kept = target.form.elements.cover_id;
      kept.value = id;
      changed(kept);
      say("");
    } catch (error) {
      // It goes with the form, then.
      say(error.message || box.dataset.failed.replace("{name}", file.name), true);
      if (error.message) target.value = "";
    }
  });

  const begin = () => {
    markTags();
    document.querySelectorAll("[data-counter]").forEach(count);
  };
  begin();
  document.addEventListener("htmx:after:swap", begin);
})();
