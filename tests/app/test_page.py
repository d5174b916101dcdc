"""Protects the page as people meet it, in a real browser: what they give, what they see, and what stays private."""

import re
import time
from urllib.parse import urlsplit

import psutil
import pytest

pytest.importorskip("gradio", reason='the page is not installed (pip install -e ".[app]")')
reason = 'no browser is driven (pip install -e ".[app-test]")'
expect = pytest.importorskip("playwright.sync_api", reason=reason).expect

OWN = ("data:", "blob:")


def give(page, path):
    """Drops a video on the page."""
    page.locator("#player input[type=file]").set_input_files(path)


def ask(page, tab, button):
    page.get_by_role("tab", name=tab).click()
    page.get_by_role("button", name=button, exact=True).click()


def test_a_video_is_watched_and_asked_about(visit, served):
    """From the upload to every answer; buttons lead the player, and the page asks nobody but its own server."""
    page = visit()
    give(page, served.videos / "first.mp4")
    clips = page.locator(".vb-clips li")
    expect(clips).to_have_count(3)  # 4.6 s, of which the last half clip counts
    expect(page.get_by_role("img", name="Frame at 2.2 s")).to_be_visible()
    expect(page.locator(".vb-clips .vb-patch b").first).to_have_text(re.compile(r"\d+"))

    clips.nth(2).get_by_role("button").click()
    page.wait_for_function("document.querySelector('#player video').currentTime >= 3")

    ask(page, "Fill in", "Fill in")
    charts = page.locator("#filled table")
    expect(charts).to_have_count(6)  # two masks, three ways to ask
    names = ["with this video", "without video", "with another video, sample 1"]
    assert charts.locator("caption").all_inner_texts() == names * 2
    expect(charts.first.locator("tr")).to_have_count(5)
    assert "%" in charts.first.locator("td").last.inner_text()

    ask(page, "What next", "What comes next?")
    expect(page.locator("#future section")).to_have_count(4)
    expect(page.locator("#future .vb-expected .vb-token")).to_have_count(12)

    ask(page, "Caption", "Say what the video shows")
    expect(page.locator("#captions")).not_to_be_empty()

    page.get_by_role("tab", name="Find").click()
    page.get_by_label("What happens in the moment you look for").fill("cut the lemon")
    page.get_by_role("button", name="Find", exact=True).click()
    expect(page.locator("#found [data-time]").first).to_contain_text("nobody speaks")

    hosts = {urlsplit(url).netloc for url in page.asked if not url.startswith(OWN)}
    assert hosts == {urlsplit(served.address).netloc}
    assert not [line for line in page.told if "Content Security Policy" in line]


def test_a_sample_needs_no_file(visit, served):
    """Picked with the keyboard alone; what comes after half of it stands beside what came. Nothing of it lies where
    files are deleted after an hour."""
    page = visit()
    page.locator("#samples button").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".vb-clips li")).to_have_count(3)
    page.get_by_role("tab", name="What next").click()
    page.get_by_role("spinbutton").fill("1.5")
    page.get_by_role("spinbutton").blur()
    page.get_by_role("button", name="What comes next?").click()
    expect(page.locator("#future .vb-came")).to_have_count(2)  # one and two clips ahead; four would be after the end
    page.wait_for_function("document.querySelector('#player video').duration > 4")
    page.wait_for_function("document.querySelector('#samples img').naturalWidth > 0")
    assert not list(served.uploads.rglob("kitchen_1.*"))


def test_bad_videos_are_told_in_a_sentence(visit, served):
    """No traceback, no path of the server, and what was seen before is gone."""
    for name, sentence in {
        "text.mp4": "text.mp4: not a readable video or sound file",
        "too_long.mp4": "too_long.mp4: it lasts 2.2 minutes; allowed are 2.",
        "large.mp4": "maximum allowed size",
    }.items():
        page = visit()
        page.locator("#samples button").click()
        expect(page.locator(".vb-clips li")).to_have_count(3)
        page.locator("#player").get_by_role("button", name="Clear").click()
        give(page, served.videos / name)
        told = page.get_by_test_id("toast-body").filter(has_text=sentence)
        expect(told).to_be_visible()
        assert str(served.uploads) not in told.inner_text()
        expect(page.locator(".vb-clips li")).to_have_count(0)
    page.get_by_role("button", name="Fill in", exact=True).click()
    expect(page.get_by_test_id("toast-body").filter(has_text="There is no video yet")).to_be_visible()


def test_two_visitors_at_once_get_their_own(visit, served):
    """One process watches for both; neither sees the other's video."""
    pages = [visit(), visit()]
    give(pages[0], served.videos / "first.mp4")
    give(pages[1], served.videos / "second.mp4")
    expect(pages[1].locator(".vb-timeline")).to_contain_text("second.mp4")
    expect(pages[0].locator(".vb-timeline")).to_contain_text("first.mp4")
    assert [page.locator(".vb-clips li").count() for page in pages] == [3, 4]


def test_a_phone_shows_it_all(visit):
    """Only the timeline scrolls sideways, and every control has a name."""
    page = visit(viewport={"width": 390, "height": 844}, device_scale_factor=2, is_mobile=True, has_touch=True)
    page.locator("#samples button").tap()
    expect(page.locator(".vb-clips li")).to_have_count(3)
    page.get_by_role("button", name="Fill in", exact=True).tap()
    expect(page.locator("#filled table")).to_have_count(4)  # there is no other video to compare the sample with
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, input, textarea, img")].filter((one) => one.offsetParent
            && !(one.getAttribute("aria-label") || one.title || one.alt || one.innerText?.trim()
            || one.labels?.length)).map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert not nameless


def test_a_stopped_video_is_watched_no_more(visit, served):
    """Stop ends the work, and the next video is watched all the same."""
    page = visit()
    watching = [one for one in psutil.Process().children() if "corpus.child import serve" in " ".join(one.cmdline())]
    assert watching
    for process in watching:
        process.suspend()  # else it may have seen the video before anybody stops it
    give(page, served.videos / "first.mp4")
    expect(page.locator("#timeline")).to_contain_text(re.compile("Watching|Opening"))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#timeline")).to_contain_text("Stopped.")
    page.locator("#player").get_by_role("button", name="Clear").first.click()
    give(page, served.videos / "second.mp4")
    expect(page.locator(".vb-clips li")).to_have_count(4)


def test_nothing_remains_when_a_visitor_leaves(visit, served):
    """The upload is deleted with the page that it was given to."""
    page = visit()
    give(page, served.videos / "second.mp4")
    expect(page.locator(".vb-clips li")).to_have_count(4)
    assert list(served.uploads.rglob("second.mp4"))
    page.context.close()
    deadline = time.monotonic() + 90
    while list(served.uploads.rglob("second.mp4")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not list(served.uploads.rglob("second.mp4"))
