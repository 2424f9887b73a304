"""The console in a real browser: with the keyboard alone, without a script, in the dark, and against hostile texts."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.hub.documents import review_record
from tests.hub.servers import HubProcess

pytestmark = pytest.mark.integration

KEY = "pk-ann"
PRINCIPLES = [
    {"id": "life_first", "sentence": "A danger to life or health comes before every other concern.", "weight": 0.41},
    {"id": None, "sentence": None, "weight": 0.2},
    {"id": "fail_safe", "sentence": "When a reading is missing, the system becomes more careful.", "weight": 0.15},
    {"id": "fairness", "sentence": "Equal questions get equal answers, whoever asks them.", "weight": 0.1},
    {"id": "oversight", "sentence": "People can understand, overrule and stop the system.", "weight": 0.08},
    {"id": "honesty", "sentence": "Nothing is said to be certain that is not.", "weight": 0.058},
    {"id": "privacy", "sentence": "What was told for one purpose is used for no other.", "weight": 0.002},
]
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        # root needs --no-sandbox; the pages are our own
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Browser, hub: HubProcess) -> Iterator[Browser]:
    """Its windows are closed before the hub ends: they would ask it for the count for ever."""
    yield chromium
    for context in chromium.contexts:
        context.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    """A hub with four reviews; one key may review and report."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    (tmp_path / "access.yaml").write_text(
        f"keys:\n  - {{id: ann, sha256: {digest}, scopes: [review, engine, admin]}}\n"
    )
    environment = {
        "PROMETHIOS_HUB_DATABASE_URL": f"sqlite:///{tmp_path}/hub.db",
        "PROMETHIOS_HUB_ACCESS_FILE": str(tmp_path / "access.yaml"),
    }
    process = HubProcess(environment, tmp_path / "hub.log")
    process.start()
    records = [review_record(number, principles=PRINCIPLES if number == 0 else None) for number in range(3)]
    hostile = [{"role": "user", "content": HOSTILE}]
    api(process, "/v1/reviews", {"reviews": [*records, review_record(3, messages=hostile, response=HOSTILE)]})
    yield process
    process.stop()


def api(hub: HubProcess, path: str, body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(hub.url + path, data, headers), timeout=30) as reply:
        return json.load(reply)


def review(hub: HubProcess, number: int) -> Any:
    return api(hub, f"/v1/reviews/gov-{number:012d}")


COMPLAINTS: list[str] = []


@pytest.fixture(autouse=True)
def no_complaints() -> Iterator[None]:
    """What the browser complains about (a script that failed, a policy that was broken) fails the test."""
    COMPLAINTS.clear()
    yield
    assert [each for each in COMPLAINTS if "409" not in each] == []


def signed_in(context: BrowserContext, hub: HubProcess) -> Page:
    """A page that shows the queue."""
    page = context.new_page()
    page.on("console", lambda message: COMPLAINTS.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: COMPLAINTS.append(str(error)))
    page.goto(f"{hub.url}/console")
    page.get_by_label("Your key").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    return page


def press(page: Page, key: str) -> None:
    """Press a key of the page's script, once that has run: a test is faster than any person."""
    expect(page.locator("html.js")).to_be_attached()
    page.keyboard.press(key)


def test_a_reviewer_works_with_the_keyboard_alone(browser: Browser, hub: HubProcess) -> None:
    page = signed_in(browser.new_context(), hub)
    press(page, "j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Healthcare")).to_be_visible()
    press(page, "a")
    expect(page.get_by_role("heading", name="Legal")).to_be_visible()
    assert (review(hub, 0)["action"], review(hub, 0)["reviewer"]) == ("approve", "ann")
    press(page, "e")
    expect(page.get_by_label("The text as it should be")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("Please ask your lawyer: area words.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Finance")).to_be_visible()
    assert review(hub, 1)["final_response"] == "Please ask your lawyer: area words."
    press(page, "o")
    page.keyboard.press("Space")
    page.get_by_label("Your answer to the user").fill("Yes, you may.")
    page.get_by_role("button", name="Send your decision").press("Enter")
    expect(page.get_by_role("heading", name="No domain")).to_be_visible()
    assert (review(hub, 2)["final_decision"], review(hub, 2)["final_response"]) == ("answer", "Yes, you may.")


def test_hostile_texts_do_nothing(browser: Browser, hub: HubProcess) -> None:
    page = signed_in(browser.new_context(), hub)
    page.goto(f"{hub.url}/console/reviews/gov-{3:012d}")
    expect(page.locator(".message.user .text")).to_have_text(HOSTILE)
    assert page.title() == "Review · Promethios review"


