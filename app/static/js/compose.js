// The form of a mailing. A box that is ticked among the clients offered becomes a chip; one that is cleared goes.
(() => {
  const chosenIn = (picker) => picker.querySelector("[data-chosen]");

  document.addEventListener("change", (event) => {
    const box = event.target;
    const picker = box.closest?.("[data-choosing]");
    if (!picker || box.type !== "checkbox") return;
    const line = box.closest(".offer-line");
    if (box.checked) {
      chosenIn(picker).append(line);
      picker.querySelector("[type=search]").focus();
    } else {
      const next = line.nextElementSibling ?? line.previousElementSibling;
      line.remove();
      (next?.querySelector("input") ?? picker.querySelector("[type=search]")).focus();
    }
  });

  // What is found anew may be chosen already.
  document.addEventListener("htmx:after:swap", () => {
    for (const picker of document.querySelectorAll("[data-choosing]")) {
      const chosen = new Set([...chosenIn(picker).querySelectorAll("input")].flatMap((box) => box.value.split(",")));
      for (const box of picker.querySelectorAll("[data-offered] input")) {
        if (chosen.has(box.value)) box.closest(".offer-line").remove();
      }
    }
  });

  // Enter in a search field looks, and plans nothing.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("#mailing-form [type=search]")) return;
    event.preventDefault();
    event.target.closest("fieldset, [data-choosing]").querySelector(".offer input")?.focus();
  });
})();
