// form[data-autosave="address"]: what is typed is kept by the server two seconds after the last key, and leaving the
// page before that asks first. The answer is JSON: `message` to show, `fields` to remember, and where to go on saving.
(() => {
  const PAUSE = 2000;
  const timers = new WeakMap();
  const sending = new WeakMap();
  const unsaved = new Set();

  const say = (form, text, isBad = false) => {
    const status = form.querySelector("[data-autosave-status]");
    status.textContent = text;
    status.classList.toggle("is-bad", isBad);
  };

  const typed = (form) => {
    const data = new FormData(form);
    for (const input of form.querySelectorAll("input[type=file]")) data.delete(input.name);
    return data;
  };

  const remember = (form, { fields = {}, action, autosave }) => {
    for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;
    form.dataset.autosave = autosave ?? form.dataset.autosave;
    if (!action || form.getAttribute("action") === action) return;
    // What was new has an address now: sending or reloading leads there.
    form.setAttribute("action", action);
    form.setAttribute("hx-post", action);
    globalThis.htmx?.process(form);
    history.replaceState(history.state, "", action);
  };

  const save = async (form) => {
    if (sending.has(form)) return later(form);
    const stop = new AbortController();
    sending.set(form, stop);
    unsaved.delete(form);
    say(form, form.dataset.saving);
    try {
      const headers = { Accept: "application/json", "X-CSRFToken": form.elements.csrf_token.value };
      const answer = await fetch(form.dataset.autosave, { method: "POST", body: typed(form), headers, signal: stop.signal });
      if (answer.redirected || !answer.headers.get("Content-Type")?.startsWith("application/json")) {
        throw new Error(answer.redirected ? form.dataset.loggedOut : "");
      }
      const said = await answer.json();
      if (!answer.ok) throw new Error(said.error);
      remember(form, said);
      say(form, said.message);
    } catch (error) {
      if (stop.signal.aborted) return;
      unsaved.add(form);
      say(form, (error instanceof TypeError ? "" : error.message) || form.dataset.notSaved, true);
    } finally {
      sending.delete(form);
    }
  };
  const later = (form) => {
    clearTimeout(timers.get(form));
    timers.set(form, setTimeout(() => form.isConnected && save(form), PAUSE));
  };

  for (const kind of ["input", "change"]) {
    document.addEventListener(kind, ({ target }) => {
      const { form } = target;
      if (!form?.matches("[data-autosave]") || target.type === "file" || target.closest("[data-editor-toolbar]")) return;
      unsaved.add(form);
      later(form);
    });
  }
  // The real saving has all of it.
  document.addEventListener("submit", ({ target }) => {
    clearTimeout(timers.get(target));
    sending.get(target)?.abort();
    unsaved.delete(target);
  }, true);
  addEventListener("beforeunload", (event) => {
    if ([...unsaved].some((form) => form.isConnected)) event.preventDefault();
  });
  // Ctrl-S presses the form's own button.
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "s") return;
    const button = document.querySelector("form[data-autosave] [data-saves]");
    if (!button) return;
    event.preventDefault();
    button.click();
  });
})();
