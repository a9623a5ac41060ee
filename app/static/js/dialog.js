// dialog[data-dialog]: opens when HTMX puts something into it, closes when a form in it was taken, or at [data-close-dialog].
(() => {
  const dialog = () => document.querySelector("dialog[data-dialog]");
  const shut = () => {
    dialog().close();
    dialog().replaceChildren();
  };

  document.addEventListener("htmx:after:swap", () => {
    const box = dialog();
    if (!box) return;
    if (box.childElementCount && !box.open) box.showModal();
    box.querySelector(".is-invalid, [autofocus]")?.focus();
  });
  document.addEventListener("htmx:after:request", (event) => {
    const { sourceElement, response } = event.detail.ctx;
    if (response?.status < 400 && sourceElement?.closest?.("dialog[data-dialog]")) shut();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-close-dialog]") || !dialog()?.open) return;
    event.preventDefault();
    shut();
  });
  // The Escape key: what is left in it would open it again with the next swap.
  document.addEventListener("close", (event) => {
    if (event.target === dialog()) event.target.replaceChildren();
  }, true);
})();
