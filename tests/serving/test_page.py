"""The page for people: it shows what `flaxcnn predict` says, each layer with its shape, and asks for nothing else."""

import base64
import html.parser
import io
import json
import re

import httpx
import numpy as np
import PIL.Image
import pytest

from flaxcnn.prediction.loading import load
from flaxcnn.serving.looking import Looker
from scripts.screenshots import draw
from tests.browsers import CHROMIUM, started_browser
from tests.explanations.nets import Linear, subject_of
from tests.serving.service import started

OCTETS = {"content-type": "application/octet-stream"}
SCRIPTS = ("page.js", "asking.js", "choosing.js", "drawing.js", "showing.js")


def picture(url):
    head, _, text = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(text))))


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    loaded = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            loaded.extend(value for name, value in attributes if name in ("src", "href"))

    Parser().feed(page.text)
    assert loaded == ["data:,", "page.css", "page.js"]
    for name, kind in (("page.css", "text/css"), *((script, "text/javascript") for script in SCRIPTS)):
        found = client.get(f"/{name}")
        assert found.headers["content-type"].startswith(kind)
        assert "://" not in found.text
        assert set(re.findall(r'from "\./(.*?)"', found.text)) <= set(SCRIPTS)


def test_a_look_has_the_answer_of_predict_and_each_layer_with_its_shape(client, shapes_run, flaxcnn):
    folder, paths = shapes_run
    done = client.post("/look?explain=1", content=paths[0].read_bytes(), headers=OCTETS)
    assert done.status_code == 200, done.text
    found, model = done.json(), load(folder)
    said = flaxcnn("predict", folder, paths[0], "--format", "jsonl", "--top", "10").stdout
    assert found["answer"] == {name: value for name, value in json.loads(said).items() if name != "image"}
    pixels = model.decode(paths[0].read_bytes(), "x")
    np.testing.assert_array_equal(picture(found["seen"]), np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    subject = model.subject
    _, endpoints = subject.model.apply(subject.variables, pixels[None] / np.float32(255), train=False)
    shapes = {layer["name"]: tuple(layer["shape"]) for layer in found["layers"]}
    assert shapes == {name: array.shape[1:] for name, array in endpoints.items()}
    extents = [layer["shape"][0] for layer in found["layers"] if len(layer["shape"]) == 3]
    assert extents == sorted(extents, reverse=True)
    assert extents[0] == pixels.shape[0]
    assert found["layers"][-1]["shape"] == [len(model.form.target_names)]
    assert picture(found["explanation"]["picture"]).shape[:2] == pixels.shape[:2]
    assert found["explanation"]["of"] == found["answer"]["class"]


def test_what_is_no_image_is_said_and_a_form_is_refused(client):
    for content, headers, code in (
        (b"no image", OCTETS, 422),
        (b"", OCTETS, 422),
        (b"x", {"content-type": "text/html"}, 415),
        (b"x", {"content-type": "multipart/form-data; boundary=b"}, 415),
    ):
        done = client.post("/look", content=content, headers=headers)
        assert done.status_code == code
        assert done.json()["error"]["what"]


def test_a_layers_picture_is_its_channels_from_black_to_white(shapes_run):
    """By hand: of the pictures' pixels the largest of a layer is white, and 0 is black where nothing is below it."""
    folder, paths = shapes_run
    model = load(folder)
    found = Looker(model).look(model.decode(paths[0].read_bytes(), "x"), explain=False)
    assert "explanation" not in found
    for layer in found["layers"]:
        shown = picture(layer["picture"])
        grey = shown[np.ptp(shown, axis=2) == 0]
        assert grey.max() == 255
        assert (np.ptp(shown, axis=2) > 0).sum() < shown[..., 0].size  # blue stands between channels


def test_a_large_model_that_names_no_layer_is_shown_without_one(shapes_run):
    """Grad-CAM needs an activation; a service of such a model has to start all the same."""
    model, shape = load(shapes_run[0]), (72, 72, 1)
    net = subject_of(Linear(classes=len(model.form.target_names)), shape)
    form = model.form._replace(image_shape=shape)
    model = model._replace(model=net.model, variables=net.variables, form=form, familiarity=None)
    found = Looker(model).look(np.zeros(shape, np.uint8), explain=True)
    assert found["layers"] == []
    assert found["explanation"]["method"] == "occlusion"


def test_with_a_key_the_page_is_open_and_what_it_shows_is_not(shapes_run, command_environment, tmp_path):
    (tmp_path / "key").write_text("a-secret-of-some-length")
    folder, paths = shapes_run
    with (
        started(folder, command_environment, "--api_key_file", tmp_path / "key") as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        for path in ("/", "/page.css", *(f"/{script}" for script in SCRIPTS)):
            assert client.get(path).status_code == 200
        image = {"content": paths[0].read_bytes(), "headers": OCTETS}
        assert client.post("/look", **image).status_code == client.get("/model").status_code == 401
        image["headers"] = {**OCTETS, "authorization": "Bearer a-secret-of-some-length"}
        assert client.post("/look", **image).status_code == 200


def test_without_a_page_there_is_neither(shapes_run, command_environment):
    with started(shapes_run[0], command_environment, "--no-page") as service:
        assert httpx.get(f"{service.url}/").status_code == 404
        assert httpx.post(f"{service.url}/look", content=b"x", headers=OCTETS).status_code == 404


@pytest.fixture(scope="module")
def digits(commands, command_environment, tmp_path_factory):
    """A service of the paper's network after 300 steps on MNIST."""
    folder = tmp_path_factory.mktemp("digits")
    done = commands.run(["train", "--training.steps", "300", "--out", folder / "run"], folder)
    assert done.returncode == 0, done.stderr
    with started(folder / "run", command_environment) as service:
        assert service.process.stderr.readline() == "flaxcnn: photographs of digits need --prepare digits\n"
        yield service


@pytest.fixture
def browser():
    with started_browser() as browser:
        yield browser


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_draw_a_7_and_see_7_on_a_desktop_and_on_a_phone(digits, browser):
    """28 → 14 → 7 → 1568 → 10 is the paper's, section 3."""
    for options in ({}, {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": "dark"}):
        context = browser.new_context(**options)
        page, said = context.new_page(), []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.goto(digits.url)
        draw(page)
        assert page.locator("#answer").inner_text().startswith("7, ")
        shapes = [text.split(maxsplit=1)[1] for text in page.locator("#layers li").all_inner_texts()]
        assert [shape.replace(" ", "") for shape in shapes] == [
            *("28×28×16", "14×14×16", "14×14×32", "7×7×32", "1568", "10"),
        ]  # fmt: skip
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing is cut off
        assert said == []
        context.close()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_the_keyboard_alone_chooses_a_file_and_clears_the_drawing(digits, browser, tmp_path):
    page = browser.new_page()
    page.goto(digits.url)
    page.wait_for_selector("#canvas:visible")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "clear"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:16] = 255
    PIL.Image.fromarray(image).save(tmp_path / "one.png")
    page.set_input_files("#file", tmp_path / "one.png")
    page.wait_for_selector("#why[src]")
    assert page.locator("#answer").inner_text().startswith("1, ")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.locator("#answer").inner_text() == "Nothing yet."
    (tmp_path / "none.png").write_text("no image")
    page.set_input_files("#file", tmp_path / "none.png")
    page.get_by_role("alert").filter(has_text="no image").wait_for()
