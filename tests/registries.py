"""A real schema registry for tests: Apicurio Registry, with Confluent's interface, on Java 17; Maven fetches it once.

`python -m tests.registries` fetches it and says where it is.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from tests.brokers import REQUIRE_REAL, USED
from tests.kafka_brokers import java_program, leash
from tests.maven import fetched
from tests.ports import free_port
from tests.waiting import wait_until

POM = Path(__file__).parent / "registry" / "pom.xml"
VERSION = re.findall(r"<apicurio\.version>([^<]+)<", POM.read_text())[0]
NEEDS = "needs Java 17 and Maven (Debian: apt-get install openjdk-17-jre-headless maven)"


def registry_folder() -> Path | None:
    """The folder with the application, fetched if need be; None where that takes a Maven and there is none."""
    return fetched(POM, f"apicurio-{VERSION}", "unpack-dependencies")


class Registry:
    """An Apicurio Registry of our own, in memory."""

    def __init__(self, java: str, application: Path) -> None:
        self._java = java
        self._application = application
        self._log = Path(tempfile.mkdtemp(prefix="registry-")) / "log.txt"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        flags = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        flags += [f"-Dquarkus.http.port={self.port}", "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.log.level=WARN"]
        jar = next(self._application.glob("*-runner.jar"))
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [*leash(), self._java, *flags, "-jar", str(jar)], stdout=log, stderr=log, cwd=self._log.parent
            )
        self._process = process
        try:
            wait_until(lambda: self._answers() or process.poll() is not None, 90, "the schema registry answers", 0.2)
            assert process.poll() is None, f"the schema registry ended: {self._log.read_text()[-5000:]}"
        except BaseException:
            self.__exit__()
            raise
        name = f"Apicurio Registry {VERSION}"
        USED[name] = USED.get(name, 0) + 1
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._log.parent)

    def register(
        self, subject: str, schema: str, kind: str = "AVRO", references: tuple[tuple[str, str, int], ...] = ()
    ) -> int:
        """Register a schema; `references` are (name, subject, version). The schema's ID."""
        body: dict[str, Any] = {"schema": schema, "schemaType": kind}
        if references:
            body["references"] = [{"name": name, "subject": of, "version": version} for name, of, version in references]
        request = urllib.request.Request(
            f"{self.url}/subjects/{subject}/versions",
            json.dumps(body).encode(),
            {"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(json.load(answer)["id"])

    def global_id(self, artifact: str) -> int:
        """The global ID of the newest version of an artifact, which is the subject."""
        url = self.url.replace("/ccompat/v7", f"/registry/v2/groups/default/artifacts/{artifact}/meta")
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(json.load(answer)["globalId"])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def answering(port: int, answers: Mapping[str, bytes]) -> Iterator[None]:
    """A registry on this port that has only these answers: path → JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path, b'{"error_code": 40403}')
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def need_registry() -> Registry:
    """A registry, not started yet; or a skip with the reason, or a failure where real components are required."""
    java = java_program()
    application = registry_folder() if java else None
    if java is None or application is None:
        if REQUIRE_REAL:
            pytest.fail(f"REQUIRE_REAL=1, but there is no schema registry: the test {NEEDS}")
        pytest.skip(NEEDS)
    return Registry(java, application)


if __name__ == "__main__":
    where = registry_folder()
    print(f"Apicurio Registry {VERSION} is in {where}" if where else "no Apicurio Registry here: it takes Maven (mvn)")
    sys.exit(0 if where else 1)
