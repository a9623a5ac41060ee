// The command palette: a combobox whose options come from the server (ARIA APG, "combobox with a listbox popup": the
// focus stays in the field, aria-activedescendant says which option is chosen). And `?`, which lists all shortcuts.
(() => {
  const palette = document.getElementById("palette");
  const shortcuts = document.getElementById("shortcuts");
  const input = document.getElementById("palette-input");
  const results = document.getElementById("palette-results");
  let isWaiting = false; // somebody pressed Enter before the results of what they typed were there

  if (/Mac|iPhone|iPad/.test(navigator.platform)) {
    for (const key of document.querySelectorAll("[data-mod-key]")) key.textContent = "⌘";
  }

  const options = () => [...results.querySelectorAll("[role=option]")];
  const chosen = () => results.querySelector("[aria-selected=true]");
  const choose = (option) => {
    chosen()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) input.setAttribute("aria-activedescendant", option.id);
    else input.removeAttribute("aria-activedescendant");
  };
  const step = (by) => {
    const all = options();
    if (all.length) choose(all.at((all.indexOf(chosen()) + by + all.length) % all.length));
  };
  const areFresh = () => results.querySelector("[data-text]")?.dataset.text === input.value.trim().replace(/\s+/g, " ");

  const open = () => {
    if (document.querySelector("dialog[open]:not(#shortcuts)")) return;
    shortcuts.close();
    palette.showModal();
    input.select();
    globalThis.htmx.trigger(input, "open");
  };

  document.addEventListener("click", (event) => {
    const { target } = event;
    if (target.closest("[data-palette-close]") || target.closest("#palette-results a")) palette.close();
    if (event.ctrlKey || event.metaKey || event.shiftKey || !target.closest("[data-palette-open]")) return;
    event.preventDefault();
    open();
  });

  // A field of a dialog that was closed just now has the focus until the page is drawn again.
  const isTyping = (target) => target.matches?.("input, textarea, select, [contenteditable], [contenteditable] *")
    && !target.closest("dialog:not([open])");
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.code === "KeyK") {
      event.preventDefault();
      if (palette.open) palette.close();
      else open();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key === "?") {
      event.preventDefault();
      shortcuts.showModal();
    } else if (event.key === "/") {
      const field = document.querySelector("#main [role=search] :is(input[type=search], input[name=q])");
      event.preventDefault();
      if (field) field.focus();
      else open();
    }
  });

  const KEYS = { ArrowDown: () => step(1), ArrowUp: () => step(-1) };
  input.addEventListener("keydown", (event) => {
    if (!(event.key in KEYS) || event.isComposing) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (areFresh()) chosen()?.click();
    else isWaiting = true;
  });
  input.addEventListener("input", () => { isWaiting = false; });
  results.addEventListener("pointermove", ({ target }) => {
    const option = target.closest("[role=option]");
    if (option && option !== chosen()) choose(option);
  });
  palette.addEventListener("close", () => {
    isWaiting = false;
    input.setAttribute("aria-expanded", "false");
  });
  document.addEventListener("htmx:after:swap", () => {
    if (!palette.open || chosen()) return;
    const [first] = options();
    input.setAttribute("aria-expanded", String(Boolean(first)));
    choose(first);
    if (isWaiting && areFresh()) first?.click();
  });
})();
