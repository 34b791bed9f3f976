"""A served model answers images over HTTP as it does in Python, refuses what it cannot use, and lives on."""

import asyncio
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from deepblur.nets import Deblurrer, Identifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.models.model import load_model, save_model
from deepblur.platform.registry.publish import save_pyfunc
from deepblur.platform.registry.requests import Bounded, answer, read_request

IMAGES = np.random.default_rng(0).random((2, 1, 24, 31), dtype=np.float32)
JSON = "application/json"
MAX_PIXELS = 5000


def body(images=IMAGES, **more):
    return json.dumps({"inputs": images.tolist() if isinstance(images, np.ndarray) else images, **more}).encode()


def changed(value):
    """IMAGES with one pixel replaced."""
    images = IMAGES.tolist()
    images[1][0][3][4] = value
    return body(images)


BAD = {  # what the client sends: body, Content-Type, status, part of the sentence
    "three dimensions": (body(IMAGES[0]), JSON, 400, r"grey, nested lists .* got shape \(1, 24, 31\)"),
    "colour": (body(np.repeat(IMAGES, 3, 1)), JSON, 400, r"got shape \(2, 3, 24, 31\); average the colours"),
    "channels last": (body(IMAGES.transpose(0, 2, 3, 1)), JSON, 400, r"got shape \(2, 24, 31, 1\)"),
    "no images": (body([]), JSON, 400, r"at least one pixel; got shape \(0,\)"),
    "no pixels": (body([[[[]]]]), JSON, 400, r"at least one pixel; got shape \(1, 1, 1, 0\)"),
    "smaller than the network": (body(IMAGES[..., :2, :2]), JSON, 400, "at least 4x4 pixels; got 2x2"),
    "too many pixels": (body(np.zeros((1, 1, 80, 80))), JSON, 413, "at most 5000 pixels; got 6400"),
    "too long": (b" " * 64 * (MAX_PIXELS + 1), JSON, 413, "at most 320000 bytes; got 320064"),
    "too many values": (b'{"inputs": [[[[' + b"0," * 140_000 + b"0]]]]}", JSON, 413, "at most 5000 pixels; got 140001"),
    "too many lists": (body([[[[]]]] * 4000), JSON, 413, "at most 5000 rows; got 12001 lists"),
    "too many objects": (b'{"a":' * 2000 + b"1" + b"}" * 2000, JSON, 400, "one object and its params; got 2000"),
    "ragged": (body([[[[0.1, 0.2], [0.3]]]]), JSON, 400, "one length; these are ragged"),
    "one number": (body(0.5), JSON, 400, r"nested lists \(B, 1, H, W\); got a number"),
    "text": (body("cell.tif"), JSON, 400, "got a string"),
    "an object": (body({"image": IMAGES.tolist()}), JSON, 400, "got an object"),
    "NaN": (changed(float("nan")), JSON, 400, "pixels are finite; got NaN"),
    "infinity": (changed(float("inf")), JSON, 400, "pixels are finite"),
    "text pixel": (changed("a"), JSON, 400, "pixels are numbers; got text"),
    "number as text": (changed("0.5"), JSON, 400, "pixels are numbers; got a string"),
    "null pixel": (changed(None), JSON, 400, "pixels are numbers; got null"),
    "boolean pixel": (changed(True), JSON, 400, "pixels are numbers; got true or false"),
    "object pixel": (changed({}), JSON, 400, "pixels are numbers"),
    "huge integer": (changed(10**400), JSON, 400, "huge integer"),
    "8 bits": (body((IMAGES * 255).astype(np.uint8)), JSON, 400, r"intensities in \[0, 1\]; got 0 to 25.; subtract"),
    "nothing": (b"", JSON, 400, "not JSON: Expecting value"),
    "not JSON": (b"II*\x00 not an image", JSON, 400, "not JSON"),
    "cut off": (body()[:-20], JSON, 400, "not JSON"),
    "not UTF-8": (b'{"inputs": "\xff"}', JSON, 400, "UTF-8; byte 12"),
    "a list": (b"[1, 2]", JSON, 400, r'JSON object \{"inputs": …\}; got a list'),
    "nested too deep": (b'{"inputs":' + b"[" * 50_000 + b"]" * 50_000 + b"}", JSON, 400, "nests too deep"),
    "an integer of many digits": (b'{"inputs": ' + b"1" * 5000 + b"}", JSON, 400, "integer too long"),
    "missing key": (json.dumps({"image": IMAGES.tolist()}).encode(), JSON, 400, 'got "image"'),
    "both keys": (body(instances=[]), JSON, 400, 'got "inputs", "instances"'),
    "unknown key": (body(gama=[0.1]), JSON, 400, '"params" only; got "gama" as well'),
    "unknown parameter": (body(params={"eta": 1}), JSON, 400, 'only parameter is "gamma".*"eta"'),
    "parameters are no object": (body(params=3), JSON, 400, "got a number"),
    "gamma of another length": (body(params={"gamma": [0.1]}), JSON, 400, r"\(2, 3\).*got \(2, 1\)"),
    "gamma not finite": (body(params={"gamma": [float("nan")] * 3}), JSON, 400, "list of finite numbers"),
    "gamma no list": (body(params={"gamma": "defocus"}), JSON, 400, "list of finite numbers"),
    "a table": (json.dumps({"dataframe_split": {"columns": ["a"], "data": [[1]]}}).encode(), JSON, 400, "inputs"),
    "CSV": (b"a,b\n1,2\n", "text/csv", 415, 'application/json; got "text/csv"'),
    "Parquet": (b"PAR1", "application/vnd.apache.parquet", 415, "application/json"),
    "TIFF": (b"II*\x00", "image/tiff", 415, 'got "image/tiff"'),
    "no Content-Type": (body(), None, 415, "application/json; got none"),
    "another encoding": (body(), "application/json; charset=latin1", 415, "UTF-8"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "model"
    identifier = {"num_parameters": 3, "arch": "compact", "widths": (4, 6), "output_scale": 0.1}
    deblurrer = {"unroll": 2, "widths": (4, 6), "blocks": 1, "lam": 0.1}
    save_model(
        folder,
        operator=ZernikeBlur(noll=(4, 5, 6), psf_size=9),
        identifier_config=identifier,
        identifier=Identifier(**identifier),
        deblurrer_config=deblurrer,
        deblurrer=Deblurrer(**deblurrer),
        card={},
    )
    return folder


@pytest.fixture(scope="module")
def port(folder, tmp_path_factory):
    """Of a server that runs the model as `mlflow models serve --env-manager local` does."""
    from mlflow.pyfunc.scoring_server import get_cmd

    there = tmp_path_factory.mktemp("served")
    save_pyfunc(there, folder, IMAGES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, environment = get_cmd(str(there / "pyfunc"), port=port, host="127.0.0.1")
    config = json.dumps({"max_pixels": MAX_PIXELS, "threads": 1})
    settings = {"SERVING_MODEL_CONFIG": config, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = os.environ | environment | settings | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    with open(there / "log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(command)], env=environment, stdout=log, stderr=log, cwd=there
        )
    try:
        deadline = time.monotonic() + 600
        while not _healthy(port):
            assert server.poll() is None, (there / "log").read_text()
            assert time.monotonic() < deadline, (there / "log").read_text()
            time.sleep(0.2)
        yield port
        assert server.poll() is None, (there / "log").read_text()
    finally:
        server.kill()
        server.wait()


def _healthy(port):
    try:
        return urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).status == 200
    except OSError:
        return False


def post(port, data, content_type=JSON):
    """(status, the answer's JSON) of a request that may lack its Content-Type, which urllib would add."""
    connection = HTTPConnection("127.0.0.1", port, timeout=400)
    connection.request("POST", "/invocations", data, {} if content_type is None else {"Content-Type": content_type})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text)


def check(found, expected):
    for name in ("image", "gamma", "psf"):
        there = torch.tensor(found["predictions"][name], dtype=torch.float32)
        assert_close(there, getattr(expected, name), rtol=1e-4, atol=1e-5)


def test_images_over_http_are_restored_as_in_python(port, folder):
    model = load_model(folder)
    request = Request(f"http://127.0.0.1:{port}/invocations", body(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=400) as response:
        check(json.load(response), model.restore(torch.from_numpy(IMAGES)))
    taller = IMAGES[:1].transpose(0, 1, 3, 2)
    status, found = post(port, json.dumps({"instances": taller.tolist()}), "application/json; charset=UTF-8")
    assert status == 200
    check(found, model.restore(torch.from_numpy(taller.copy())))


def test_a_known_blur_is_used(port, folder):
    gamma = [0.1, -0.05, 0]
    status, found = post(port, body(params={"gamma": gamma}))
    assert status == 200
    check(found, load_model(folder).restore(torch.from_numpy(IMAGES), torch.tensor([gamma, gamma])))
    assert post(port, body(params={"gamma": []})) == post(port, body())


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_answered_with_one_sentence(port, name):
    data, content_type, status, sentence = BAD[name]
    found = post(port, data, content_type)
    assert found[0] == status, found
    assert found[1].keys() == {"error_code", "message"}
    message = found[1]["message"]
    assert len(message) < 250
    assert "\n" not in message
    assert "Traceback" not in message
    assert re.search(sentence, message), message


def test_good_and_bad_requests_at_once_get_their_own_answers(port, folder):
    expected = load_model(folder).restore(torch.from_numpy(IMAGES))
    requests = [(body(), JSON, 200, "")] * 10 + list(BAD.values())
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda request: post(port, *request[:2]), requests))
    assert [status for status, _ in answers] == [status for _, _, status, _ in requests]
    for _, found in answers[:10]:
        check(found, expected)


def test_other_addresses_are_not_found(port):
    for path, status in (("/", 404), ("/invocations", 405)):
        with pytest.raises(HTTPError) as refused:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=300)
        assert refused.value.code == status
        refused.value.close()


