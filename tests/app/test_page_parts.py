"""Protects what the page is made of, without a browser: limits, escaping, parts of the model folder, refusals."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

gr = pytest.importorskip("gradio", reason='the page is not installed (pip install -e ".[app]")')

import httpx  # noqa: E402
from app_parts import drawing  # noqa: E402
from app_parts.desk import UNFORESEEN, in_a_sentence  # noqa: E402
from app_parts.limits import RateLimit, spoken  # noqa: E402
from app_parts.serving import PageOptions, serve_page, watch_samples  # noqa: E402
from app_parts.watching import Seen, clip_pictures  # noqa: E402

BROWSER = httpx.Client(timeout=90)  # by itself it waits 5 s, which on a busy machine is not enough
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Tags(HTMLParser):
    """What a browser makes of some HTML: tags and the values of their attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.attributes = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def seen_video(**changes):
    """Three clips, of which two have a picture, and two sentences."""
    row = {
        "video_id": "film",
        "duration": 4.5,
        "clip_seconds": 1.5,
        "sentences": [
            {"text": "now cut the lemon.", "start": 0.3, "end": 1.5},
            {"text": "good.", "start": 3.0, "end": 3.4},
        ],
        "visual_ids": [7, 7, 2],
        "error": None,
        "notes": None,
    }
    return Seen("film.mp4", row | changes, ["AAAA", "BBBB"])


def test_a_timeline_tells_when_everything_is():
    """Clips and sentences lead to their starts; a place without a picture says so; the words are those of the row."""
    html = drawing.timeline(seen_video(), {7: "CCCC"}.get)
    assert re.findall(r'data-time="([\d.]+)"', html) == ["0.00", "1.50", "3.00", "0.30", "3.00"]
    assert html.count("What visual token 7 looks like") == 2 and html.count("vb-patch") == 1
    assert html.count("no picture") == 1
    assert "4.5 s, 3 clips of 1.5 s as 2 different visual tokens, 2 sentences" in html
    # The first one has its lane for itself until 3 clips after its end: 1.2 s of 5.7.
    assert "--start: 0.200; --room: 3.800; --lane: 0; --spoken: 21%" in html
    assert "vb-said" not in drawing.timeline(seen_video(sentences=[]), {}.get)


def test_a_clip_with_several_codes_is_one_clip():
    """Two visual ids a clip: both are shown in its place, and times are those of clips."""
    seen = seen_video(visual_ids=[1, 9, 2, 8], tokens_per_clip=2)
    html = drawing.timeline(seen, {}.get)
    assert re.findall(r'data-time="([\d.]+)"', html)[:2] == ["0.00", "1.50"] and html.count("vb-when") == 2 + 2
    assert re.findall(r"<b>(\d)</b>", html) == ["1", "9", "2", "8"]
    assert "2 clips of 1.5 s as 4 different visual tokens" in html
    answer = {"horizon": 1, "start": 1.5, "end": 3.0, "visual_ids": [[1, 9]], "scores": [0.5]}
    assert re.findall(r"<b>(\d)</b>", drawing.future([answer], seen, {}.get)) == ["1", "9", "2", "8"]


def test_nothing_of_a_video_or_a_model_becomes_html():
    """Names, sentences, errors, words and even pictures come from strangers, or through a process of theirs."""
    said = [{"text": HOSTILE, "start": 0.0, "end": 1.0}]
    seen = seen_video(sentences=said, error=HOSTILE, notes=HOSTILE)
    seen.name, seen.pictures = HOSTILE, [HOSTILE, "BBBB"]
    answers = [{"horizon": 1, "start": 1.5, "visual_ids": [2], "scores": [0.5], "end": 3.0}]
    answers[0]["words"] = [[{"token_str": HOSTILE, "score": 0.5}]]
    for html in (
        drawing.timeline(seen, lambda _: HOSTILE),
        drawing.filled_masks([{HOSTILE: [(HOSTILE, 0.5)]}]),
        drawing.future(answers, seen, lambda _: HOSTILE),
        drawing.moments([{"start": 0.0, "end": 1.5, "text": HOSTILE}], seen),
    ):
        found = Tags(html)
        assert "script" not in found.tags and "onerror" not in found.attributes
        assert not found.open


def test_limits_count_each_visitor_for_themselves():
    """Two an hour: the third waits until the first is an hour old; others are not asked to."""
    now = [0.0]
    limit = RateLimit(2, 3600, "videos", lambda: now[0])
    limit.take("one")
    now[0] = 600
    limit.take("one")
    limit.take("another")
    now[0] = 1000
    with pytest.raises(ValueError, match="2 videos in 1 hour are allowed.* the next one is in 44 minutes"):
        limit.take("one")
    now[0] = 3600
    limit.take("one")
    with pytest.raises(ValueError, match="in 10 minutes"):
        limit.take("one")


