"""A server that speaks Amazon Rekognition's DetectFaces over HTTP: signatures, limits, throttling, errors.

It finds red squares: the answer is computed from the picture that was sent, in fractions of it, as the service does.
Written from the API's reference and that of Signature Version 4, without boto.
"""

import base64
import hashlib
import hmac
import io
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import numpy as np
from PIL import Image

KEY_ID, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "eu-west-1"
MAX_BYTES = 5 * 1024 * 1024
MAX_SIDE_PX, MIN_SIDE_PX = 4096, 80


class RekognitionServer(ThreadingHTTPServer):
    """Serves on a port of its own while it is entered.

    Attributes:
        throttles: How often each picture is turned away before it is answered.
        error: A code to answer everything with, or None.
        seconds: How long an answer takes.
        requests: What was asked, one dict a request that reached an answer.
        codes: How often each answer was given.
        at_once: The most requests that were in work together.
    """

    daemon_threads = True

    def __init__(self, throttles=0, error=None, seconds=0.0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.throttles, self.error, self.seconds = throttles, error, seconds
        self.requests, self.codes, self.at_once = [], Counter(), 0
        self._in_work, self._seen, self.lock = 0, Counter(), threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self):
        """What makes boto3 ask here."""
        return {
            "AWS_ENDPOINT_URL_REKOGNITION": self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def answer(self, headers, body):
        with self.lock:
            self._in_work += 1
            self.at_once = max(self.at_once, self._in_work)
        try:
            code, response = self._answer(headers, body)
        finally:
            with self.lock:
                self._in_work -= 1
        with self.lock:
            self.codes[code] += 1
        return code, response

    def _answer(self, headers, body):
        time.sleep(self.seconds)
        if not _is_signed(headers, body):
            return "InvalidSignatureException", {}
        if headers.get("X-Amz-Target") != "RekognitionService.DetectFaces":
            return "UnknownOperationException", {}
        if headers.get("Content-Type") != "application/x-amz-json-1.1":
            return "SerializationException", {}
        if self.error:
            return self.error, {"Message": "as the test asks"}
        asked = json.loads(body)
        if set(asked) - {"Image", "Attributes"} or set(asked["Image"]) != {"Bytes"}:
            return "InvalidParameterException", {}
        data = base64.b64decode(asked["Image"]["Bytes"], validate=True)
        with self.lock:
            self._seen[data] += 1
            seen = self._seen[data]
        if seen <= self.throttles:
            return ("ThrottlingException", "ProvisionedThroughputExceededException")[seen % 2], {"Message": "slow down"}
        if len(data) > MAX_BYTES:
            return "ImageTooLargeException", {}
        picture = Image.open(io.BytesIO(data))
        if picture.format not in ("JPEG", "PNG") or max(picture.size) > MAX_SIDE_PX or min(picture.size) < MIN_SIDE_PX:
            return "InvalidImageFormatException", {}
        with self.lock:
            self.requests.append({"size": picture.size, "bytes": len(data), "attributes": asked.get("Attributes")})
        return "", {"FaceDetails": _faces(picture), "OrientationCorrection": "ROTATE_0"}


def _faces(picture):
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 150) & (pixels[..., 1:] < 100).all(axis=2))
    if not len(rows):
        return []
    height, width = pixels.shape[:2]
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    box = {"Width": (x1 - x0) / width, "Height": (y1 - y0) / height, "Left": x0 / width, "Top": y0 / height}
    landmark = {"Type": "eyeLeft", "X": box["Left"], "Y": box["Top"]}
    pose, quality = {"Roll": 0.5, "Yaw": -1.25, "Pitch": 3.0}, {"Brightness": 80.5, "Sharpness": 90.25}
    return [{"BoundingBox": box, "Landmarks": [landmark], "Pose": pose, "Quality": quality, "Confidence": 99.5}]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code, response = self.server.answer(self.headers, body)
        status = 200 if not code else 500 if code == "InternalServerError" else 400
        content = json.dumps({"__type": code, **response} if code else response).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def _is_signed(headers, body):
    """Whether the request bears the signature that the secret gives it (AWS Signature Version 4)."""
    scheme, _, fields = headers.get("Authorization", "").partition(" ")
    parts = dict(field.strip().split("=", 1) for field in fields.split(",") if "=" in field)
    names = parts.get("SignedHeaders", "").split(";")
    key_id, date, region, service, end = (parts.get("Credential", "") + "////").split("/")[:5]
    if (scheme, key_id, region, service, end) != ("AWS4-HMAC-SHA256", KEY_ID, REGION, "rekognition", "aws4_request"):
        return False
    if not {"host", "x-amz-date", "x-amz-target"} <= set(names):
        return False
    signed = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    payload = hashlib.sha256(body).hexdigest()
    request = "\n".join(["POST", quote("/"), "", signed, ";".join(names), payload])
    scope = f"{date}/{region}/{service}/{end}"
    text = "\n".join([scheme, headers["X-Amz-Date"], scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in (date, region, service, end):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), parts.get("Signature", ""))