def test_a_fault_of_the_model_is_not_blamed_on_the_request_and_not_shown(caplog):
    def predict(images, params):
        raise RuntimeError("secret /path")

    said = answer(body(), JSON, predict)
    assert said.status == 500
    assert "RuntimeError" in said.text
    assert "secret" not in said.text
    assert "secret" in caplog.text


def test_integers_and_noise_beyond_the_scale_are_intensities():
    images, params = read_request(body([[[[0, 1], [-0.2, 1.3]]]]), JSON)
    assert images.dtype == np.float32
    assert params == {}
    assert_close(torch.from_numpy(images), torch.tensor([[[[0, 1], [-0.2, 1.3]]]]))


def test_a_request_that_cannot_be_answered_is_not_parsed(monkeypatch):
    monkeypatch.setattr("deepblur.platform.registry.requests.json.loads", lambda text: pytest.fail("parsed"))
    deep = b'{"inputs": [0,' + (b"[" * 400 + b"]" * 400 + b",") * 100 + b"0]}"
    for data, status in ((b'{"inputs": [[[[' + b"0," * 9000 + b"0]]]]}", 413), (deep, 400), (b"{" * 2000, 400)):
        assert answer(data, JSON, None, max_pixels=MAX_PIXELS).status == status


@pytest.mark.parametrize("declared", [True, False])
def test_the_server_keeps_no_more_of_a_body_than_shows_that_it_is_too_long(declared):
    """Of 50 MB that are sent to a server that takes 320 kB, whether their length is declared or not."""
    chunk, received, sent = b" " * 10**6, [], []
    messages = iter([{"type": "http.request", "body": chunk, "more_body": i < 49} for i in range(50)])

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    async def application(scope, receive, send):
        while True:
            message = await receive()
            received.append(message["body"])
            if not message["more_body"]:
                break
        assert answer(b"".join(received), JSON, None, max_pixels=MAX_PIXELS).status == 413

    headers = [(b"content-length", b"50000000")] if declared else []
    asyncio.run(Bounded(application, MAX_PIXELS)({"type": "http", "headers": headers}, receive, send))
    assert next(messages, None) is None
    assert sum(map(len, received)) == (0 if declared else 64 * MAX_PIXELS + 1)
    if declared:
        assert sent[0]["status"] == 413
        assert json.loads(sent[1]["body"])["message"].startswith("a request has at most 320000 bytes; got 50000000")
