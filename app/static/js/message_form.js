// The form of a message: fields that are put in at a click, lengths, and a preview and checks that follow what is typed.
(() => {
  const PAUSE = 600;
  const form = () => document.getElementById("message-form");
  let timer = null;

  // ── Lengths: [data-counter="id of where it is said"][data-best] ──
  const count = (input) => {
    const counter = document.getElementById(input.dataset.counter);
    const { length } = [...input.value.trim()];
    counter.textContent = `${length} / ${input.dataset.best}`;
    counter.classList.toggle("is-long", length > Number(input.dataset.best));
  };

  // ── Fields go where the caret was last: subject, preview text, letter or text part ──
  let place = null;
  const remember = ({ target }) => {
    if (target?.form === form() && target?.matches("input[type=text], textarea")) place = target.closest("[data-editor]") ?? target;
    else if (target?.closest?.(".ql-editor")) place = target.closest("[data-editor]");
  };
  document.addEventListener("focusin", remember);
  remember({ target: document.activeElement }); // the first field had the focus before this was there
  document.addEventListener("click", ({ target }) => {
    const chip = target.closest("[data-insert-field]");
    if (!chip) return;
    const where = place?.isConnected ? place : document.querySelector("[data-editor]");
    where.dispatchEvent(new CustomEvent("editor:insert", { bubbles: true, detail: chip.dataset.insertField }));
  });

  // ── The preview: what is typed, sent into a new frame, which takes the old one's place when it is there. A frame's
  // first page leaves no mark in the history, so "back" leads back. ──
  let number = 0;
  const isDark = () => document.getElementById("preview-dark")?.checked;
  const show = () => {
    const stage = document.querySelector("[data-live]");
    if (!stage || !form()) return;
    number += 1;
    const frame = Object.assign(document.createElement("iframe"), {
      name: `letter-${number}`, className: "letter-live is-coming", title: stage.dataset.title, referrerPolicy: "no-referrer",
    });
    frame.setAttribute("sandbox", "");
    stage.append(frame);
    const sent = Object.assign(document.createElement("form"), {
      method: "post", action: stage.dataset.live, enctype: "multipart/form-data", target: frame.name, hidden: true,
    });
    const dark = Object.assign(document.createElement("input"), { name: "dark", value: isDark() ? "1" : "" });
    sent.append(dark);
    for (const name of ["csrf_token", "subject", "preheader", "html", "text", "client"]) {
      const field = Object.assign(document.createElement("textarea"), { name });
      field.value = form().elements[name]?.value ?? "";
      sent.append(field);
    }
    document.body.append(sent);
    frame.addEventListener("load", () => {
      if (frame.name !== `letter-${number}`) return frame.remove(); // a newer one is on its way
      for (const other of [...stage.children]) if (other !== frame) other.remove();
      frame.classList.remove("is-coming");
    });
    HTMLFormElement.prototype.submit.call(sent);
    sent.remove();
  };
  const refresh = () => {
    show();
    globalThis.htmx?.trigger("#checks", "refresh");
  };
  const refreshSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, PAUSE);
  };

  document.addEventListener("input", ({ target }) => {
    if (target.matches("[data-counter]")) count(target);
    if (target.form === form() && !target.closest("[data-letter-side]")) refreshSoon();
  });
  // Whom the letter is shown to changes nothing in it: nobody shall be warned of it as of something unsaved.
  const side = document.querySelector("[data-letter-side]");
  side?.addEventListener("input", (event) => event.stopPropagation());
  side?.addEventListener("change", ({ target }) => ["client", "preview-dark"].includes(target.name) && show());
  document.addEventListener("htmx:after:swap", () => {
    for (const input of document.querySelectorAll("[data-counter]")) count(input);
  });
  document.addEventListener("htmx:after:swap", ({ target }) => {
    if (target.id === "text-part") target.querySelector("textarea")?.focus();
  });

  for (const input of document.querySelectorAll("[data-counter]")) count(input);
  if (document.querySelector("[data-editor] textarea")?.value) show();
})();