def test_a_review_shows_which_principles_fired_and_the_rest_on_request(browser: Browser, hub: HubProcess) -> None:
    page = signed_in(browser.new_context(), hub)
    page.goto(f"{hub.url}/console/reviews/gov-{0:012d}")
    shown = page.get_by_role("region", name="Principles it looked at")
    items = shown.get_by_role("listitem")
    expect(items).to_have_count(5)
    expect(items.nth(0)).to_have_text(
        "A danger to life or health comes before every other concern. 41\N{NO-BREAK SPACE}%"
    )
    expect(items.nth(1)).to_contain_text("no principle names")
    shown.get_by_text("2 more").press("Enter")
    expect(items).to_have_count(7)
    expect(items.nth(6)).to_contain_text("below 1\N{NO-BREAK SPACE}%")
    assert page.evaluate(WEAK_TEXTS) == []


def test_a_review_whose_model_tells_no_principles_shows_none(browser: Browser, hub: HubProcess) -> None:
    page = signed_in(browser.new_context(), hub)
    page.goto(f"{hub.url}/console/reviews/gov-{1:012d}")
    expect(page.get_by_role("heading", name="The model's decision")).to_be_visible()
    assert "rinciple" not in page.inner_text("main")


def test_everything_works_without_a_script(browser: Browser, hub: HubProcess) -> None:
    page = signed_in(browser.new_context(java_script_enabled=False), hub)
    page.get_by_role("link", name="Question 0").click()
    page.get_by_text("Decide otherwise: “hand to a person” was wrong").click()
    page.get_by_label("ask back").check()
    page.get_by_label("Your answer to the user").fill("Which medicine do you take?")
    page.get_by_role("button", name="Send your decision").click()
    expect(page.get_by_role("heading", name="Legal")).to_be_visible()
    assert review(hub, 0)["final_decision"] == "clarify"


def test_the_number_of_open_reviews_follows_by_itself(browser: Browser, hub: HubProcess) -> None:
    context = browser.new_context()
    page = signed_in(context, hub)
    expect(page.locator("[data-open-count]")).to_have_text("4")
    page.clock.install()
    page.reload()
    api(hub, "/v1/reviews", {"reviews": [review_record(4)]})
    page.clock.fast_forward(11_000)
    expect(page.locator("[data-open-count]")).to_have_text("5")
    expect(page).to_have_title("5 open · Promethios review")


def test_two_reviewers_of_one_review_do_not_overwrite_each_other(browser: Browser, hub: HubProcess) -> None:
    first, second = (signed_in(browser.new_context(), hub) for _ in range(2))
    for page in (first, second):
        page.goto(f"{hub.url}/console/reviews/gov-{0:012d}")
    first.get_by_role("button", name="Approve").click()
    expect(first.get_by_role("heading", name="Legal")).to_be_visible()
    api_before = review(hub, 0)
    second.get_by_role("button", name="Reject").click()
    expect(second.get_by_role("alert")).to_contain_text("Somebody else worked on this review")
    assert review(hub, 0) == api_before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(browser: Browser, hub: HubProcess, scheme: Any) -> None:
    page = signed_in(browser.new_context(color_scheme=scheme), hub)
    for path in ("reviews", f"reviews/gov-{0:012d}", "metrics", "experiments"):
        page.goto(f"{hub.url}/console/{path}")
        weak = page.evaluate(WEAK_TEXTS)
        assert weak == [], path


def test_every_field_has_a_label_and_every_page_one_heading_and_its_landmarks(
    browser: Browser, hub: HubProcess
) -> None:
    page = signed_in(browser.new_context(), hub)
    for path in ("reviews", f"reviews/gov-{0:012d}", "metrics", "experiments"):
        page.goto(f"{hub.url}/console/{path}")
        assert page.evaluate(UNLABELLED) == [], path
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.get_by_role("main")).to_have_count(1)
        expect(page.get_by_role("navigation", name="Main")).to_have_count(1)
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no scrolling sideways"


# WCAG 2.2, 1.4.3: contrast of each text with the nearest background below it, 4.5 or more.
WEAK_TEXTS = """() => {
  const light = (c) => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const lum = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const parse = (css) => css.match(/[\\d.]+/g).map(Number);
  const below = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  return [...document.querySelectorAll("main *, header *")].filter((e) => e.checkVisibility()
    && !e.closest("svg") && e.tagName !== "OPTION"
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
    .map((e) => { const a = lum(parse(getComputedStyle(e).color)), b = lum(below(e));
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName + " " + e.textContent.trim().slice(0, 40)];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""
UNLABELLED = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button")]
  .filter((e) => !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label"))).map((e) => e.outerHTML)"""
