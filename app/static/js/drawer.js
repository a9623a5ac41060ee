// #drawer: what a[data-drawer] asks for opens at the side; [data-step] goes on to the link before or after it.
(() => {
  const drawer = document.getElementById("drawer");
  let current = null; // the link that was asked for last
  let isWanted = false;

  const links = () => [...document.querySelectorAll("a[data-drawer]")];
  const beside = (step) => links()[links().indexOf(current) + step];
  const offer = () => drawer.querySelectorAll("[data-step]").forEach((button) => {
    const isEnd = !beside(Number(button.dataset.step));
    // A button that has the focus keeps it at the end of the list.
    button.setAttribute("aria-disabled", isEnd);
    button.classList.toggle("disabled", isEnd);
  });

  const onLink = (name, listen) => document.addEventListener(name, (event) => {
    const link = event.detail.ctx.sourceElement;
    if (link?.matches?.("a[data-drawer]")) listen(link, event);
  });
  onLink("htmx:before:request", (link) => {
    current = link;
    isWanted = true;
  });
  // An answer that comes after the drawer was closed, or after that of a later question, is not wanted any more.
  onLink("htmx:before:swap", (link, event) => {
    if (link !== current || !isWanted) event.preventDefault();
  });
  onLink("htmx:after:swap", () => {
    if (!isWanted) return;
    offer();
    if (!drawer.open) drawer.showModal();
  });
  drawer.addEventListener("click", (event) => {
    const button = event.target.closest("[data-step], [data-close-drawer]");
    if (!button) return;
    if ("closeDrawer" in button.dataset) drawer.close();
    else beside(Number(button.dataset.step))?.click();
  });
  drawer.addEventListener("close", () => {
    isWanted = false;
    document.getElementById("drawer-body").replaceChildren();
    current?.focus();
  });
})();
