"""A reviewer at work in a real browser, headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, expect, sync_playwright


@contextmanager
def signed_in(hub: str, key: str) -> Iterator[Page]:
    """The console's queue, for whom the key belongs to.

    Raises:
        RuntimeError: There is no Chromium.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise RuntimeError("the review is done in Chromium: apt install chromium (scripts/e2e-setup.sh does)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])  # for root; our own pages
        page = browser.new_page()
        page.goto(f"{hub}/console")
        page.get_by_label("Your key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Queue")).to_be_visible()
        yield page
        browser.close()


def override(page: Page, hub: str, review_id: str, decision: str, response: str) -> None:
    """Decide a review otherwise than the model: the decision in the console's words, and what the user is told."""
    page.goto(f"{hub}/console/reviews/{review_id}")
    expect(page.locator("html.js")).to_be_attached()  # the page's script runs
    page.keyboard.press("o")
    page.get_by_label(decision, exact=True).check()
    page.get_by_label("Your answer to the user").fill(response)
    page.get_by_role("button", name="Send your decision").click()
    page.wait_for_url(lambda url: review_id not in url)  # the next review, or the queue; a refusal stays
