"""Permissions, and the JWT that grants a browser one task."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from tasktail._endpoint import check_id

SHARE_LIFE = 600
"""Default seconds for which a share is valid; the element on the page renews it."""
SECRET_BYTES_MIN = 32
"""Least length of the key that the server accepts."""


class Config(NamedTuple):
    """The setting ``TASKTAIL``."""

    url: str
    secret: Optional[bytes]
    audience: Optional[str]
    life: int
    can_view: Callable[[Any, str], bool]
    element_url: Optional[str]


def config() -> Config:
    """Returns the checked setting.

    Raises:
        ImproperlyConfigured: a value is missing or invalid.
    """
    values: Mapping[str, Any] = getattr(settings, "TASKTAIL", {})
    unknown = set(values) - {"URL", "SHARE_KEY_FILE", "SHARE_AUDIENCE", "SHARE_LIFE", "CAN_VIEW", "ELEMENT_URL"}
    if unknown:
        raise ImproperlyConfigured(f"TASKTAIL has unknown values: {', '.join(sorted(unknown))}")
    if not values.get("URL"):
        raise ImproperlyConfigured("TASKTAIL['URL'] is missing: it is the address of the server, as browsers reach it")
    if not values.get("CAN_VIEW"):
        raise ImproperlyConfigured("TASKTAIL['CAN_VIEW'] is missing: it is called with the request and a task's id")
    can_view = values["CAN_VIEW"]
    return Config(
        url=str(values["URL"]).rstrip("/"),
        secret=_secret(values.get("SHARE_KEY_FILE")),
        audience=values.get("SHARE_AUDIENCE"),
        life=int(values.get("SHARE_LIFE", SHARE_LIFE)),
        can_view=import_string(can_view) if isinstance(can_view, str) else can_view,
        element_url=values.get("ELEMENT_URL"),
    )


def may_view(request: Any, task: str) -> bool:
    """Reports whether the site lets this request see the task."""
    return bool(config().can_view(request, task))


def sign(task: str) -> Optional[str]:
    """Returns a JWT (HS256) that grants the task until it expires; None without a key.

    The permission must have been checked before.
    """
    found = config()
    if found.secret is None:
        return None
    claims: Dict[str, Any] = {"task": check_id(task), "exp": int(time.time()) + found.life}
    if found.audience:
        claims["aud"] = found.audience
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    message = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{message}.{_base64(hmac.new(found.secret, message.encode(), hashlib.sha256).digest())}"


def _secret(path: Any) -> Optional[bytes]:
    """Reads the key as the server does: a plain secret, or a JSON Web Key with one."""
    if not path:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImproperlyConfigured(f"TASKTAIL['SHARE_KEY_FILE'] cannot be read: {error}") from error
    if content.lstrip().startswith(b"{"):
        key = json.loads(content)
        if key.get("kty") != "oct":
            raise ImproperlyConfigured("TASKTAIL['SHARE_KEY_FILE'] must hold a secret, or a JSON Web Key of type oct")
        secret = base64.urlsafe_b64decode(key["k"] + "=" * (-len(key["k"]) % 4))
    else:
        secret = content[:-1] if content.endswith(b"\n") else content
        secret = secret[:-1] if secret.endswith(b"\r") else secret
    if len(secret) < SECRET_BYTES_MIN:
        raise ImproperlyConfigured(f"TASKTAIL['SHARE_KEY_FILE'] has {len(secret)} bytes: {SECRET_BYTES_MIN} are needed")
    return secret


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
