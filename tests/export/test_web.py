"""A web folder: what `flaxcnn predict` says, in a browser, from files alone that any static host serves."""

import base64
import io
import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_sample_image

from flaxcnn.data.photographs.decoding import Shape, decode_file
from flaxcnn.export.onnx.document import write_onnx
from flaxcnn.export.web.folder import write_folder
from flaxcnn.export.web.form import form_of_page
from flaxcnn.export.web.runtime import read_runtime
from flaxcnn.prediction.digits import decode_digit
from flaxcnn.prediction.loading import load
from scripts.screenshots import draw
from tests.browsers import CHROMIUM, served, started_browser
from tests.pages import Parsed

BUILT = Path(__file__).parents[2] / "build" / "npm" / "node_modules" / "onnxruntime-web"
RUNTIME = Path(os.environ.get("FLAXCNN_ONNXRUNTIME_WEB", BUILT))
IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
    pytest.mark.skipif(not RUNTIME.is_dir(), reason="needs: npm install --prefix build/npm onnxruntime-web"),
]
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)


def in_browser(test):
    for mark in IN_BROWSER:
        test = mark(test)
    return test


def package(folder, name="onnxruntime-web", files=("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")):
    """A folder with the names of the npm package's files."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "1.2.3", "main": "x"}))
    for each in files:
        (folder / "dist" / each).write_text(each)
    return folder


def test_the_command_writes_a_folder_that_loads_nothing_from_elsewhere(shapes_run, flaxcnn, tmp_path):
    package(tmp_path / "node_modules" / "onnxruntime-web")
    done = flaxcnn("export", shapes_run[0], "--to", "site/")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"site/  0\.\d MiB, outputs in another process the same to .*, ONNX Runtime Web 1\.2\.3", first)
    assert "http.server" in second
    site = tmp_path / "site"
    files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    page = Parsed((site / "index.html").read_bytes())
    scripts = {name for name in files if name.endswith(".js") and "/" not in name}
    imported = {name for each in scripts for name in re.findall(r'from "\./(.*?)"', (site / each).read_text())}
    assert imported | {"site.js"} == scripts | {"runtime/ort.wasm.bundle.min.js"}
    runtime = {"runtime/ort.wasm.bundle.min.js", "runtime/ort-wasm-simd-threaded.wasm"}
    assert files == scripts | runtime | {"index.html", "page.css", "model.json", "model.onnx"}
    assert page.values("script", "src") == ["site.js"]
    assert page.values("link", "href") == ["data:,", "page.css"]
    assert page.values("meta", "content")[-1] == POLICY
    assert not page.of("script")
    assert not page.of("style")
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]
    for name in scripts | {"index.html", "page.css"}:
        assert "://" not in (site / name).read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["node_modules", "site"]
    assert str(shapes_run[0].parent) not in (site / "model.json").read_text()
    again = flaxcnn("export", shapes_run[0], "--to", "site/")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "exists already" in again.stderr


@pytest.mark.slow
def test_without_the_npm_package_one_line_says_how_to_get_it(shapes_run, flaxcnn, tmp_path):
    other, old = package(tmp_path / "other", name="onnxruntime"), package(tmp_path / "old", files=())
    for words, parts in (
        ((), ("node_modules/onnxruntime-web: ONNX Runtime Web is not there", "npm install onnxruntime-web")),
        (("--runtime", "."), (".: no npm package", "npm install onnxruntime-web")),
        (("--runtime", other), ("another npm package; expected onnxruntime-web, found onnxruntime",)),
        (("--runtime", old), ("lacks a file", "found 1.2.3", "npm install onnxruntime-web@latest")),
        (("--prepare", "digits", "--runtime", package(tmp_path / "whole")), ("expected images of 28×28×1",)),
    ):
        done = flaxcnn("export", shapes_run[0], "--to", "site/", *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        for part in parts:
            assert part in done.stderr
        assert sorted(each.name for each in tmp_path.iterdir() if each.name not in ("other", "old", "whole")) == []


def test_a_model_whose_outputs_differ_leaves_no_folder(shapes_run, tmp_path):
    def refused(path):
        path.write_bytes(b"half")
        raise ValueError

    runtime = read_runtime(str(package(tmp_path / "package")))
    with pytest.raises(ValueError):  # noqa: PT011
        write_folder(tmp_path / "site", form_of_page(load(shapes_run[0]), "as_trained"), runtime, refused)
    assert [each.name for each in tmp_path.iterdir()] == ["package"]


@pytest.fixture(scope="module")
def digits(commands, tmp_path_factory):
    """The folder of a run of the paper's network, 300 steps on MNIST, and the address of its web folder."""
    folder = tmp_path_factory.mktemp("digits")
    run, site = folder / "run", folder / "site"
    for words in (
        ("train", "--training.steps", "300", "--data.validation", "0.1", "--out", run),
        ("export", run, "--to", f"{site}/", "--runtime", RUNTIME, "--prepare", "digits"),
    ):
        done = commands.run(words, folder)
        assert done.returncode == 0, done.stderr
    with served(site) as url:
        yield run, url


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@contextmanager
def opened(browser, url, **options):
    """A page that may say nothing on its console, and ask for nothing but its own host."""
    context = browser.new_context(**options)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert said == []
    assert [each for each in asked if not each.startswith((url, "data:"))] == []


