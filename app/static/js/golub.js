// Behaviour by data attributes. Everything here listens on the document, so what HTMX swaps in later works, too.
(() => {
  const NOTE_SECONDS = 7;

  // ── Toasts: [data-auto-hide] go by themselves, but never while somebody reads or reaches for them ──
  const reading = (note) => note.matches(":hover, :focus-within");
  const seconds = (note) => Number(note.dataset.autoHide) || NOTE_SECONDS;
  const hideLater = (note) => setTimeout(() => (reading(note) ? hideLater(note) : note.remove()), seconds(note) * 1000);
  const watchNotes = (toasts) => {
    const begin = (nodes) => nodes.forEach((node) => node.matches?.("[data-auto-hide]") && hideLater(node));
    begin([...toasts.children]);
    new MutationObserver((changes) => changes.forEach((change) => begin([...change.addedNodes])))
      .observe(toasts, { childList: true });
  };
  document.addEventListener("click", (event) => event.target.closest("[data-close-note]")?.closest(".note")?.remove());

  // ── One question before what can't be undone: form[data-confirm], or hx-confirm on what HTMX sends ──
  const ask = (question, source) => new Promise((resolve) => {
    const dialog = document.getElementById("confirm");
    const yes = dialog.querySelector("#confirm-yes");
    dialog.querySelector("#confirm-title").textContent = question;
    dialog.querySelector("#confirm-text").textContent = source.dataset.confirmText || "";
    yes.dataset.usual ??= yes.textContent;
    yes.textContent = source.dataset.confirmYes || yes.dataset.usual;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.confirm || form.dataset.confirmed) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const { submitter } = event;
    ask(form.dataset.confirm, form).then((agreed) => {
      if (!agreed) return;
      form.dataset.confirmed = "yes";
      form.requestSubmit(submitter);
      delete form.dataset.confirmed;
    });
  }, true);
  document.addEventListener("htmx:confirm", (event) => {
    event.preventDefault();
    const { ctx, issueRequest, dropRequest } = event.detail;
    ask(ctx.confirm, ctx.sourceElement).then((agreed) => (agreed ? issueRequest() : dropRequest()));
  });
  document.addEventListener("click", (event) => {
    // A click beside the dialog means no.
    if (event.target.matches("dialog[open]")) event.target.close("");
  });

  // ── Focus: a form that came back with errors starts at the first; "Show more" goes on at the first new row ──
  const focusFirstError = () => document.querySelector("#main .is-invalid")?.focus();
  let lastRow = null;
  document.addEventListener("htmx:before:swap", (event) => {
    const pager = event.detail.ctx.sourceElement?.closest?.("[data-pager]");
    // One that loads by itself takes the focus from nobody.
    lastRow = pager?.matches(":focus-within") ? pager.previousElementSibling : null;
  });
  document.addEventListener("htmx:after:swap", (event) => {
    const { ctx } = event.detail;
    if (lastRow?.isConnected) {
      lastRow.nextElementSibling?.querySelector("a, button, input")?.focus();
      lastRow = null;
    }
    if (ctx.response?.status === 422) {
      focusFirstError();
      keepUnsaved();
    }
  });

  // ── form[data-warn-unsaved]: leaving with changes asks first ──
  const changed = new Set();
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    // What is searched for is nothing that could be lost.
    if (form?.matches("[data-warn-unsaved]") && event.target.type !== "search") changed.add(form);
  });
  document.addEventListener("click", (event) => {
    // One that adds or removes a row.
    const button = event.target.closest("form[data-warn-unsaved] button[hx-post]");
    if (button) changed.add(button.form);
  });
  document.addEventListener("submit", (event) => changed.delete(event.target));
  const keepUnsaved = () => document.querySelectorAll("form[data-warn-unsaved]:has(.is-invalid)").forEach((form) => changed.add(form));
  addEventListener("beforeunload", (event) => {
    if ([...changed].some((form) => form.isConnected)) event.preventDefault();
  });

  // ── [data-browser-timezone]: an empty field, or a select, takes the browser's zone ──
  const guessTimeZone = (root) => {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    for (const control of root.querySelectorAll("[data-browser-timezone]")) {
      const known = !control.options || [...control.options].some((option) => option.value === zone);
      if (zone && known && (!control.value || control.dataset.browserTimezone === "always")) control.value = zone;
    }
  };

  // ── button[data-copy="text"]: copies, and says so by its data-copied words ──
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    if (!button.dataset.copied) return;
    const words = button.textContent;
    button.textContent = button.dataset.copied;
    setTimeout(() => { button.textContent = words; }, 2000);
  });

  // Scripts are deferred: the document is there.
  watchNotes(document.getElementById("toasts"));
  guessTimeZone(document);
  document.addEventListener("htmx:after:settle", (event) => guessTimeZone(event.target));
  focusFirstError();
  keepUnsaved();
})();
