"""HTTP service for encoders and their indexes."""

from __future__ import annotations

from smoothcse._utils.extras import extra

with extra("serve", "The service"):
    import uvicorn  # noqa: F401

    from smoothcse.service.app import create_app
    from smoothcse.service.limits import Limits
    from smoothcse.service.served import Served

__all__ = ["Limits", "Served", "create_app"]
