"""The page in a real browser: it draws, loads nothing, and obeys mouse, keyboard and theme."""

import pytest
from browser import CHROMIUM, opened
from reported import EVIL

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
MARKS = "document.querySelectorAll('[data-chart=attainment] .mark-symbol path').length"
CURVE = "document.querySelector('[data-chart=attainment] .mark-area path').getAttribute('d')"
TICKS = "[...document.querySelectorAll('[data-chart=attainment] .role-axis-label text')].map(t => t.textContent).sort().join()"  # noqa: E501


@pytest.fixture(scope="module")
def shown(page, tmp_path_factory):
    with opened(page, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_it_draws_without_a_complaint_and_loads_nothing(shown, page):
    charts = "document.querySelectorAll('figure .chart svg').length"
    assert shown.js(charts) == shown.js("document.querySelectorAll('figure').length") == 8
    assert shown.js("document.querySelectorAll('figure .mark-line path').length") > 10
    assert shown.trouble() == []
    assert set(shown.requested()) == {page.as_uri()}


def test_names_are_text(shown):
    assert shown.js("window.hacked") is None
    assert shown.js("document.querySelectorAll('img').length") == 0
    assert EVIL in shown.js("document.querySelector('input[name=system]').parentNode.textContent")


def test_a_system_can_be_left_out(shown):
    assert shown.js(MARKS) == 4
    shown.js("document.querySelector('input[name=system]').focus()")
    shown.key(" ")
    shown.wait_for(f"{MARKS} === 2")
    hidden = "[...document.querySelectorAll('tr[data-system]')].filter(r => r.hidden)"
    assert set(shown.js(f"{hidden}.map(r => r.dataset.system)")) == {EVIL}
    shown.key(" ")
    shown.wait_for(f"{MARKS} === 4")


def test_a_chart_zooms_by_keys_and_buttons(shown):
    before = shown.js(TICKS)
    shown.js("document.querySelector('[data-chart=attainment] .chart').focus()")
    shown.key("+")
    shown.wait_for(f"{TICKS} !== {before!r}")
    shown.key("0")
    shown.wait_for(f"{TICKS} === {before!r}")
    shown.js("document.querySelector('[data-chart=attainment] [data-zoom=right]').click()")
    shown.wait_for(f"{TICKS} !== {before!r}")
    shown.js("document.querySelector('[data-chart=attainment] [data-zoom=home]').click()")
    shown.wait_for(f"{TICKS} === {before!r}")


def test_the_tab_key_reaches_every_control(shown):
    shown.js("document.activeElement.blur()")
    shown.js("window.scrollTo(0, 0)")
    reached = set()
    for _ in range(90):
        shown.key("Tab")
        reached.add(
            shown.js("(e => e.name || e.dataset.zoom || e.classList[0])(document.activeElement)")
        )
    assert {"system", "cell", "at", "one", "in", "home", "chart", "scroll"} <= reached


def test_another_setting_shows_other_curves(shown):
    before = shown.js(CURVE)
    pick = "(b => {{ b.selectedIndex = {}; b.dispatchEvent(new Event('change')); }})"
    control = "(document.querySelector('select[name=cell]'))"
    shown.js(pick.format(1) + control)
    shown.wait_for(f"{CURVE} !== {before!r}")
    shown.js(pick.format(0) + control)
    shown.wait_for(f"{CURVE} === {before!r}")


def test_the_mouse_shows_values(shown):
    shown.js("document.querySelector('[data-chart=attainment]').scrollIntoView({block: 'center'})")
    box = shown.js(
        "(m => (r => [r.x + r.width / 2, r.y + r.height / 2])(m.getBoundingClientRect()))"
        "(document.querySelector('[data-chart=attainment] .mark-symbol path'))"
    )
    shown.do("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    tip = "document.getElementById('vg-tooltip-element')"
    shown.wait_for(f"{tip} && {tip}.textContent.includes('95 % interval')")


def test_it_fits_a_phone(shown):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    shown.do("Emulation.setDeviceMetricsOverride", **size)
    shown.wait_for("document.documentElement.scrollWidth <= 390")
    shown.do("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(shown, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    shown.do("Emulation.setEmulatedMedia", features=features)
    ink = "getComputedStyle(document.querySelector('.chart svg text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    colours = shown.js(f"[{ink}, {paper}]")
    light, dark = sorted((_luminance(colour) for colour in colours), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 7
    assert (_luminance(colours[1]) > 0.5) == (scheme == "light")
    shown.do("Emulation.setEmulatedMedia", features=[])


def test_it_prints_on_white_with_everything_open(shown):
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    shown.do("Emulation.setEmulatedMedia", media="print", features=features)
    assert shown.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.js("getComputedStyle(document.querySelector('.zoom')).display") == "none"
    shown.js("window.dispatchEvent(new Event('beforeprint'))")
    assert shown.js("document.querySelectorAll('details:not([open])').length") == 0
    shown.js("window.dispatchEvent(new Event('afterprint'))")
    assert shown.js("document.querySelectorAll('details[open]').length") == 0
    shown.do("Emulation.setEmulatedMedia", media="", features=[])
    pdf = shown.do("Page.printToPDF")["data"]
    assert pdf.startswith("JVBERi0")  # %PDF-


def _luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2)."""
    parts = [int(part) / 255 for part in colour.strip("rgb()").split(",")]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
