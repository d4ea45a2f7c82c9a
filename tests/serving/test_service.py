"""The real service: it answers as `flaxcnn predict` does, computes together what comes together, and bears the rest."""

import io
import json
import struct
import zlib

import PIL.Image
import pytest

from benchmarks.asking import ask
from tests.serving.service import head, metric, response

OCTETS = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def predicted(shapes_run, commands):
    """What `flaxcnn predict` says of each test image alone and among all, as text: two sets by the path's name."""
    folder, paths = shapes_run
    some = paths[::5]
    among = commands.run(["predict", folder, *some, "--format", "jsonl"], folder.parent).stdout.splitlines()
    alone = [commands.run(["predict", folder, path, "--format", "jsonl"], folder.parent).stdout for path in some]
    return {path: [without_name(each) for each in pair] for path, *pair in zip(some, alone, among, strict=True)}


def without_name(line):
    said = json.loads(line) if isinstance(line, str) else line
    return {name: value for name, value in said.items() if name != "image"}


def test_one_image_is_answered_bit_for_bit_as_predict_answers_it(client, predicted):
    for path, (alone, _) in predicted.items():
        done = client.post("/predict", content=path.read_bytes(), headers={"content-type": "image/png"})
        assert done.status_code == 200
        (answer,) = done.json()["answers"]
        assert answer["image"] == "-"
        assert without_name(answer) == alone


def test_the_files_of_a_form_are_answered_in_their_order_and_a_bad_one_has_its_fault(client, predicted):
    good = list(predicted)
    files = [("image", (path.name, path.read_bytes())) for path in good]
    files.insert(1, ("image", ("broken.png", good[0].read_bytes()[:60])))
    done = client.post("/predict", files=files)
    assert done.status_code == 200
    answers = done.json()["answers"]
    assert [each["image"] for each in answers] == [name for _, (name, _) in files]
    assert set(answers.pop(1)) == {"image", "fault"}
    for answer, said in zip(answers, predicted.values(), strict=True):
        assert without_name(answer) in said


def test_what_200_clients_ask_at_once_is_computed_together_with_the_same_bits(service, client, predicted):
    images = [path.read_bytes() for path in predicted]
    batches, counted = metric(client, "flaxcnn_batch_images_count"), metric(client, "flaxcnn_batch_images_sum")
    asked = ask(service.url, images, 200, times=2, keep=True)
    assert asked.codes == {200: 400}
    for number, bodies in enumerate(asked.bodies):
        for turn, body in enumerate(bodies):
            (answer,) = json.loads(body)["answers"]
            assert without_name(answer) in list(predicted.values())[(number + turn) % len(images)]
    assert metric(client, "flaxcnn_batch_images_sum") - counted == 400
    assert metric(client, "flaxcnn_batch_images_count") - batches <= 400 / 4
    assert metric(client, "flaxcnn_queue_images") == metric(client, "flaxcnn_held_bytes") == 0


@pytest.mark.slow
def test_a_thousand_clients_are_answered_with_bounded_memory(service, predicted):
    before = service.peak()
    asked = ask(service.url, [path.read_bytes() for path in predicted], 1000, times=3)
    assert asked.codes == {200: 3000}
    assert service.peak() - before < 128 << 20


def test_what_is_no_request_of_images_is_one_error_of_one_form(client, shapes_run):
    folder, paths = shapes_run
    image = paths[0].read_bytes()
    form = {"content-type": "multipart/form-data; boundary=b"}
    field = b'--b\r\ncontent-disposition: form-data; name="top"\r\n\r\n5\r\n--b--\r\n'
    file = field.replace(b'"top"', b'"top"; filename="x.png"')
    for code, what, done in (
        (415, "not of a type", client.post("/predict", content=image, headers={"content-type": "text/plain"})),
        (415, "not of a type", client.post("/predict", content=image)),
        (400, "no boundary", client.post("/predict", content=image, headers={"content-type": "multipart/form-data"})),
        (400, "damaged form", client.post("/predict", content=image, headers=form)),
        (400, "without its end", client.post("/predict", content=file[:-9], headers=form)),
        (400, "no file", client.post("/predict", content=field, headers=form)),
        (400, "no images", client.post("/predict", content=b"--b--\r\n", headers=form)),
        (422, "nothing in it", client.post("/predict", content=b"", headers=OCTETS)),
        (422, "no image", client.post("/predict", content=b"GIF99 is none", headers=OCTETS)),
        (422, "damaged image", client.post("/predict", content=image[:60], headers=OCTETS)),
        (422, "no image", client.post("/predict", files=[("a", b"none"), ("b", b"none either")])),
        (404, "not found", client.get("/../../etc/passwd")),
        (405, "method not allowed", client.put("/predict", content=image)),
    ):  # fmt: skip
        assert done.status_code == code, done.text
        assert what in done.json()["error"]["what"]
        for path in (folder, folder.parent, "/tmp", "site-packages", "Traceback", "0x"):
            assert str(path) not in done.text
    assert client.post("/predict", content=image, headers=OCTETS).status_code == 200


def test_an_image_that_would_need_gigabytes_is_refused_by_its_head(service, client):
    def png(side):  # of one bit a pixel: 30,000×30,000 pixels are 110 KiB here, and 2.5 GiB once decoded
        def chunk(kind, content):
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            (chunk(b"IHDR", struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0)), chunk(b"IDAT", rows), chunk(b"IEND", b""))
        )

    before = service.peak()
    for side in (5_008, 30_000):
        done = client.post("/predict", content=png(side), headers=OCTETS)
        assert done.status_code == 422
        assert done.json()["error"]["what"] == "image too large"
    assert service.peak() - before < 64 << 20


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_a_gigabyte_is_refused_without_being_read_into_memory(service, client, declared, shapes_run):
    before, part = service.peak(), bytes(1 << 20)
    with service.connect() as connection:
        sent = 0
        try:
            if declared:
                connection.sendall(head(1 << 30))
            else:
                connection.sendall(head(0).replace(b"content-length: 0", b"transfer-encoding: chunked"))
            while sent < 1 << 30:
                connection.sendall(part if declared else b"%x\r\n%b\r\n" % (len(part), part))
                sent += len(part)
        except ConnectionError:
            pass  # the service listens no more
        code, said = response(connection)
    assert code == 413
    assert said["error"]["what"] == "request too large"
    assert sent < 1 << 29
    assert service.peak() - before < 64 << 20
    assert client.post("/predict", content=shapes_run[1][0].read_bytes(), headers=OCTETS).status_code == 200


def test_what_is_no_http_is_refused_and_the_others_are_answered(service, client):
    for said in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000):
        with service.connect() as connection:
            connection.sendall(said)
            code, answer = response(connection)
        assert code == 400
        assert answer["error"]["what"] == "invalid request"
    assert client.get("/healthz").json() == {"status": "ready"}


def test_a_client_learns_what_the_model_takes_and_nothing_of_where_it_lies(client, shapes_run):
    done = client.get("/model")
    said = done.json()
    assert said["image_shape"] == [20, 24, 1]
    assert said["names"] == sorted({path.parent.name for path in shapes_run[1]})
    assert said["batch_sizes"][0] == 1
    assert said["limits"]["max_batch"] == 32
    assert "/" not in done.text


def test_other_formats_are_decoded_by_their_content(client, shapes_run):
    encoded = io.BytesIO()
    PIL.Image.open(shapes_run[1][0]).save(encoded, "BMP")
    done = client.post("/predict", content=encoded.getvalue(), headers={"content-type": "image/jpeg"})
    assert done.status_code == 200
