"""Checks the reference for programs of a server at URL.

    openapi.py check URL EXCHANGES    validates the documents, and the exchanges (one JSON object a line) with them
    openapi.py client URL FOLDER ID   generates a client in FOLDER, and prints a task as the client reads it
"""

import copy
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

BIN = Path(sys.executable).parent
DRAFT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENT = "urn:openapi"


def load(url):
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.load(response)


def strict(schema):
    """Returns the schema of an object without unknown members: the documents must name everything that is sent."""
    schema = copy.deepcopy(schema)
    stack = [schema]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if "properties" in value and "additionalProperties" not in value and value.get("type") == "object":
                value["additionalProperties"] = False
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return schema


class Documents:
    def __init__(self, url):
        from jsonschema import Draft202012Validator
        from openapi_spec_validator import validate
        from referencing import Registry, Resource

        self.openapi = load(f"{url}/api/v1/openapi.json")
        validate(self.openapi)
        self.schemas = {}
        names = {schema["title"] for schema in self.openapi["components"]["schemas"].values()}
        for title in names:
            name = re.sub(r"(?<!^)(?=[A-Z])", "-", title).lower()
            self.schemas[name] = load(f"{url}/api/v1/schemas/{name}.json")
            Draft202012Validator.check_schema(self.schemas[name])
            assert self.schemas[name]["title"] == title, name
        resources = [(f"{name}.json", Resource.from_contents(strict(schema))) for name, schema in self.schemas.items()]
        self.registry = Registry().with_resources(resources)
        document = Resource.from_contents(strict({"$schema": DRAFT, **self.openapi}))
        self.components = Registry().with_resource(DOCUMENT, document)
        open_resources = [(f"{name}.json", Resource.from_contents(schema)) for name, schema in self.schemas.items()]
        self.open_registry = Registry().with_resources(open_resources)
        self.validator = Draft202012Validator

    def message_errors(self, name, value):
        validator = self.validator(strict(self.schemas[name]), registry=self.registry)
        return [error.message for error in validator.iter_errors(value)]

    def errors_with_unknown_members(self, name, value):
        validator = self.validator(self.schemas[name], registry=self.open_registry)
        return [error.message for error in validator.iter_errors(value)]

    def operation(self, method, path):
        method = "get" if method == "HEAD" else method.lower()
        path = path.split("?")[0]
        for template, operations in self.openapi["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method in operations:
                return operations[method]
        raise AssertionError(f"{method} {path} is not in the document")

    def answer_errors(self, row):
        operation = self.operation(row["method"], row["path"])
        responses = operation["responses"]
        response = responses.get(str(row["status"])) or responses.get("default")
        if response is None:
            return [f"status {row['status']} is not in the document"]
        if "$ref" in response:
            response = self.openapi["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        content = response.get("content", {})
        kind = row["type"].split(";")[0]
        if row["body"] == "" and not content:
            return []
        if kind not in content:
            return [f"a body of {kind!r} is not in the document"]
        # NDJSON is text in the document.
        if not kind.endswith("json") or kind.endswith("ndjson"):
            return []
        text = json.dumps(strict(content[kind]["schema"])).replace('"#/', f'"{DOCUMENT}#/')
        schema = {"$schema": DRAFT, **json.loads(text)}
        return [error.message for error in self.validator(schema, registry=self.components).iter_errors(json.loads(row["body"]))]


def check(url, exchanges):
    documents = Documents(url)
    counts = {"answer": 0, "message": 0, "rejected": 0}
    problems = []
    for row in map(json.loads, Path(exchanges).read_text().splitlines()):
        if row["kind"] == "answer":
            errors = documents.answer_errors(row)
        else:
            value = dict(row["value"])
            name = row["schema"]
            if name == "follow-message":
                # Composed schemas cannot be closed: the tag is checked here.
                assert not documents.errors_with_unknown_members(name, value), value
                assert isinstance(value.pop("task_id"), str)
                name = "viewer-message"
            errors = documents.message_errors(name, value)
            if row["kind"] == "rejected":
                errors = [] if errors else ["the server rejects it, and the schema does not"]
        counts[row["kind"]] += 1
        problems += [f"{row['at']}: {error[:300]}" for error in errors]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(json.dumps(counts))
    sys.exit(1 if problems else 0)


def client(url, folder, task):
    folder = Path(folder)
    generator = [sys.executable, "-m", "openapi_python_client", "generate", "--url", f"{url}/api/v1/openapi.json"]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    made = subprocess.run(
        [*generator, "--output-path", str(folder / "tasktail_api"), "--meta", "none"],
        capture_output=True, text=True, env=environment, timeout=300,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    from tasktail_api import Client
    from tasktail_api.api.default import get_task, list_tasks, read_lines

    api = Client(base_url=url)
    found = get_task.sync(task, client=api)
    lines = read_lines.sync(task, client=api)
    print(json.dumps({
        "id": found.id,
        "status": str(found.status.value),
        "exit_code": found.exit_code,
        "listed": [one.id for one in list_tasks.sync(client=api).tasks],
        "lines": [line.line for line in lines.lines],
        "missing": type(get_task.sync("none", client=api)).__name__,
    }))


if __name__ == "__main__":
    {"check": check, "client": client}[sys.argv[1]](*sys.argv[2:])
