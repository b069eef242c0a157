"""The page in a real headless Chromium: silent, sorts, opens, fits a phone, prints, and is whole without JavaScript."""

import shutil

import pytest
from run_rows import make_run

from scalearn.comparison.records import RunFolder
from scalearn.report.figures.gallery import draw_gallery
from scalearn.report.page.page import write_page
from scalearn.report.statistics import comparisons

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium")
FIRST, AVERAGE, OVER = 1, 2, 3  # columns


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    run = RunFolder(make_run(tmp_path_factory.mktemp("browser") / "run", partial=True))
    compared = comparisons(run.rows, run.config)
    return write_page(run, compared, draw_gallery(run, compared), run.folder / "report.html")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, file):
    """Opens the page; at the end it must have said nothing to the console, and asked for nothing but itself."""
    contexts, said, asked = [], [], []

    def open_page(width=1280, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert asked == [file.as_uri()] * len(contexts)


def column(page, number):
    """The first line of each cell of the first main table's column."""
    cells = page.locator("table.main").first.locator(f"> tbody > tr:first-child > :nth-child({number})")
    return [text.strip().split("\n")[0] for text in cells.all_inner_texts()]


def numbers(page, number):
    told = [text.split()[-2 if "best" in text or "second" in text else -1] for text in column(page, number)]
    return [float(one.replace("−", "-").replace(",", "")) for one in told if one != "–"]


def sort_button(page, number):
    return page.locator("table.main").first.locator(f"> thead > tr > th:nth-child({number})")


class TestSorting:
    def test_a_click_sorts_and_the_next_turns_round(self, opened):
        page = opened()
        before = numbers(page, AVERAGE)
        assert before != sorted(before, reverse=True)
        heading = sort_button(page, AVERAGE)
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "descending"
        assert numbers(page, AVERAGE) == sorted(before, reverse=True)
        assert column(page, FIRST)[0].endswith("scalearn (2 by connectivity)")
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "ascending"
        assert numbers(page, AVERAGE) == sorted(before)
        assert column(page, FIRST)[0].endswith("head-only")

    def test_the_keyboard_sorts_too_and_only_one_column_says_so(self, opened):
        page = opened()
        sort_button(page, AVERAGE).locator("button").click()
        sort_button(page, FIRST).locator("button").focus()
        page.keyboard.press("Enter")
        names = column(page, FIRST)
        assert names == sorted(names)
        assert page.locator("table.main").first.locator("th[aria-sort=none]").count() == len(page.locator("table.main").first.locator("> thead th").all()) - 1  # fmt: skip

    def test_cells_without_a_value_stay_last(self, opened):
        page = opened()
        for _ in range(2):
            sort_button(page, OVER).locator("button").click()
            assert column(page, OVER)[-1] == "–"
            found = numbers(page, OVER)
            assert found in (sorted(found), sorted(found, reverse=True))

    def test_details_move_with_their_line(self, opened):
        page = opened()
        table = page.locator("table.main").first
        body = table.locator("> tbody", has=page.get_by_role("button", name="scalearn (2 by connectivity)", exact=True))
        body.locator("button.fold").click()
        sort_button(page, AVERAGE).locator("button").click()
        first = table.locator("> tbody").first
        assert first.locator("tr.details").is_visible()
        assert "mnli, qnli" in first.locator("tr.details").inner_text()


class TestDetails:
    def test_a_line_opens_and_shuts(self, opened):
        page = opened()
        body = page.locator("table.main").first.locator("> tbody").nth(1)
        button, details = body.locator("button.fold"), body.locator("tr.details")
        assert not details.is_visible()
        assert button.get_attribute("aria-expanded") == "false"
        button.click()
        assert details.is_visible()
        assert button.get_attribute("aria-expanded") == "true"
        for words in (
            "Each seed",
            "seed 4",
            "Paired tests" if "over" in details.inner_text() else "Recipe",
            "epochs 30",
        ):
            assert words in details.inner_text()
        button.focus()
        page.keyboard.press("Space")
        assert not details.is_visible()

    def test_what_is_missing_opens(self, opened):
        page = opened()
        page.get_by_role("button", name="Their names").click()
        assert page.get_by_text("stsb with 4 rows by scalearn from 3 sources by connectivity, seeds 0, 1").is_visible()


class TestWidths:
    @pytest.mark.parametrize("width", [360, 380, 768, 1280])
    def test_the_page_does_not_scroll_sideways(self, opened, width):
        page = opened(width)
        page.locator("table.main").first.locator("button.fold").first.click()
        for button in page.locator("h3 > button.fold, h4 > button.fold").all():
            button.click()
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]

    def test_a_wide_table_scrolls_with_its_names_in_place(self, opened):
        page = opened(360)
        box = page.locator(".scroll").first
        assert box.evaluate("box => box.scrollWidth > box.clientWidth")
        name = box.locator("tbody th").first
        before = name.bounding_box()["x"]
        box.evaluate("box => { box.scrollLeft = 150 }")
        assert name.bounding_box()["x"] == pytest.approx(before, abs=1)

    def test_letters_in_pictures_can_be_read_on_a_phone(self, opened):
        page = opened(380)
        sizes = page.evaluate("[...document.querySelectorAll('figure svg')].filter(s => s.clientWidth).map(s => s.clientWidth / s.viewBox.baseVal.width)")  # fmt: skip
        assert len(sizes) >= 5
        assert min(sizes) > 0.95  # of a pixel a point: 7.5-point letters

    @pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (380, "light"), (1280, "dark")])
    def test_is_drawn(self, opened, width, scheme, tmp_path):
        page = opened(width, color_scheme=scheme)
        page.screenshot(path=tmp_path / f"{width}-{scheme}.png", full_page=True)
        assert (tmp_path / f"{width}-{scheme}.png").stat().st_size > 50_000
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(246, 247, 249)") == (scheme == "light")


class TestWithout:
    def test_all_is_there_without_javascript(self, opened):
        page = opened(java_script_enabled=False)
        hidden = [part for part in page.locator("tr.details, figure, #config, #missing").all() if not part.is_visible()]
        assert hidden == []
        assert page.locator("tr.details").count() > 40
        assert page.locator("figure").count() > 10

    def test_print_shows_every_figure_and_only_the_lines_that_are_open(self, opened):
        page = opened(794)
        page.locator("table.main").first.locator("button.fold").first.click()
        page.emulate_media(media="print")
        assert [details.is_visible() for details in page.locator("tr.details").all()[:3]] == [True, False, False]
        assert all(figure.is_visible() for figure in page.locator("figure").all())
        assert page.locator("#config").is_visible()
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]

    def test_ink_is_readable_on_its_ground(self, opened):
        for scheme in ("light", "dark"):
            page = opened(color_scheme=scheme)
            assert min(page.evaluate(CONTRASTS)) >= 4.5


CONTRASTS = """() => {
  const light = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("p, th, td, small, a, li, dt, dd, h1, h2, h3, figcaption, svg text")].filter((e) => !/^#/.test(e.style.fill) && !e.style.fill.startsWith("rgb")).map((element) => {
    const style = getComputedStyle(element);
    const [a, b] = [light(element.tagName === "text" ? style.fill : style.color), light(ground(element))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
}"""
