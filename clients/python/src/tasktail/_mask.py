"""Replaces secrets in lines."""

import re
from typing import Iterable, Optional, Pattern

REPLACEMENT = "***"


class Masks:
    """Secrets, each as it is written; of one with several lines, every line."""

    def __init__(self, secrets: Iterable[str]) -> None:
        parts = {part for secret in secrets for part in secret.splitlines() if part}
        # Longer ones first: the beginning of a secret may be another one.
        ordered = sorted(parts, key=len, reverse=True)
        self._pattern: Optional[Pattern[str]] = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self.chars_max = len(ordered[0]) if ordered else 0
        """Length of the longest secret."""

    def apply(self, text: str) -> str:
        """Returns the text with every secret replaced."""
        return text if self._pattern is None else self._pattern.sub(REPLACEMENT, text)
