// Files of clients: a file dropped onto [data-drop] is chosen and sent; what is exported is what the address bar asks for.
(() => {
  const zoneOf = (event) => event.target.closest?.("[data-drop]");
  const mark = (event, isOver) => {
    const zone = zoneOf(event);
    if (!zone) return;
    event.preventDefault();
    zone.classList.toggle("is-over", isOver);
  };
  document.addEventListener("dragover", (event) => mark(event, true));
  document.addEventListener("dragleave", (event) => mark(event, false));
  document.addEventListener("drop", (event) => {
    mark(event, false);
    const input = zoneOf(event)?.querySelector("input[type=file]");
    if (!input || !event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-drop] input[type=file]") && event.target.files.length) event.target.form.requestSubmit();
  });

  // HTMX changes the address bar while somebody types, and leaves the links alone.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-with-search]");
    if (!link) return;
    link.search = location.search;
    link.closest("details")?.removeAttribute("open");
  });
})();
