"""The attacks on the control socket are made on a real daemon."""

from __future__ import annotations

from tests.system.conftest import creched, fresh_creched

__all__ = ["creched", "fresh_creched"]
