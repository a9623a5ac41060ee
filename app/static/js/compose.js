// The form of a mailing. A box that is ticked among the clients offered becomes a chip; one that is cleared goes.
(() => {
  document.addEventListener("change", (event) => {
    const box = event.target;
    const picker = box.closest?.("[data-choosing]");
    if (!picker || box.type !== "checkbox") return;
    const line = box.closest(".offer-line");
    const search = picker.querySelector("[type=search]");
    if (box.checked) {
      picker.querySelector("[data-chosen]").append(line);
      search.focus();
      if (!picker.querySelector("[data-offered] input")) search.dispatchEvent(new Event("refresh"));
    } else {
      const next = line.nextElementSibling ?? line.previousElementSibling;
      line.remove();
      (next?.querySelector("input") ?? search).focus();
    }
  });

  // Enter in a search field looks, and plans nothing.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("#mailing-form [type=search]")) return;
    event.preventDefault();
    event.target.closest("fieldset, [data-choosing]").querySelector(".offer input")?.focus();
  });
})();
