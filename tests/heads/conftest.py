"""Odd pictures and problems, for tests of tasks on the real server."""

from __future__ import annotations

from tests.service.conftest import bad_images, check_problem, odd_images

__all__ = ["bad_images", "check_problem", "odd_images"]
