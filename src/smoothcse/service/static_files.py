"""Static files of the web page and of the API documentation, all served from this machine."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from smoothcse.service.gate import CONTENT_POLICY

_PAGE = Path(__file__).parent / "page"
_SWAGGER = Path(fastapi_offline.__file__).parent / "static"


def add_page(app: FastAPI) -> list[str]:
    """Serve the page at ``/`` and its files beside it, and return their paths."""
    names = [file.relative_to(_PAGE).as_posix() for file in sorted(_PAGE.rglob("*")) if file.is_file()]
    paths = [_add_file(app, _PAGE, name, f"/{name}") for name in names]
    return [*paths, _add_file(app, _PAGE, "index.html", "/")]


def add_documentation(app: FastAPI) -> list[str]:
    """Serve the documentation of the API at ``/docs``, and return the paths of its files."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="smoothcse: the API",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
    html = bytes(page.body).decode()
    [script] = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"{CONTENT_POLICY}; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'"

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    names = ("swagger-ui-bundle.js", "swagger-ui.css")
    return ["/docs", "/openapi.json", *(_add_file(app, _SWAGGER, name, f"/docs/{name}") for name in names)]


def _add_file(app: FastAPI, folder: Path, name: str, path: str) -> str:
    # One route per file, because a folder mounted at / would also answer for paths with other methods.
    files = StaticFiles(directory=folder)

    async def send(request: Request) -> Response:
        return await files.get_response(name, request.scope)

    app.add_route(path, send, include_in_schema=False)
    return path
