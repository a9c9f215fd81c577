"""The attacks on the control socket are made on a real daemon."""

from __future__ import annotations

from tests.system.conftest import busybox, creched, fresh_creched

__all__ = ["busybox", "creched", "fresh_creched"]
