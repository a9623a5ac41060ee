// Runs before the first paint: the page must not flash in the other theme. Later it serves the switch.
(() => {
  const root = document.documentElement;
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  root.classList.add("js");

  // Storage throws where site data is blocked; then the choice lasts for this page.
  const kept = () => {
    try { return localStorage.getItem("theme") || "auto"; } catch { return "auto"; }
  };
  const keep = (choice) => {
    try { localStorage.setItem("theme", choice); } catch { /* see above */ }
  };

  let choice = kept();
  const apply = () => {
    const dark = choice === "dark" || (choice === "auto" && systemDark.matches);
    root.setAttribute("data-bs-theme", dark ? "dark" : "light");
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
    }
  };

  apply();
  systemDark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", apply);
  addEventListener("storage", (event) => {
    if (event.key === "theme") { choice = kept(); apply(); }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-choice]");
    if (!button) return;
    choice = button.dataset.themeChoice;
    keep(choice);
    apply();
  });
})();
