"""What every page and every dialog has to be: without a violation that axe finds, and no wider than a telephone."""

from collections.abc import Mapping

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as Late

from tests.browser.words import Words

PHONE_WIDTH = 360

# What fades, slides or is being fetched has its own look when it has come; what moves for ever has none.
_SETTLED = """() => !document.querySelector(".htmx-request, [aria-busy=true]")
  && document.getAnimations().every(({ playState, effect }) =>
    playState !== "running" || effect.getComputedTiming().endTime === Infinity)"""

# A page for print has no theme.
_IS_SCHEME = "scheme => [undefined, scheme].includes(document.documentElement.dataset.bsTheme)"
_FITS = "width => document.documentElement.scrollWidth <= width"  # charts shrink a moment later than their page


def faults(page: Page, options: Mapping[str, object] | None = None) -> list[str]:
    """What is wrong with what is shown now; `options` as axe takes them. A letter in a frame is its author's."""
    page.wait_for_function(_SETTLED)
    found = Axe().run(page, options={"iframes": False, "resultTypes": ["violations"]} | dict(options or {}))
    wrong = [f"{page.url}: {found.generate_report()}"] if found.violations_count else []
    size = page.viewport_size
    page.set_viewport_size({"width": PHONE_WIDTH, "height": 740})
    try:
        page.wait_for_function(_FITS, arg=PHONE_WIDTH, timeout=10_000)
    except Late:
        wrong.append(f"{page.url} is {page.evaluate('document.documentElement.scrollWidth')} wide")
    if size is not None:
        page.set_viewport_size(size)
    return wrong


def look(page: Page) -> None:
    """Look at what is shown: in light where the window is English, in dark where it is Russian.

    Tests that run in both languages so see all four sides of a page in two looks.
    """
    scheme = "light" if Words.of(page).is_english else "dark"
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.wait_for_function(_IS_SCHEME, arg=scheme)
    wrong = faults(page)
    assert not wrong, "\n".join(wrong)
