// form[data-autosave="address"]: what is typed is kept by the server two seconds after the last key, and leaving the
// page before that asks first. The answer is JSON: `message` to show, `fields` to remember, and where to go on saving.
(() => {
  const PAUSE = 2000;
  const PATIENCE = 15_000;
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

  const save = (form) => {
    if (sending.has(form)) return later(form);
    sending.set(form, send(form).finally(() => sending.delete(form)));
  };
  const send = async (form) => {
    unsaved.delete(form);
    say(form, form.dataset.saving);
    try {
      const headers = { Accept: "application/json", "X-CSRFToken": form.elements.csrf_token.value };
      const signal = AbortSignal.timeout(PATIENCE);
      const answer = await fetch(form.dataset.autosave, { method: "POST", body: typed(form), headers, signal });
      if (answer.redirected || !answer.headers.get("Content-Type")?.startsWith("application/json")) {
        throw new Error(answer.redirected ? form.dataset.loggedOut : "");
      }
      const said = await answer.json();
      if (!answer.ok) throw new Error(said.error);
      remember(form, said);
      say(form, said.message);
    } catch (error) {
      unsaved.add(form);
      const isOurs = Object.getPrototypeOf(error) === Error.prototype; // fetch has errors of its own, in English
      say(form, (isOurs && error.message) || form.dataset.notSaved, true);
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
  // The real saving has all of it. It waits for what is on its way: else the form would not know of its own draft.
  document.addEventListener("submit", (event) => {
    const { target: form, submitter } = event;
    clearTimeout(timers.get(form));
    if (!sending.has(form)) return unsaved.delete(form);
    event.preventDefault();
    event.stopImmediatePropagation();
    sending.get(form).then(() => form.requestSubmit(submitter));
  }, true);
  addEventListener("beforeunload", (event) => {
    if ([...unsaved].some((form) => form.isConnected)) event.preventDefault();
  });
  // Ctrl-S presses the form's own button. On Cyrillic keyboards that key is another letter.
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || !/^[sыі]$/i.test(event.key)) return;
    const button = document.querySelector("form[data-autosave] [data-saves]");
    if (!button) return;
    event.preventDefault();
    button.click();
  });
})();
