"""Runs the Ray Serve application from the command line, and writes its serve.yaml."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from rectexport.runtime.base.engine_errors import first_line
from rectexport.runtime.base.environment import require
from rectexport.runtime.errors import BadInput, UsageError
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.ray.app import IMPORT_PATH, NAME, RaySettings, build
from rectexport.runtime.serving.served_packages import find_packages
from rectexport.runtime.serving.server import LOOPBACK, Settings

HA_PROXY = "RAY_SERVE_ENABLE_HA_PROXY"
KEEP_ALIVE_SECONDS = 75


def run_on_ray(settings: RaySettings, host: str, port: int, *, address: str | None, insecure: bool, log: Log) -> None:
    """Deploy the application, wait for SIGTERM or SIGINT, then delete it.

    address None starts Ray on this machine only; "auto" joins the cluster that runs here. Raises UsageError when other
    machines could use the server without a token, BadInput for packages that cannot be served, and MissingDependency.
    """
    settings.check()
    check_reach(host, token=settings.token_file is not None, insecure=insecure)
    find_packages(settings.packages)
    ray, serve = require("ray"), require("ray.serve")
    ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=address is None)
    try:
        serve.start(http_options={"host": host, "port": port, "keep_alive_timeout_s": KEEP_ALIVE_SECONDS})
        try:
            serve.run(build(settings.arguments()), name=NAME, route_prefix="/")
        except RuntimeError as error:
            raise BadInput(f"Ray could not deploy the server: {first_line(error)}") from None
        log.event("serving", http=f"{host}:{port}", grpc=None, ray=ray.__version__)
        _wait_for_the_end()
        log.event("draining")
        serve.delete(NAME)
    finally:
        ray.shutdown()


def check_reach(host: str, *, token: bool, insecure: bool) -> None:
    """Raise UsageError when other machines can reach the server without a token.

    In HAProxy mode Ray lets its replicas listen on every interface, whatever the host.
    """
    Settings(host=host, token="given" if token else None, insecure=insecure).check()
    if host in LOOPBACK and os.environ.get(HA_PROXY) == "1" and not token and not insecure:
        raise UsageError(
            f"{HA_PROXY}=1: Ray's replicas then listen on every interface, not on {host} alone; "
            "give --token-file F, or --insecure if something else keeps others out"
        )


def serve_yaml(settings: RaySettings, host: str, port: int) -> str:
    """The configuration for `serve deploy` and for KubeRay's serveConfigV2."""
    yaml = require("yaml")
    document: dict[str, Any] = {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port, "keep_alive_timeout_s": KEEP_ALIVE_SECONDS},
        "applications": [
            {
                "name": NAME,
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "args": settings.arguments(),
                "deployments": [{"name": NAME, **settings.deployment_options()}],
            }
        ],
    }
    return str(yaml.safe_dump(document, sort_keys=False))


def _wait_for_the_end() -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(0.5):
        pass
