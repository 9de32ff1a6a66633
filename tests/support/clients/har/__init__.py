"""Checks HTTP archives with the schema of HAR 1.2 and with the importer of Chromium's developer tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft6Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT6

from tests.support.clients.browser import open_page
from tests.support.clients.node_packages import installed

DEVELOPER_TOOLS = "devtools://devtools/bundled/devtools_app.html"
_IMPORT = """(async () => {
  const {HARFormat, Importer} = await import('devtools://devtools/bundled/models/har/har.js');
  const requests = Importer.Importer.requestsFromHARLog(new HARFormat.HARRoot(ARCHIVE).log);
  return Promise.all(requests.map(async request => ({
    url: request.url(), method: request.requestMethod, status: request.statusCode, type: request.resourceType().name(),
    request: await request.requestFormData(), response: (await request.requestContentData()).text,
    took: request.duration, waited: request.latency,
  })));
})()"""


def errors_in(archive: Any) -> list[str]:
    """Return the violations of the schema in an archive."""
    folder = installed(Path(__file__).parent) / "node_modules" / "har-schema" / "lib"
    schemas = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(schema, DRAFT6)) for name, schema in schemas.items()
    )
    validator = Draft6Validator(schemas["har.json"], registry=registry, format_checker=Draft6Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(archive)]


def opened_in_developer_tools(archive: Any) -> list[dict[str, Any]]:
    """Return an archive's entries as Chromium's developer tools read them."""
    requests: list[dict[str, Any]] = open_page(DEVELOPER_TOOLS, _IMPORT.replace("ARCHIVE", json.dumps(archive))).value
    return requests
