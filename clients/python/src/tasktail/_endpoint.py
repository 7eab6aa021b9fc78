"""The address of a server, and requests to it over HTTP."""

import http.client
import json
import os
import re
import ssl
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional
from urllib.parse import quote, urlencode, urlsplit

URL_DEFAULT = "http://127.0.0.1:7117"
REQUEST_TIMEOUT = 30.0
"""Seconds without progress after which a request fails."""
ERROR_BYTES_MAX = 64 * 1024
"""Bytes of an error that are read."""

_TASK_ID = re.compile(r"[A-Za-z0-9._~:-]{1,128}")


class TasktailError(Exception):
    """The server rejected a request, or did not answer it."""

    def __init__(self, message: str, status: Optional[int] = None, code: Optional[str] = None) -> None:
        super().__init__(message)
        self.status = status
        """Status of the answer, or None without an answer."""
        self.code = code
        """Stable code of the error, such as ``not_found``."""


def check_id(task: object) -> str:
    """Returns the id of a task as text.

    Raises:
        ValueError: it is not an id.
    """
    text = str(task)
    if not _TASK_ID.fullmatch(text):
        raise ValueError(f"{text!r} is not a task id: it must have 1 to 128 characters out of A-Z a-z 0-9 . _ ~ : -")
    return text


class Endpoint(NamedTuple):
    """A server, and the credentials for it."""

    scheme: str
    host: str
    port: int
    path: str
    """Path below which the server is served; empty at the root."""
    token: Optional[str]
    ca_file: Optional[str]

    @classmethod
    def of(cls, url: Optional[str] = None, token: Optional[str] = None, ca_file: Optional[str] = None) -> "Endpoint":
        """Returns the endpoint of a URL; what is not given comes from the environment.

        The variables are ``TASKTAIL_URL``, ``TASKTAIL_TOKEN``, ``TASKTAIL_TOKEN_FILE`` and ``TASKTAIL_CA_FILE``.

        Raises:
            ValueError: the URL is not one of http or https.
        """
        url = url or os.environ.get("TASKTAIL_URL") or URL_DEFAULT
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the URL of a server: it must be like {URL_DEFAULT}")
        token_file = os.environ.get("TASKTAIL_TOKEN_FILE")
        token = token or os.environ.get("TASKTAIL_TOKEN") or None
        if token is None and token_file:
            token = Path(token_file).read_text().strip()
        port = parts.port or (443 if parts.scheme == "https" else 80)
        ca_file = ca_file or os.environ.get("TASKTAIL_CA_FILE") or None
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), token, ca_file)

    @property
    def url(self) -> str:
        """The URL without a slash at its end."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """Host and port as in a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        known = 443 if self.scheme == "https" else 80
        return host if self.port == known else f"{host}:{self.port}"

    def tls(self) -> Optional[ssl.SSLContext]:
        """Returns the TLS context, or None for http."""
        return ssl.create_default_context(cafile=self.ca_file) if self.scheme == "https" else None

    def headers(self) -> Dict[str, str]:
        """Returns the headers with the credentials."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def connect(self, timeout: float = REQUEST_TIMEOUT) -> http.client.HTTPConnection:
        """Returns a connection that is opened by its first request."""
        context = self.tls()
        if context is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=context)

    def open(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, Any]] = None,
        body: Optional[bytes] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> http.client.HTTPResponse:
        """Sends a request and returns the response with its body unread.

        Raises:
            TasktailError: the server rejected it, or did not answer.
        """
        wanted = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        target = f"{self.path}{quote(path, safe='/~:')}{'?' if wanted else ''}{wanted}"
        connection = self.connect(timeout)
        try:
            connection.request(
                method, target, body=body, headers={"connection": "close", **self.headers(), **(headers or {})}
            )
            response = connection.getresponse()
            if response.status < 300:
                return response
            text = response.read(ERROR_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise TasktailError(f"the server at {self.url} does not answer: {error}") from error
        connection.close()
        raise _rejection(response.status, text)

    def call(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, Any]] = None,
        body: Optional[bytes] = None,
        content_type: str = "application/json",
    ) -> Any:
        """Sends a request and returns the JSON of the answer, or None if it is empty.

        Raises:
            TasktailError: the server rejected it, or did not answer.
        """
        headers = {"content-type": content_type} if body is not None else {}
        try:
            with self.open(method, path, query, body, headers) as response:
                text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise TasktailError(f"the server at {self.url} does not answer: {error}") from error
        return json.loads(text) if text else None


def _rejection(status: int, text: bytes) -> TasktailError:
    try:
        problem = json.loads(text)
        return TasktailError(str(problem["detail"]), status, str(problem["code"]))
    except (ValueError, KeyError, TypeError):
        return TasktailError(f"the server answered {status}", status)