@pytest.mark.parametrize(
    "seconds, words", [(0.2, "1 second"), (59, "59 seconds"), (60, "1 minute"), (61, "2 minutes"), (7200, "2 hours")]
)
def test_spoken_times(seconds, words):
    """Rounded up: whoever comes back then is not sent away again."""
    assert spoken(seconds) == words


def test_errors_of_ours_are_told_and_others_are_not():
    """A sentence of ours is for the visitor; what nobody foresaw may hold secrets."""
    with pytest.raises(gr.Error) as told, in_a_sentence():
        RateLimit(0, 60, "<b>")
    assert "0 &lt;b&gt; in 1 minute cannot be the limit" in told.value.message
    with pytest.raises(gr.Error) as told, in_a_sentence():
        int("a secret")
    assert told.value.message == UNFORESEEN


def test_a_folder_that_is_none_is_refused(tmp_path):
    """Before anything is started."""
    with pytest.raises(ValueError, match="is no folder"), serve_page(PageOptions(tmp_path / "nowhere")):
        pass


def test_a_page_that_could_watch_nothing_is_refused(page_folder, tmp_path):
    """Before it is open: without a process that watches, or without a codebook that names what is seen."""
    from processing import VideoBertProcessor

    with pytest.raises(ValueError, match="workers is 0; allowed is 1 or more"):
        serve_page(PageOptions(page_folder, workers=0)).__enter__()
    processor = VideoBertProcessor.from_pretrained(page_folder)
    processor.codebook = None
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no codebook"):
        serve_page(PageOptions(tmp_path)).__enter__()


def test_samples_of_one_name_are_two_videos(tmp_path):
    """Folders may hold files of the same name."""
    for name in ("a", "b"):
        (tmp_path / "given" / name).mkdir(parents=True)
        (tmp_path / "given" / name / "film.mp4").write_text(name)

    class Blind:
        def look(self, path, visitor, on_progress):
            return Seen(Path(path).name, {"visual_ids": []}, [])

    samples = watch_samples(tmp_path / "given", Blind(), tmp_path / "copies")
    assert [one.path.read_text() for one in samples.values()] == ["a", "b"]


def test_pictures_of_clips_are_progress(videos):
    """A large video takes long to read once more; without a sign its process would be ended."""
    told = []
    assert len(clip_pictures(str(videos / "first.mp4"), 1.5, 3, told.append)) == 3
    assert told == ["pictures"] * 3


def test_what_lies_in_the_model_folder_is_found(tmp_path):
    """A part that is named comes first."""
    (tmp_path / "captioner").mkdir()
    options = PageOptions(tmp_path, samples=Path("mine"))
    assert [options.beside(name) for name in ("captioner", "samples", "forecaster")] == [
        tmp_path / "captioner",
        Path("mine"),
        None,
    ]


def look_at(served, path):
    """What the page answers to a video given by a path that nobody uploaded, as only a program would."""
    video = {"path": path, "meta": {"_type": "gradio.FileData"}}
    address = f"{served.address}gradio_api/call/look"
    event = BROWSER.post(address, json={"data": [video]}).json()["event_id"]
    return BROWSER.get(f"{address}/{event}").text


def test_only_uploaded_files_are_opened(served, tmp_path):
    """Neither a file of this machine nor an address is opened, whatever a program asks for."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    assert 'event: error\ndata: {"error": null}' in look_at(served, str(secret))
    for address in ("http://127.0.0.1:9/film.mp4", "https://example.com/film.mp4"):
        assert "addresses are not opened" in look_at(served, address)


def test_what_the_page_shows_is_no_video_of_a_visitor(served):
    """The folder of what a visitor gave is deleted when they leave: the samples' must never be taken for it."""
    (picture,) = (served.uploads.parent / "samples").rglob("*.jpg")
    assert "Nobody gave this file to the page" in look_at(served, str(picture))
    assert "Nobody gave this file to the page" in look_at(served, f"{picture.parent}/../{picture.parent.name}/")


def test_a_browser_is_told_to_ask_nobody_else(served):
    """By the headers of every answer; and Gradio tells nobody of visits."""
    answer = BROWSER.get(served.address)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert BROWSER.get(f"{served.address}config").json()["analytics_enabled"] is False


def test_another_codebook_is_refused(page_folder, tmp_path):
    """A captioner whose visual ids mean other things would speak nonsense."""
    from support.tiny_rows import tiny_processor

    tiny_processor().save_pretrained(tmp_path / "captioner")
    options = PageOptions(page_folder, captioner=tmp_path / "captioner")
    with pytest.raises(ValueError, match="has another codebook"), serve_page(options):
        pass
