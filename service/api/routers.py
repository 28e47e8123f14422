"""All routers of the app. A new task is one file and one line here."""

from __future__ import annotations

from service.api import features, health, models, pose, zero_shot

ROUTERS = (zero_shot.router, features.router, pose.router, models.router, health.router)
