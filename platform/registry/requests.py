"""What may be asked of a served model over HTTP, and the one sentence that says why something was not answered.

    POST /invocations, Content-Type: application/json
    {"inputs": images (B, 1, H, W) as nested lists, "params": {"gamma": [K numbers]}}      params may be left out
    → 200 {"predictions": {"image": …, "gamma": …, "psf": …}}, or
    → 4xx {"error_code": …, "message": one sentence}

MLflow's scoring server answers most mistakes with 400, but repeats the images, or the server's stack trace, in the
message, and a few end with 500; `answer` stands in for its parsing.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_PIXELS = 2048 * 2048
"""Of one request, over all its images: bounds time and memory of an answer."""
BYTES_PER_PIXEL = 64
"""What a pixel may take of a request's text; a float32 in full takes about 22."""
_KEYS = ("inputs", "instances")
_BESIDE_PIXELS = 1000
"""So many commas, brackets and braces may be no pixels: keys, parameters, and what deserves a sentence of its own."""
_FIVE_DEEP = re.compile(rb"\[\s*\[\s*\[\s*\[\s*\[")

Predict = Callable[[np.ndarray, dict[str, Any]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Answer:
    """status: of HTTP. text: a JSON object."""

    status: int
    text: str


class RequestError(ValueError):
    """A request that is not answered; the message is one sentence for the client."""

    def __init__(self, sentence: str, status: int = 400):
        super().__init__(sentence)
        self.status = status


def answer(body: bytes, content_type: str | None, predict: Predict, *, max_pixels: int = MAX_PIXELS) -> Answer:
    """The answer to one request; never raises.

    Args:
        body: of the request.
        content_type: its header, None where the client sent none.
        predict: images (B, 1, H, W) float32 and {"gamma": …} or {} → arrays by name; a ValueError blames the request.
        max_pixels: largest B·H·W.
    """
    try:
        images, params = read_request(body, content_type, max_pixels=max_pixels)
        found = predict(images, params)
        predictions = {name: values.tolist() for name, values in found.items()}
        return Answer(200, json.dumps({"predictions": predictions}))  # dumps is C, dump is not
    except RequestError as refusal:
        return _failure(refusal.status, "INVALID_PARAMETER_VALUE", str(refusal))
    except ValueError as error:
        return _failure(400, "INVALID_PARAMETER_VALUE", str(error))
    except Exception as error:
        logging.getLogger(__name__).exception("a request failed")
        kind = type(error).__name__
        return _failure(500, "INTERNAL_ERROR", f"the model failed on this request ({kind}); the server's log says why")


def read_request(
    body: bytes, content_type: str | None, *, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, dict[str, Any]]:
    """Images (B, 1, H, W), float32 and finite, and the parameters, which hold "gamma" or nothing.

    Raises:
        RequestError: the request is not what the head of this file describes.
    """
    _check_type(content_type)
    if len(body) > BYTES_PER_PIXEL * max_pixels:
        raise RequestError(_too_long(len(body), max_pixels), 413)
    _check_counts(body, max_pixels)
    request = _parsed(body)
    given = [key for key in _KEYS if key in request]
    if len(given) != 1:
        raise RequestError(
            'a request is a JSON object whose "inputs" are images, nested lists (B, 1, H, W); '
            f"got {_listed(request) or 'no keys'}"
        )
    if unknown := request.keys() - {given[0], "params"}:
        raise RequestError(f'a request has the keys "{given[0]}" and "params" only; got {_listed(unknown)} as well')
    return _images(request[given[0]], max_pixels), _params(request.get("params"))


def _check_type(content_type: str | None) -> None:
    kind, *parameters = [part.strip().lower() for part in (content_type or "").split(";")]
    if kind != "application/json":
        got = f'"{kind[:80]}"' if kind else "none"
        raise RequestError(f"the Content-Type of a request is application/json; got {got}", 415)
    for name, _, value in (part.partition("=") for part in parameters):
        if (name, value.strip('"')) not in {("charset", "utf-8"), ("charset", "utf8"), ("", "")}:
            raise RequestError("a request is JSON in UTF-8; leave the parameters of its Content-Type out", 415)


def _check_counts(body: bytes, max_pixels: int) -> None:
    """Refuse what would parse to more numbers, lists or objects than a request can have: each costs 30 bytes."""
    numbers, lists, objects = body.count(b",") + 1, body.count(b"["), body.count(b"{")
    if numbers > max_pixels + _BESIDE_PIXELS:
        raise RequestError(
            f"a request has at most {max_pixels} pixels; got {numbers} values; send fewer images or tiles", 413
        )
    if lists > _BESIDE_PIXELS and _FIVE_DEEP.search(body):
        raise RequestError("the request nests too deep; images are nested lists (B, 1, H, W), four deep")
    if lists > max_pixels + _BESIDE_PIXELS:
        raise RequestError(f"a request has at most {max_pixels} rows; got {lists} lists; send fewer images", 413)
    if objects > _BESIDE_PIXELS:
        raise RequestError(f"a request holds one object and its params; got {objects}; images are nested lists")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RequestError(f"a request is JSON in UTF-8; byte {error.start} of it is not") from None
    except json.JSONDecodeError as error:
        raise RequestError(f"the request is not JSON: {error}") from None
    except RecursionError:
        raise RequestError("the request nests too deep; images are nested lists (B, 1, H, W), four deep") from None
    except ValueError:  # an integer of thousands of digits
        raise RequestError("the request holds an integer too long to read; intensities lie in [0, 1]") from None
    if not isinstance(request, dict):
        raise RequestError(f'a request is a JSON object {{"inputs": …}}; got {_kind(request)}')
    return request


class Bounded:
    """An ASGI application whose requests cost bounded memory, whatever their length.

    A body that is declared too long is not even kept, and of another one no more than shows `answer` that it is. Either
    way it is received to its end: who is still sending does not listen.
    """

    def __init__(self, application: Callable[..., Awaitable[None]], max_pixels: int) -> None:
        self.application, self.max_pixels = application, max_pixels

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        limit, kept = BYTES_PER_PIXEL * self.max_pixels, 0
        declared = dict(scope.get("headers") or ()).get(b"content-length", b"")
        if scope["type"] == "http" and declared.isdigit() and int(declared[:20]) > limit:
            while (await receive()).get("more_body"):
                pass
            said = _failure(413, "INVALID_PARAMETER_VALUE", _too_long(int(declared[:20]), self.max_pixels))
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": said.status, "headers": headers})
            await send({"type": "http.response.body", "body": said.text.encode()})
            return

        async def bounded() -> Any:
            nonlocal kept
            message = await receive()
            if "body" in message:
                message = {**message, "body": message["body"][: limit + 1 - kept]}
                kept += len(message["body"])
            return message

        await self.application(scope, bounded, send)


def _too_long(length: int, max_pixels: int) -> str:
    return f"a request has at most {BYTES_PER_PIXEL * max_pixels} bytes; got {length}; send smaller images"


def _images(value: Any, max_pixels: int) -> np.ndarray:
    if not isinstance(value, list):
        raise RequestError(f"images are nested lists (B, 1, H, W); got {_kind(value)}")
    try:
        images = np.asarray(value, dtype=np.float64)  # a dtype of numpy's own choice could be text of any length
    except (TypeError, OverflowError):
        raise RequestError("pixels are numbers of ordinary size; got an object or a huge integer") from None
    except (ValueError, RecursionError) as error:
        if "could not convert" in str(error):
            raise RequestError("pixels are numbers; got text") from None
        raise RequestError(
            "images are nested lists (B, 1, H, W) whose rows have one length; these are ragged"
        ) from None
    if images.size == 0:
        raise RequestError(f"images are nested lists (B, 1, H, W) with at least one pixel; got shape {images.shape}")
    if images.ndim != 4 or images.shape[1] != 1:
        raise RequestError(f"images are grey, nested lists (B, 1, H, W); got shape {images.shape}; average the colours")
    if images.size > max_pixels:
        raise RequestError(
            f"a request has at most {max_pixels} pixels; got {images.size}; send fewer images or tiles", 413
        )
    kinds = {kind for image in value for row in image[0] for kind in set(map(type, row))}
    if odd := kinds - {float, int}:
        raise RequestError(f"pixels are numbers; got {_kind(next(iter(odd))())}")
    if not np.isfinite(images).all():
        raise RequestError("pixels are finite; got NaN or infinity; replace them first")
    low, high = float(images.min()), float(images.max())
    if low < -1 or high > 2:  # noise leaves [0, 1], only a wrong scale leaves [-1, 2]
        raise RequestError(
            f"pixels are linear intensities in [0, 1]; got {low:.4g} to {high:.4g}; "
            "subtract the black level and divide by the white level"
        )
    return images.astype(np.float32)


def _params(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError(f'params are a JSON object such as {{"gamma": […]}}; got {_kind(value)}')
    if unknown := value.keys() - {"gamma"}:
        raise RequestError(f'the only parameter is "gamma", the known blur; got {_listed(unknown)}')
    gamma = value.get("gamma", [])
    if not isinstance(gamma, list) or not all(_is_coefficient(number) for number in gamma):
        raise RequestError(
            "gamma is a list of finite numbers, one per coefficient, in waves; leave it out to have it found"
        )
    return {"gamma": [float(number) for number in gamma]} if gamma else {}


def _is_coefficient(number: Any) -> bool:
    # more than 100 waves is a mistake, and an integer may not even fit a float
    return isinstance(number, int | float) and not isinstance(number, bool) and -100 <= number <= 100


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _listed(keys: Any) -> str:
    names = [json.dumps(str(key)[:40], ensure_ascii=False) for key in sorted(keys)[:5]]
    return ", ".join(names)


def _failure(status: int, code: str, sentence: str) -> Answer:
    return Answer(status, json.dumps({"error_code": code, "message": sentence}, ensure_ascii=False))
