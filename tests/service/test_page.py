"""The page of the service in a real browser: it finds, compares, maps, and never takes a document for markup."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from rich.console import Console

from served import listening
from tiny import sentences

for package in (
    "fastapi",
    "uvicorn",
    "fastapi_offline",
    "prometheus_client",
    "lancedb",
    "playwright",
    "axe_playwright_python",
):
    pytest.importorskip(package, reason="needs the extras 'serve' and 'dev'")

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import expect, sync_playwright  # noqa: E402

from smoothcse.search import Document, Index  # noqa: E402
from smoothcse.service import Served, create_app  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (apt-get install chromium)")

EVIL = "<script>window.taken = 1</script><img src=x onerror='window.taken = 1'> the cat"
SCRIPTS = [
    "قطة تنام على الأريكة",
    "一只猫在沙发上睡觉",
    "the cat 👩‍👩‍👧 naps 🐈‍⬛",
]  # right to left, without spaces, of several code points
ROUNDING = 1e-2  # of a score: the cosines of a random encoder are nearly equal, and scaling stretches their rounding
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def encoders(tiny_bert, tmp_path_factory):
    texts = [*sentences(59), EVIL]
    texts[50 : 50 + len(SCRIPTS)] = SCRIPTS
    documents = [
        Document(
            text,
            str(row),
            {
                "topic": ["cats", "<b>dogs</b>", "towns"][row % 3],
                "year": 2000 + row % 12,
                "day": f"2024-01-{1 + row % 20:02}",
            },
        )
        for row, text in enumerate(texts)
    ]
    folder, served = tmp_path_factory.mktemp("page"), []
    for name, pooling in (("before", "cls"), ("after", "mean")):
        index = Index.build(folder / name, tiny_bert, documents, pooling=pooling, console=Console(quiet=True))
        served.append(Served(name, index.model, index))
    return served


@pytest.fixture(scope="module")
def address(encoders):
    with listening(create_app(encoders)) as url:
        for one in encoders:  # the processes of low priority take long beside other work
            httpx.get(f"{url}/map", params={"model": one.name}, timeout=100).raise_for_status()
        yield url


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(browser, address, place="", viewport=WIDE, faults=(), **options):
    """Open the page; afterwards nothing may have failed and nothing may have come from elsewhere."""
    context = browser.new_context(viewport=viewport, **options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    said, elsewhere = [], []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(address) else elsewhere.append(request.url))
    page.goto(f"{address}/{place}")
    yield page
    assert page.evaluate("window.taken") is None
    context.close()
    assert [text for text in said if not any(fault in text for fault in faults)] == []
    assert [url for url in elsewhere if not url.startswith("data:")] == []


def received(page, routes, count):
    """Return the last of `count` intercepted requests once there are as many."""
    while len(routes) < count:
        page.wait_for_timeout(20)
    return routes[count - 1]


def test_results_come_while_one_types(browser, address, encoders):
    with opened(browser, address) as page:
        query = sentences(59)[7]
        page.get_by_role("searchbox").press_sequentially(query, delay=1)
        columns = page.locator("#results .results")
        expect(columns).to_have_count(2)  # two encoders, side by side
        for column, one in zip(columns.all(), encoders, strict=True):
            expect(column.locator("li")).to_have_count(10)
            expect(column.locator("li").first).to_contain_text(query)
            expected = [hit.score for hit in one.index.search(query, k=10)]
            for _ in range(50):  # the results of the last letter but one look alike
                shown = np.float64(column.locator(".score").all_inner_texts())
                if np.allclose(shown, expected, atol=ROUNDING):
                    break
                page.wait_for_timeout(100)
            assert np.allclose(shown, expected, atol=ROUNDING)
        expect(page.locator("#search-status")).to_contain_text("10 results in")
        page.get_by_label("Encoder").first.select_option("after")
        expect(columns).to_have_count(1)
        page.get_by_role("button", name="topic: towns").first.click()  # a value of the metadata becomes a filter
        expect(page.locator("#filters")).to_contain_text("topic: towns")
        expect(page.locator("#results .field", has_text="topic: cats")).to_have_count(0)


def test_an_incomplete_index_says_so(browser, address, encoders):
    index = encoders[0].index
    with opened(browser, address) as page:
        expect(page.locator("#incomplete")).to_be_hidden()
        replace(index.record, unfinished=("docs.jsonl",)).write(index.path)
        try:
            page.get_by_role("searchbox").fill("a cat")
            expect(page.locator("#incomplete")).to_contain_text(
                "is incomplete: a change from 'docs.jsonl' has not ended"
            )
        finally:
            replace(index.record, unfinished=()).write(index.path)
        page.get_by_role("searchbox").fill("a dog")
        expect(page.locator("#incomplete")).to_be_hidden()


def test_a_document_is_text_and_never_markup(browser, address):
    with opened(browser, address) as page:
        page.get_by_role("searchbox").fill(EVIL)
        first = page.locator("#results .results").first.locator("li").first
        expect(first.locator("p")).to_have_text(EVIL)
        expect(page.locator("main script, #results img, #results b")).to_have_count(0)
        expect(page.get_by_text("topic: <b>dogs</b>").first).to_be_visible()


def test_pairs_have_a_heat_map(browser, address, encoders):
    with opened(browser, address, "#pairs") as page:
        page.locator("#pairs-model").select_option("after")
        page.locator("#pairs-a").fill("the cat sat\n\ndogs ran past\nquiet towns")
        page.locator("#pairs-b").fill("the sea\nsmall books")
        expect(page.locator(".heat")).to_have_count(1)
        expect(page.locator(".heat td:not(:empty)")).to_have_count(6)
        rows = encoders[1].model.encode(["the cat sat", "small books"], normalize_embeddings=True)
        expect(page.locator(".heat tbody tr").first.locator("td").nth(1)).to_have_text(f"{rows[0] @ rows[1]:.2f}")
        page.locator("#pairs-b").fill("")
        expect(page.locator(".heat td:not(:empty)")).to_have_count(9)


def test_a_cell_of_the_heat_map_is_one_line(browser, address):
    """A minus sign must not part a number."""
    with opened(browser, address, "#pairs") as page:
        negative = {"scores": [[1, -0.29], [-0.29, 1]]}
        page.route("**/similarity", lambda route: route.fulfill(json=negative))
        page.locator("#pairs-a").fill("the cat sat\ndogs ran past")
        cells = page.locator(".heat").first.locator("td:not(:empty)")
        expect(cells.nth(1)).to_have_text("-0.29")
        lines = """cell => {
            const range = document.createRange();
            range.selectNodeContents(cell);
            return range.getClientRects().length;
        }"""
        assert [cell.evaluate(lines) for cell in cells.all()] == [1, 1, 1, 1]


def test_the_map(browser, address):
    with opened(browser, address, "#map") as page:
        expect(page.locator("#map-status")).to_have_text("60 documents, laid out by t-SNE.")
        canvas = page.locator("#map-canvas")
        picture = canvas.screenshot()
        box = canvas.bounding_box()
        tip = page.locator("#map-tip")
        for x, y in ((x, y) for y in range(5, int(box["height"]), 12) for x in range(5, int(box["width"]), 12)):
            page.mouse.move(box["x"] + x, box["y"] + y)
            if tip.is_visible():
                break
        text = tip.inner_text()
        assert text in [*sentences(59), *SCRIPTS, EVIL]
        page.mouse.down()
        page.mouse.up()
        expect(page.locator("#map-chosen h3")).to_have_text(text)
        expect(page.locator("#map-chosen .results li")).to_have_count(8)
        page.locator("#map-chosen .results button").first.click()  # from neighbour to neighbour
        expect(page.locator("#map-chosen h3")).not_to_have_text(text)
        page.locator("#map-legend button").first.click()
        expect(page.locator("#map-legend button").first).to_have_attribute("aria-pressed", "true")
        page.locator("#map-field").select_option("year")  # twelve years: two, and ten documents, to a step
        expect(page.locator("#map-legend button").first).to_have_text("2000 to 200110")
        expect(page.locator("#map-legend button").last).to_have_text("2010 to 201110")
        canvas.focus()
        page.keyboard.press("+")
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(100)
        assert canvas.screenshot() != picture
        page.keyboard.press("0")
        page.keyboard.press("Enter")
        expect(page.locator("#map-chosen h3")).to_have_count(1)


def test_keys_alone(browser, address):
    with opened(browser, address, "#pairs") as page:
        expect(page.locator(".heat").first).to_be_visible()
        page.locator("#main").focus()
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.keyboard.type("the cat")
        expect(page.locator("#results li").first).to_be_visible()
        page.reload()
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.keyboard.press("Tab")  # from the query, which has the focus, on to what follows
        assert page.evaluate("document.activeElement.id") == "search-model"
        for _ in range(8):
            page.keyboard.press("Shift+Tab")
            if page.evaluate("document.activeElement.hash") == "#map":
                break
        page.keyboard.press("Enter")
        expect(page.locator("#map-canvas")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["#search", "#pairs", "#map"])
def test_a_phone_needs_no_sideways_scrolling(browser, address, place, scheme):
    with opened(browser, address, place, PHONE, color_scheme=scheme) as page:
        if place == "#search":
            page.get_by_role("searchbox").fill("a" * 300)
        expect(page.locator("#results li, .heat, #map-legend button").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = np.mean([int(part) for part in background.strip("rgba()").split(",")[:3]])
        assert (brightness > 128) == (scheme == "light")


@pytest.mark.parametrize("place", ["#search", "#pairs", "#map"])
def test_long_names_fit_a_phone(browser, encoders, place):
    long = [Served(f"an-encoder-with-a-rather-long-name ({one.name})", one.model, one.index) for one in encoders]
    with listening(create_app(long)) as url, opened(browser, url, place, PHONE) as page:
        expect(page.locator(f"{place}-model")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        box = page.locator(f"{place}-model").bounding_box()
        assert box["x"] + box["width"] <= PHONE["width"]


def test_the_token_is_asked_for(browser, encoders):
    with (
        listening(create_app(encoders, token="s3cret")) as url,
        opened(browser, url, faults=["401"]) as page,
    ):
        form = page.locator("#token-form")
        expect(form).to_be_visible()
        page.get_by_role("link", name="Search").click()
        expect(page.locator("#problem")).to_be_hidden()  # what is served is not known yet
        page.locator("#token").fill("wrong")
        page.keyboard.press("Enter")
        expect(form).to_contain_text("not accepted")
        page.locator("#token").fill("s3cret")
        page.keyboard.press("Enter")
        expect(form).to_be_hidden()
        page.get_by_role("searchbox").fill("the cat")
        expect(page.locator("#results li").first).to_be_visible()


def test_without_an_index_there_are_pairs(browser, encoders):
    bare = [Served("bare", encoders[0].model)]
    with listening(create_app(bare)) as url, opened(browser, url) as page:
        expect(page.locator(".heat")).to_be_visible()
        page.get_by_role("link", name="Search").click()
        expect(page.locator("#problem")).to_contain_text("start it with --index")
        page.reload()
        expect(page.locator("#served")).to_contain_text("no index")
        expect(page.locator("#problem")).to_contain_text("start it with --index")


def test_what_goes_wrong_is_said(browser, encoders):
    with listening(create_app(encoders[:1])) as url, opened(browser, url, faults=["413", "status of"]) as page:
        page.get_by_role("searchbox").fill("x" * 20_001)
        expect(page.locator("#search-error")).to_contain_text("20001 characters")
        page.get_by_role("searchbox").fill("the cat")
        expect(page.locator("#search-error")).to_be_hidden()
        expect(page.locator("#results li").first).to_be_visible()


def test_the_url_holds_the_search_and_the_back_button_undoes_it(browser, address):
    place = "#search?q=the+cat&encoder=after&where=%7B%22topic%22%3A%5B%22towns%22%5D%7D&rerank=none"
    with opened(browser, address, place) as page:
        expect(page.get_by_role("searchbox")).to_have_value("the cat")
        expect(page.locator("#search-model")).to_have_value("after")
        expect(page.locator("#search-rerank")).to_have_value("none")
        expect(page.locator("#filters")).to_contain_text("topic: towns")
        expect(page.locator("#search-status")).to_contain_text("from 20 documents")
        assert page.url == f"{address}/{place}"
        page.locator("#filters button").click()
        expect(page.locator("#search-status")).to_contain_text("from 60 documents")
        page.locator("#search-model").select_option("before")
        expect(page).to_have_url(f"{address}/#search?q=the+cat&encoder=before&rerank=none")
        page.go_back()
        expect(page.locator("#search-model")).to_have_value("after")
        page.go_back()
        expect(page.locator("#filters")).to_contain_text("topic: towns")
        page.get_by_role("link", name="Pairs").click()
        page.get_by_role("link", name="Search").click()  # as one left it
        expect(page).to_have_url(f"{address}/{place}")
        page.goto(f"{address}/#search?q=the+cat&where=%7Bnonsense")
        expect(page.locator("#search-error")).to_have_text(
            "The filters of this link cannot be read; they are left out."
        )
        expect(page.locator("#results li").first).to_be_visible()


def test_facets_count_and_ranges_limit(browser, address):
    with opened(browser, address, "#search?q=the+cat&encoder=after") as page:
        expect(page.locator("#facet-fields legend")).to_have_text(["topic", "year", "day"])
        values = page.locator("#facet-fields li button")
        expect(values).to_have_text(["<b>dogs</b>20", "cats20", "towns20"])
        values.nth(1).click()
        values.nth(2).click()
        expect(page.locator("#filters")).to_contain_text("topic: cats or towns")
        expect(page.locator("#search-status")).to_contain_text("from 40 documents")
        expect(values).to_have_text(["<b>dogs</b>20", "cats20", "towns20"])  # the other values can still be added
        expect(values.nth(2)).to_be_focused()
        page.get_by_label("year, from").fill("2003")
        page.get_by_label("year, to").fill("2004")
        page.keyboard.press("Enter")
        expect(page.locator("#filters")).to_contain_text("year: 2003 to 2004")
        expect(page.locator("#search-status")).to_contain_text("from 5 documents")
        expect(page.get_by_label("year, to")).to_be_focused()
        expect(values).to_have_text(["<b>dogs</b>5", "cats5"])
        page.get_by_label("day, from").fill("2024-01-17")
        page.keyboard.press("Enter")
        expect(page.locator("#filters")).to_contain_text("day: from 2024-01-17")
        page.get_by_label("year, from").fill("3000")
        page.keyboard.press("Enter")
        expect(page.get_by_text("No documents found.")).to_be_visible()


@pytest.mark.parametrize("rest", ["05", ""])
def test_facets_that_arrive_keep_what_is_being_typed(rest, browser, address):
    with opened(browser, address, "#search?q=the+cat&encoder=after") as page:
        expect(page.locator("#facet-fields legend")).to_have_count(3)
        held = []
        page.route("**/facets", lambda route: held.append(route))
        page.get_by_label("year, from").fill("2003")
        page.keyboard.press("Tab")
        page.keyboard.type("20" if rest else "2005")
        with page.expect_response("**/facets"):
            received(page, held, 1).continue_()
        expect(page.locator("#facet-fields li button")).to_have_text(["<b>dogs</b>15", "cats15", "towns15"])
        page.unroute("**/facets")
        expect(page.get_by_label("year, to")).to_be_focused()
        page.keyboard.type(rest)
        page.keyboard.press("Tab")
        expect(page.locator("#filters")).to_contain_text("year: 2003 to 2005")
        expect(page.get_by_label("year, to")).to_have_value("2005")


def test_a_chosen_value_leaves_the_focus_in_the_query(browser, address):
    with opened(browser, address, "#search?q=the+cat&encoder=after") as page:
        page.locator("#results li").first.get_by_role("button", name="year:").press("Enter")
        expect(page.locator("#filters")).to_contain_text("year: ")
        expect(page.get_by_role("searchbox")).to_be_focused()


def test_more_results_follow(browser, address):
    with opened(browser, address, "#search?q=the+cat&encoder=after") as page:
        results = page.locator("#results li")
        expect(results).to_have_count(10)
        first = results.first.inner_text()
        page.get_by_role("button", name="More results").click()
        expect(results).to_have_count(20)
        assert results.first.inner_text() == first
        expect(results.nth(10).locator("button").first).to_be_focused()
        assert page.url.endswith("&k=20")
        for _ in range(4):
            page.get_by_role("button", name="More results").click()
        expect(results).to_have_count(60)
        page.get_by_role("button", name="More results").click()  # the service has just as many as were asked for
        expect(page.get_by_role("button", name="More results")).to_be_hidden()


def test_a_long_document_is_folded_around_its_best_passage(browser, address):
    filler = "Something else is said in this sentence. " * 30
    text = f"{filler}Kittens were sleeping on the sofa. {filler}"
    hit = {
        "id": "1",
        "text": text,
        "score": 0.5,
        "cosine": 0.5,
        "metadata": {"title": "Cats", "file": "cats.pdf", "page": 7},
    }
    answer = {"results": [hit], "milliseconds": 1, "cosine_weight": 1, "rerank": "none", "incomplete": None}
    with opened(browser, address) as page:
        page.route("**/search", lambda route: route.fulfill(json=answer))
        page.get_by_role("searchbox").fill("a sleeping kitten")
        first = page.locator("#results li").first
        expect(first.locator("p").nth(1)).to_have_text(re.compile(r"^… Kittens were sleeping on the sofa\. .* …$"))
        expect(first.locator(".place .field")).to_have_text(["Cats", "cats.pdf", "page 7"])
        first.get_by_role("button", name="Show all 2,495 characters (this is 49% in)").click()
        expect(first.locator(".whole")).to_be_visible()
        expect(first.locator("mark")).to_contain_text("Kittens were sleeping")


def test_groups_of_buttons_are_one_tab_stop(browser, address):
    with opened(browser, address, "#search?q=the+cat&encoder=after") as page:
        expect(page.locator("#results li")).to_have_count(10)
        expect(page.locator("#facet-fields legend")).to_have_count(3)
        stops = page.locator("main :is(a, button, input, select, summary, [tabindex]):visible").evaluate_all(
            "all => all.filter((one) => one.tabIndex >= 0 && one.id !== 'main').length"
        )
        assert stops == 11  # query, two selects, the panel, its values, its four inputs, the results, and more
        buttons = page.locator("#results li").first.locator("button")
        buttons.first.focus()
        page.keyboard.press("ArrowRight")
        expect(buttons.nth(1)).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(page.locator("#results li").nth(1).locator("button").first).to_be_focused()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        expect(page.locator("#results li").nth(1).locator("button").first).to_be_focused()


def test_the_map_finds_a_query_and_names_its_regions(browser, address):
    with opened(browser, address, "#map?encoder=after&colour=year&q=the+cat") as page:
        expect(page.locator("#map-status")).to_have_text(
            "60 documents, laid out by t-SNE. The diamond marks the query, among its nearest documents."
        )
        expect(page.locator("#map-field")).to_have_value("year")
        expect(page.locator("#map-clusters button")).to_have_count(2)
        picture = page.locator("#map-canvas").screenshot()
        page.locator("#map-query").fill("")
        expect(page.locator("#map-status")).to_have_text("60 documents, laid out by t-SNE.")
        page.wait_for_timeout(100)
        without = page.locator("#map-canvas").screenshot()
        assert without != picture
        page.locator("#map-clusters button").first.click()
        page.wait_for_timeout(100)
        assert page.locator("#map-canvas").screenshot() != without
        expect(page).to_have_url(f"{address}/#map?encoder=after&colour=year")
        page.locator("#map-field").select_option("one colour")
        page.reload()
        expect(page.locator("#map-field")).to_have_value("")
        expect(page.locator("#map-clusters button")).to_have_count(2)
        page.go_back()
        expect(page.locator("#map-field")).to_have_value("year")


def test_the_map_says_that_it_is_a_sample_and_how_far_it_is(browser, address):
    point = {"id": "1", "x": 0, "y": 0, "text": "a", "metadata": {}}
    answer = {
        "points": [point],
        "documents": 7000,
        "clusters": [],
        "fields": [],
        "method": "t-SNE",
        "incomplete": None,
    }
    with opened(browser, address, "#pairs") as page:
        maps, inquiries = [], []
        page.route("**/map/progress?*", lambda route: inquiries.append(route))
        page.route("**/map?*", lambda route: maps.append(route))
        page.get_by_role("link", name="Map").click()
        received(page, inquiries, 1).fulfill(json={"share": 0.25})
        expect(page.locator("#map-status")).to_have_text("Computing the map; this is needed once. 25% done.")
        expect(page.locator("#map-progress")).to_have_js_property("value", 0.25)
        late = received(page, inquiries, 2)
        received(page, maps, 1).fulfill(json=answer)
        expect(page.locator("#map-status")).to_have_text("A random sample of 1 of 7,000 documents, laid out by t-SNE.")
        with page.expect_response("**/map/progress?*"):
            late.fulfill(json={"share": 0.5})
        page.wait_for_timeout(100)
        expect(page.locator("#map-progress")).to_be_hidden()
        expect(page.locator("#map-status")).to_have_text("A random sample of 1 of 7,000 documents, laid out by t-SNE.")


def test_a_map_that_comes_late_leaves_another_view_alone(browser, address):
    with opened(browser, address, "#search?q=the+cat&encoder=after") as page:
        maps = []
        page.route("**/map?*", lambda route: maps.append(route))
        page.get_by_role("link", name="Map").click()
        late = received(page, maps, 1)
        page.go_back()
        expect(page.locator("#results li").first).to_be_visible()
        late.continue_()
        expect(page.locator("#map-status")).to_contain_text("60 documents")
        assert page.url == f"{address}/#search?q=the+cat&encoder=after"


def test_a_map_that_was_left_for_another_does_not_come_back(browser, address):
    with opened(browser, address, "#map?encoder=before") as page:
        expect(page.locator("#map-status")).to_contain_text("60 documents")
        before = page.url
        maps = []
        page.route("**/map?*", lambda route: maps.append(route))
        page.locator("#map-model").select_option("after")
        late = received(page, maps, 1)
        page.evaluate("url => { location.href = url }", f"{address}/#pairs")
        expect(page.locator(".heat").first).to_be_visible()
        page.evaluate("url => { location.href = url }", before)
        expect(page.locator("#map-model")).to_have_value("before")
        late.continue_()
        page.wait_for_timeout(200)
        assert page.url == before


def test_neighbours_that_come_late_belong_to_the_map_before(browser, address):
    with opened(browser, address, "#map?encoder=before") as page:
        expect(page.locator("#map-status")).to_contain_text("60 documents")
        asked = []
        page.route("**/neighbours?*", lambda route: asked.append(route))
        page.evaluate("url => { location.href = url }", f"{address}/#map?encoder=before&id=3")
        late = received(page, asked, 1)
        page.locator("#map-model").select_option("after")
        expect(page).to_have_url(re.compile("encoder=after"))
        expect(page.locator("#map-status")).to_contain_text("60 documents")
        late.fulfill(json={"results": []})
        page.wait_for_timeout(200)
        expect(page.locator("#map-chosen")).to_be_empty()
        expect(page.locator("#map-error")).to_be_hidden()


def test_a_map_that_fails_says_so_alone(browser, address):
    with opened(browser, address, "#pairs", faults=["503"]) as page:
        answer = {"error": {"message": "The service is busy.", "type": "server_error"}}
        page.route("**/map?*", lambda route: route.fulfill(status=503, json=answer))
        page.get_by_role("link", name="Map").click()
        expect(page.locator("#map-error")).to_have_text("The service is busy.")
        page.locator("#map-query").fill("the cat")
        page.wait_for_timeout(500)
        expect(page.locator("#map-error")).to_have_text("The service is busy.")
        expect(page.locator("#map-status")).to_be_empty()
        assert page.locator("#map-canvas").get_attribute("aria-busy") is None


def test_the_keyboard_goes_from_neighbour_to_neighbour(browser, address):
    with opened(browser, address, "#map?encoder=after&id=3") as page:
        neighbours = page.locator("#map-chosen li button")
        expect(neighbours.first).to_be_visible()
        text = neighbours.first.inner_text()
        neighbours.first.press("Enter")
        expect(page.locator("#map-chosen h3")).to_have_text(text)
        expect(page.locator("#map-chosen button").first).to_be_focused()


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, address, scheme, viewport):
    """Contrast, names and roles, by axe-core."""
    with opened(browser, address, viewport=viewport, color_scheme=scheme) as page:
        for place in ("#search?q=the+cat&where=%7B%22year%22%3A%5B2003%5D%7D", "#pairs", "#map?q=the+cat&id=3"):
            page.goto(f"{address}/{place}")
            expect(page.locator("#results li:visible, .heat:visible, #map-chosen li:visible").first).to_be_visible()
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize(
    ("text", "direction"), zip(SCRIPTS, ("rtl", "ltr", "ltr"), strict=True), ids=["ar", "zh", "emoji"]
)
def test_any_script_is_found_by_a_link_and_shown_in_its_direction(text, direction, browser, address):
    with opened(browser, address, f"#search?q={quote(text)}&encoder=after") as page:
        found = page.locator("#results .results li").first
        expect(found).to_contain_text(text)
        shown = found.get_by_text(text, exact=True).first
        assert shown.evaluate("part => getComputedStyle(part).direction") == direction
        assert page.locator("#query").evaluate("box => getComputedStyle(box).direction") == direction
        assert page.locator("#query").input_value() == text