@pytest.fixture
def page(digits, browser):
    with opened(browser, digits[1]) as page:
        yield page


def answered(page, beginning):
    """Wait for an answer; without Playwright's functions to wait for, which the page's policy refuses as it should."""
    page.locator("#answer", has_text=re.compile(f"^{re.escape(beginning)}")).wait_for()


@in_browser
@pytest.mark.parametrize(
    "options", [{}, {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": "dark"}]
)
def test_draw_a_7_and_see_7_on_a_desktop_and_on_a_phone(digits, browser, options):
    with opened(browser, digits[1], **options) as page:
        answered(page, "Nothing yet.")
        draw(page, "#seen:visible")
        answered(page, "7, ")
        assert page.locator(".bar").count() == 10
        assert page.locator("meter").first.get_attribute("aria-label").startswith("7: ")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
        assert dark == (options.get("color_scheme") == "dark")


@in_browser
def test_the_keyboard_alone_chooses_a_photograph_and_clears(digits, page, tmp_path):
    """Its answer and its probability are those of `flaxcnn predict --prepare digits`."""
    answered(page, "Nothing yet.")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "clear"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    paper = np.full((300, 200), 230, np.uint8)
    paper[50:250, 90:120] = 40
    PIL.Image.fromarray(paper).save(tmp_path / "one.png")
    page.set_input_files("#file", tmp_path / "one.png")
    model = load(digits[0])
    (wanted,) = model.answers(model.predictions(decode_digit((tmp_path / "one.png").read_bytes(), "x")[None]))
    answered(page, f"{wanted['class']}, {100 * wanted['probability']:.1f} %")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    answered(page, "Nothing yet.")
    (tmp_path / "none.png").write_text("no image")
    page.set_input_files("#file", tmp_path / "none.png")
    page.get_by_role("alert").filter(has_text="no image that the browser can read").wait_for()
    PIL.Image.fromarray(np.full((30, 30), 200, np.uint8)).save(tmp_path / "empty.png")
    page.set_input_files("#file", tmp_path / "empty.png")
    page.get_by_role("alert").filter(has_text="Nothing is written on it").wait_for()


PIXELS = """async ([pixels, form]) => {
  const { decoded, fitted } = await import("./pixels.js"), { digit } = await import("./digits.js");
  const image = await decoded(new Blob([Uint8Array.from(atob(pixels), (each) => each.charCodeAt(0))]));
  return Array.from(form ? fitted(image, form) : digit(image));
}"""


def png(array):
    content = io.BytesIO()
    PIL.Image.fromarray(array).save(content, "PNG")
    return content.getvalue()


def in_page(page, encoded, form):
    return np.asarray(page.evaluate(PIXELS, [base64.b64encode(encoded).decode(), form]), np.uint8)


@in_browser
@pytest.mark.parametrize("fit", ["crop", "letterbox", "pad", "stretch", "imagenet"])
def test_an_image_becomes_the_pixels_that_the_library_makes_of_it(page, fit):
    """Bit for bit, of any size, enlarged and reduced, gray and in colours: Pillow's arithmetic."""
    rng = np.random.default_rng(0)
    for height, width, channels in ((40, 61, 3), (200, 131, 3), (9, 30, 1), (33, 32, 1), (28, 28, 3), (1, 7, 3)):
        for size in ((28, 28, 1), (33, 20, 3)):
            shape = (height, width, 3) if channels == 3 else (height, width)
            encoded = png(rng.integers(0, 256, shape, np.uint8))
            form = dict(zip(("height", "width", "channels"), size, strict=True), fit=fit)
            wanted = decode_file(encoded, Shape(*size, fit), "x")
            np.testing.assert_array_equal(in_page(page, encoded, form).reshape(size), wanted)


@in_browser
def test_a_photograph_in_jpeg_is_turned_upright_and_differs_by_few_steps_of_255(page):
    """Decoders of JPEG round as they like, and the library decodes at a half, where that is eight times as large."""
    photograph = PIL.Image.fromarray(load_sample_image("china.jpg"))
    for orientation in (1, 3, 6, 8):
        content, exif = io.BytesIO(), PIL.Image.Exif()
        exif[0x0112] = orientation
        photograph.save(content, "JPEG", exif=exif)
        form = {"height": 48, "width": 40, "channels": 3, "fit": "crop"}
        wanted = decode_file(content.getvalue(), Shape(48, 40, 3, "crop"), "x").astype(int)
        apart = np.abs(in_page(page, content.getvalue(), form).reshape(48, 40, 3) - wanted)
        assert apart.max() <= 8
        assert apart.mean() < 1


@in_browser
def test_a_photographed_digit_becomes_the_pixels_that_the_library_makes_of_it(page, small_split):
    """Of MNIST's digits, dark on shaded paper, enlarged, moved and with noise, of up to 1,500 pixels a side."""
    rng = np.random.default_rng(0)
    for place, side in enumerate((28, 50, 97, 280, 401, 1500)):
        ink = PIL.Image.fromarray(small_split[0][place, :, :, 0]).resize((side, side), PIL.Image.Resampling.BILINEAR)
        paper = np.full((side + 40, side + 13), 215, np.int16) + rng.integers(-9, 9, (side + 40, side + 13))
        paper[20:-20, 5:-8] -= np.asarray(ink, np.int16) * 3 // 4
        encoded = png(paper.clip(0, 255).astype(np.uint8))
        np.testing.assert_array_equal(in_page(page, encoded, None).reshape(28, 28, 1), decode_digit(encoded, "x"))


ANSWERS = """async (images) => {
  const { answerOf } = await import("./answers.js");
  const { env, InferenceSession, Tensor } = await import("./runtime/ort.wasm.bundle.min.js");
  env.wasm.numThreads = 1;
  const model = await (await fetch("model.json")).json(), { height, width, channels } = model.images;
  const session = await InferenceSession.create(new Uint8Array(await (await fetch("model.onnx")).arrayBuffer()));
  const found = [];
  for (const image of images) {
    const images = new Tensor("uint8", Uint8Array.from(image), [1, height, width, channels]);
    const outputs = await session.run({ images });
    found.push(answerOf(model.answer, Object.fromEntries(
      Object.entries(outputs).map(([name, tensor]) => [name, Array.from(tensor.data, Number)]))));
  }
  return found;
}"""


def require_same(found, wanted):
    if isinstance(wanted, dict):
        assert set(found) == set(wanted)
        for name, value in wanted.items():
            require_same(found[name], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            require_same(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    else:
        assert found == wanted


CALIBRATIONS = {
    "classification": {"temperature": 0.7},
    "multilabel": {"temperature": 1.9},
    "regression": {"half_width_90": [3.5]},
    "several": {"a": {"temperature": 0.7}, "b": {"half_width_90": [3.5]}},
}


@in_browser
@pytest.mark.parametrize("calibrated", [False, True])
def test_the_answers_of_each_task_are_the_librarys(trained, browser, tmp_path, calibrated):
    model = trained._replace(calibration=CALIBRATIONS[trained.task.name] if calibrated else {})
    runtime = read_runtime(str(RUNTIME))
    write_folder(tmp_path / "site", form_of_page(model, "as_trained"), runtime, lambda path: write_onnx(path, model))
    images = np.random.default_rng(1).integers(0, 256, (3, 12, 12, 3), np.uint8)
    with served(tmp_path / "site") as url, opened(browser, url) as page:
        found = page.evaluate(ANSWERS, images.reshape(3, -1).tolist())
        page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": png(images[0])})
        page.wait_for_selector(".bar")
    require_same(found, model.predict(images))


@in_browser
def test_a_web_folder_in_int8_answers_too(digits, browser, flaxcnn, tmp_path):
    done = flaxcnn("export", digits[0], "--to", "small/", "--runtime", RUNTIME, "--quantize", "int8")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^accuracy ", done.stdout, re.MULTILINE)
    assert done.stderr == "flaxcnn: photographs of digits need --prepare digits\n"
    with served(tmp_path / "small") as url, opened(browser, url) as page:
        draw(page, "#seen:visible")
        answered(page, "7, ")
