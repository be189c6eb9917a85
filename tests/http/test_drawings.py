"""Routes of drawings: stored under their sha256, read by name, nothing else and nowhere else."""

from __future__ import annotations

import hashlib
import http.client
import json
from urllib.parse import quote, urlsplit

import numpy as np
import pytest

JSON = {"Content-Type": "application/json"}
DISC = {"tool": "brush", "size": 64, "points": [64, 64, 1]}
TEXT = json.dumps({"v": 1, "width": 128, "height": 128, "strokes": [DISC]}).encode()


def send(running, method: str, path: str, body: bytes | None = None, headers: dict = JSON):
    connection = http.client.HTTPConnection(urlsplit(running.address).netloc, timeout=60)
    connection.request(method, f"/controlstack/drawings{path}", body, headers)
    answer = connection.getresponse()
    response = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return response


def files(running) -> list[str]:
    names = (file.relative_to(running.base).as_posix() for file in running.base.rglob("*"))
    return sorted(name for name in names if not name.startswith("host.log"))


@pytest.fixture(scope="module")
def stored(running) -> str:
    status, body, _ = send(running, "POST", "", TEXT)
    assert status == 201, body
    return json.loads(body)["name"]


def test_a_drawing_is_stored_under_its_sha256_and_read_again(running, stored):
    assert stored == hashlib.sha256(TEXT).hexdigest() + ".json"
    folder = running.base / "input" / "controlstack" / "drawings"
    assert (folder / stored).read_bytes() == TEXT
    assert send(running, "POST", "", TEXT)[:2] == (201, json.dumps({"name": stored}).encode())
    assert [file.name for file in folder.iterdir()] == [stored]
    status, body, headers = send(running, "GET", f"/{stored}")
    assert (status, body) == (200, TEXT)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Type"].startswith("application/json")


def test_the_node_draws_it(running, stored):
    inputs = {"drawing": stored, "width": 64, "height": 64, "invert": False}
    prompt = {
        "1": {"class_type": "ControlStackScribbleCanvas", "inputs": inputs},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    (record,) = running.run(prompt).images("2")
    picture = np.asarray(running.image(record).convert("L")) / 255
    assert picture.mean() == pytest.approx(np.pi / 16, rel=0.03)


def test_a_drawing_that_is_gone_is_refused_when_it_is_queued(running):
    inputs = {"drawing": "gone.json", "width": 64, "height": 64, "invert": False}
    prompt = {
        "1": {"class_type": "ControlStackScribbleCanvas", "inputs": inputs},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    connection = http.client.HTTPConnection(urlsplit(running.address).netloc, timeout=60)
    connection.request("POST", "/prompt", json.dumps({"prompt": prompt}).encode(), JSON)
    answer = connection.getresponse()
    assert answer.status == 400
    errors = json.loads(answer.read())["node_errors"]["1"]["errors"]
    assert "there is no drawing 'gone.json' in controlstack/drawings" in errors[0]["details"]


@pytest.mark.parametrize(
    "name",
    [
        *("../people.json", "..%2fpeople.json", "%2e%2e%2fpeople.json", "..%5cpeople.json"),
        *("%2fetc%2fpasswd", "C:%5ca.json", "a%00.json", "link.json", "gone.json", ".", "%2e"),
        *("x" * 3000, "example.png", "%ff.json", quote("\ud83d.json", errors="surrogatepass")),
    ],
)
def test_names_do_not_leave_the_folder(running, stored, name):
    secret = running.base / "input" / "people.json"
    secret.write_text('{"secret": 1}')
    link = running.base / "input" / "controlstack" / "drawings" / "link.json"
    if not link.is_symlink():
        link.symlink_to(secret)
    before = files(running)
    status, body, _ = send(running, "GET", f"/{name}")
    link.unlink()
    assert status in (400, 404), body
    assert b"secret" not in body
    assert str(running.base).encode() not in body
    assert set(files(running)) == set(before) - {link.relative_to(running.base).as_posix()}
    secret.unlink()  # templates run with nothing in the input folder


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 60_000, TEXT[:-1], b'{"v": 1, "strokes": 3}'],
)
def test_only_a_drawing_is_stored(running, stored, body):
    before = files(running)
    status, answer, _ = send(running, "POST", "", body)
    assert status == 400
    assert len(json.loads(answer)["error"]) > 20
    assert files(running) == before


def test_only_json_of_our_frontend_of_4_mb_is_read(running, stored):
    before = files(running)
    assert send(running, "POST", "", TEXT, {"Content-Type": "text/plain"})[0] == 415
    for stranger in ({"Origin": "https://example.com"}, {"Sec-Fetch-Site": "cross-site"}):
        assert send(running, "POST", "", TEXT, {**JSON, **stranger})[0] == 403
        assert send(running, "GET", f"/{stored}", None, stranger)[0] == 403
    assert send(running, "POST", "", TEXT + b" " * (4 << 20))[0] == 413
    assert send(running, "PUT", "", TEXT)[0] in (404, 405)
    assert send(running, "DELETE", f"/{stored}")[0] in (404, 405)
    assert files(running) == before
