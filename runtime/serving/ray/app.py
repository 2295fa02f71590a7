"""The server as a Ray Serve deployment: each replica holds one HttpApp with its batchers.

serve.yaml imports `build`; `rectexport ray-config` writes that file, `rectexport serve --ray` needs none. Ray
watches replicas, which are processes, and replaces those that fail, so models run in threads of the replica.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rectexport.runtime.base.environment import require
from rectexport.runtime.engines.backends import AUTO
from rectexport.runtime.errors import UsageError
from rectexport.runtime.serving.http.app import HttpApp
from rectexport.runtime.serving.limits import Limits
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.server import Settings, make_repository, read_token
from rectexport.runtime.serving.service import Service

NAME = "rectexport"
IMPORT_PATH = "rectexport.runtime.serving.ray.app:build"
#: Requests that a replica takes at the same time; more wait at the proxy.
ONGOING = 256


@dataclass(frozen=True)
class RaySettings:
    """The arguments of `build`, plain values that serve.yaml can hold. Paths must exist on every node."""

    packages: tuple[str, ...]
    replicas: tuple[int, int] = (2, 8)
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    backend: str = AUTO
    allow_unproven: bool = False
    max_batch: int | None = None
    max_delay_us: int = 500
    threads: int = 1
    deadline_s: float = 30.0
    token_file: str | None = None
    target_ongoing: int = 32

    def check(self) -> None:
        """Raise UsageError unless 1 <= smallest <= largest number of replicas."""
        low, high = self.replicas
        if not 1 <= low <= high:
            raise UsageError(f"--replicas {low}..{high}: expected 1 <= smallest <= largest")

    def deployment_options(self) -> dict[str, Any]:
        """Options of the deployment, under the names they have in serve.yaml."""
        return {
            "max_ongoing_requests": ONGOING,
            "autoscaling_config": {
                "min_replicas": self.replicas[0],
                "max_replicas": self.replicas[1],
                "target_ongoing_requests": self.target_ongoing,
            },
            "ray_actor_options": {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus},
            "health_check_period_s": 5,
            "health_check_timeout_s": 30,
            "graceful_shutdown_timeout_s": 30,
        }

    def arguments(self) -> dict[str, Any]:
        """The arguments of `build` that differ from the defaults."""
        default = asdict(RaySettings(()))
        found = {name: value for name, value in asdict(self).items() if value != default[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


@dataclass
class ReplicaServer:
    """The server inside a replica; create it in the replica's event loop."""

    settings: RaySettings
    service: Service = field(init=False)

    async def start(self) -> HttpApp:
        """Load and warm up every package; returns the ASGI application."""
        chosen = self.settings
        token = None if chosen.token_file is None else read_token(Path(chosen.token_file))
        limits = replace(Limits(), deadline=chosen.deadline_s, max_delay=chosen.max_delay_us * 1e-6)
        settings = Settings(
            backend=chosen.backend,
            allow_unproven=chosen.allow_unproven,
            max_batch=chosen.max_batch,
            threads=chosen.threads,
            in_process=True,
            limits=limits,
        )
        log = Log()
        repository = make_repository(chosen.packages, settings, log)
        await repository.load_all()
        self.service = Service(repository, limits, log, token=token)
        return HttpApp(self.service)


def build(arguments: dict[str, Any]) -> Any:
    """A Ray Serve application. Raises UsageError for arguments that RaySettings does not take."""
    serve = require("ray.serve")
    try:
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()
        }
        settings = RaySettings(**values)
    except TypeError as error:
        raise UsageError(f"{IMPORT_PATH}: {error}") from None
    settings.check()

    class Rectexport:
        """One replica."""

        async def __init__(self, settings: RaySettings) -> None:  # type: ignore[misc]  # Ray awaits it
            self._server = ReplicaServer(settings)
            self._http = await self._server.start()

        def __serve_build_asgi_app__(self) -> HttpApp:
            return self._http

        async def check_health(self) -> None:
            """Ray replaces a replica whose inference fails or hangs."""
            await self._server.service.repository.probe()

    deployment = serve.deployment(name=NAME, **settings.deployment_options())(serve.ingress()(Rectexport))
    return deployment.bind(settings)
