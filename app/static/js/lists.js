// Lists: [data-list] with #list in it. All of it works without this file, too, with more clicks.
(() => {
  const list = () => document.querySelector("[data-list]");
  const rows = () => [...document.querySelectorAll("[data-list] [data-row]")];
  const boxes = () => [...document.querySelectorAll('[data-list] td.tick input[name="ids"]')];
  const ticked = () => boxes().filter((box) => box.checked);
  const all = () => document.querySelector('#bulk [name="all"]');

  // ── Ticks ──
  const showTicked = () => {
    const some = ticked();
    const total = document.querySelector("[data-tick-all]");
    if (total) {
      total.checked = some.length > 0 && some.length === boxes().length;
      total.indeterminate = some.length > 0 && !total.checked;
    }
    const count = document.querySelector("[data-ticked]");
    if (count) count.textContent = some.length ? count.dataset.ticked.replace("…", some.length.toLocaleString(document.documentElement.lang)) : "";
    const words = all()?.closest("label").querySelector("[hx-get]");
    if (words && total?.checked) htmx.trigger(words, "golub:count");
  };
  let lastTicked = null;
  document.addEventListener("click", (event) => {
    const box = event.target.closest?.('td.tick input[name="ids"]');
    if (!box) return;
    const shown = boxes();
    if (event.shiftKey && lastTicked?.isConnected) {
      const [from, to] = [shown.indexOf(lastTicked), shown.indexOf(box)].sort((a, b) => a - b);
      shown.slice(from, to + 1).forEach((one) => { one.checked = box.checked; });
    }
    lastTicked = box;
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-tick-all]")) boxes().forEach((box) => { box.checked = event.target.checked; });
    if (event.target === all()) boxes().forEach((box) => { box.checked = event.target.checked; });
    if (event.target.name === "ids" && !event.target.checked && all()) all().checked = false;
    if (event.target.closest("[data-list]")) showTicked();
  });
  const untick = () => {
    boxes().forEach((box) => { box.checked = false; });
    if (all()) all().checked = false;
    showTicked();
  };
  document.addEventListener("click", (event) => { if (event.target.closest("[data-untick]")) untick(); });

  // ── Rows that are gone: the focus goes to the next one ──
  const focusRow = (row) => row?.querySelector("[data-row-link]")?.focus();
  document.addEventListener("golub:gone", (event) => {
    const gone = new Set(event.detail.ids.map(String));
    const shown = rows();
    const first = shown.findIndex((row) => gone.has(row.dataset.row));
    const left = shown.filter((row) => !gone.has(row.dataset.row));
    const next = shown.slice(first).find((row) => !gone.has(row.dataset.row)) ?? left.at(-1);
    shown.filter((row) => gone.has(row.dataset.row)).forEach((row) => row.remove());
    showTicked();
    if (next) setTimeout(() => focusRow(next));
    else if (first >= 0) location.reload();
  });

  // ── Changing a row on the spot ──
  document.addEventListener("dblclick", (event) => {
    if (event.target.closest("a, button, input, label, select")) return;
    const pencil = event.target.closest("[data-list] [data-row]")?.querySelector("[data-edit-row]");
    if (pencil?.hasAttribute("hx-get")) pencil.click();
  });
  let swappedRow = null;
  document.addEventListener("htmx:before:swap", (event) => {
    swappedRow = event.detail.ctx.sourceElement?.closest?.("[data-list] [data-row]")?.id ?? null;
  });
  document.addEventListener("htmx:after:swap", (event) => {
    const row = swappedRow && document.getElementById(swappedRow);
    swappedRow = null;
    if (row && event.detail.ctx.response?.status !== 422) {
      (row.matches("[data-edited]") ? row.querySelector("input:not([type=hidden])") : row.querySelector("[data-edit-row]"))?.focus();
    }
    showTicked();
    watchPager();
  });

  // ── Waiting, and what could not be loaded ──
  const place = (context) => {
    const source = context?.sourceElement;
    if (!source?.closest) return null;
    return source.closest("[data-pager]") ?? (source.closest("[data-list]") && source.matches("#list-search, .sort-link") ? document.getElementById("list") : null);
  };
  const clearFault = (where) => where.querySelector(".list-fault")?.closest("tr[data-fault], .list-fault").remove();
  document.addEventListener("htmx:before:request", (event) => {
    const where = place(event.detail.ctx);
    if (!where) return;
    clearFault(where);
    where.setAttribute("aria-busy", "true");
  });
  document.addEventListener("htmx:finally:request", (event) => place(event.detail.ctx)?.removeAttribute("aria-busy"));
  const fault = (event) => {
    const { ctx } = event.detail;
    const where = place(ctx);
    const words = document.getElementById("list-fault");
    if (!where || !words || where.querySelector(".list-fault")) return;
    const notice = words.content.firstElementChild.cloneNode(true);
    notice.querySelector("[data-try-again]").addEventListener("click", () => {
      const source = ctx.sourceElement;
      if (source.matches("form")) source.requestSubmit();
      else source.click();
    });
    if (where.matches("[data-pager]")) (where.querySelector(".pager") ?? where).append(notice);
    else where.prepend(notice);
  };
  document.addEventListener("htmx:error", fault);
  document.addEventListener("htmx:response:error", fault);

  // ── The next rows come by themselves when the end comes into view; after a fault only when asked for ──
  const watcher = new IntersectionObserver((entries) => entries.forEach(({ isIntersecting, target }) => {
    if (!isIntersecting || !target.isConnected) return;
    watcher.unobserve(target);
    target.querySelector("a[hx-get]")?.click();
  }), { rootMargin: "0px 0px 300px 0px" });
  const watchPager = () => document.querySelectorAll("[data-list] [data-pager]:not([data-watched])").forEach((pager) => {
    pager.dataset.watched = "";
    watcher.observe(pager);
  });

  // ── Keys: / searches, j and k go from row to row, x ticks, e changes, Escape leaves ──
  const step = (by) => {
    const shown = rows();
    const here = shown.findIndex((row) => row.contains(document.activeElement));
    const next = here < 0 ? shown[0] : shown[here + by];
    focusRow(next);
  };
  document.addEventListener("keydown", (event) => {
    if (!list() || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
      const edited = document.activeElement?.closest?.("[data-edited]");
      if (edited) edited.querySelector("[data-cancel-edit]").click();
      else if (ticked().length) untick();
      return;
    }
    if (event.target.closest("input:not([type=checkbox]), select, textarea, [contenteditable], dialog")) return;
    const row = document.activeElement?.closest?.("[data-row]");
    const keys = {
      "/": () => document.querySelector("#list-search [type=search]")?.focus(),
      j: () => step(1),
      k: () => step(-1),
      x: () => row?.querySelector("td.tick input")?.click(),
      e: () => row?.querySelector("[data-edit-row]")?.click(),
    };
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });

  showTicked();
  watchPager();
})();
