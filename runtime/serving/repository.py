"""The models of a server, by name and version; each is loaded, unloaded and replaced while the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, final

from rectexport.runtime.errors import RectexportError
from rectexport.runtime.package.folder import Package
from rectexport.runtime.serving.batcher import Batcher
from rectexport.runtime.serving.limits import Limits
from rectexport.runtime.serving.log import Log
from rectexport.runtime.serving.request import InferRequest, assemble
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.served_packages import ServedPackage
from rectexport.runtime.serving.signature import Signature
from rectexport.runtime.serving.statistics import Statistics
from rectexport.runtime.serving.workers.hosted import ModelSpec
from rectexport.runtime.serving.workers.pool import Pool
from rectexport.runtime.serving.workers.protocol import Worker

if TYPE_CHECKING:
    from rectexport.runtime.serving.telemetry.telemetry import Telemetry

#: Largest batch when neither the package nor the command line gives one.
MAX_BATCH = 64
#: Attempts to start a worker after which the requests that wait for one are answered with 503.
HOPELESS = 3


@dataclass
class ServedModel:
    """One loaded version."""

    name: str
    version: str
    signature: Signature
    pool: Pool
    batcher: Batcher
    statistics: Statistics
    probe: InferRequest
    package: Package

    @property
    def ready(self) -> bool:
        """Whether at least one worker is alive; workers have inferred before they count."""
        return bool(self.pool.workers)

    @property
    def why_not_ready(self) -> str:
        """Why no worker is alive; empty for a model that is ready."""
        return "" if self.ready else self.pool.trouble or "its worker is being replaced"

    def metadata(self, versions: Sequence[str]) -> dict[str, Any]:
        """The protocol's model metadata."""
        return {
            "name": self.name,
            "versions": list(versions),
            "platform": "rectexport",
            "inputs": [tensor.metadata() for tensor in self.signature.inputs.values()],
            "outputs": [tensor.metadata() for tensor in self.signature.outputs.values()],
        }


@final
class Repository:
    """Loads the packages that `find` returns, with workers from `make`. Call it from the event loop's thread only."""

    def __init__(
        self,
        find: Callable[[], Sequence[ServedPackage]],
        make: Callable[[ModelSpec], Worker],
        *,
        spec: ModelSpec,
        instances: int = 1,
        limits: Limits,
        log: Log,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._find = find
        self._packages: list[ServedPackage] = []
        self._make, self._spec, self._instances = make, spec, instances
        self._limits, self._log, self._telemetry = limits, log, telemetry
        self._loaded: dict[str, dict[str, ServedModel]] = {}
        self._newest: dict[str, ServedModel] = {}
        self._reasons: dict[tuple[str, str], str] = {}
        self._changing = asyncio.Lock()

    def get(self, name: str, version: str = "") -> ServedModel:
        """A loaded model, the highest version when none is named. Raises RequestError 404."""
        found = self._loaded.get(name, {}).get(version) if version else self._newest.get(name)
        if found is None:
            which = f"{name[:100]!r} version {version[:20]!r}" if version else repr(name[:100])
            raise RequestError(404, f"no model {which} is loaded here")
        return found

    def served(self) -> list[ServedModel]:
        """Everything loaded."""
        return [model for versions in self._loaded.values() for model in versions.values()]

    def versions(self, name: str) -> list[str]:
        """Loaded versions of a model, lowest first."""
        return sorted(self._loaded.get(name, {}), key=int)

    @property
    def ready(self) -> bool:
        """Whether every loaded model can infer, and at least one is loaded."""
        models = self.served()
        return bool(models) and all(model.ready for model in models)

    async def load_all(self) -> None:
        """Find and load every package. Raises BadInput for the first that cannot be served."""
        self._packages = list(self._find())
        for name in dict.fromkeys(package.name for package in self._packages):
            await self._load(name)

    async def load(self, name: str) -> None:
        """Load all versions of one model again from disk; the loaded ones serve until the new ones are ready.

        Raises RequestError 404 for an unknown name, 400 when a version cannot be loaded.
        """
        async with self._changing:
            try:
                self._packages = list(self._find())
                if not any(package.name == name for package in self._packages):
                    raise RequestError(404, f"no model {name[:100]!r} in this repository")
                await self._load(name)
            except RectexportError as error:
                raise RequestError(400, f"{name} cannot be loaded: {error}") from None

    async def unload(self, name: str) -> None:
        """Stop serving a model, after finishing its requests. Raises RequestError 404."""
        async with self._changing:
            if name not in self._loaded:
                raise RequestError(404, f"no model {name[:100]!r} is loaded here")
            gone = self._loaded.pop(name)
            del self._newest[name]
            await self._retire(list(gone.values()), "unloaded")

    def index(self, only_ready: bool = False) -> list[dict[str, str]]:
        """The protocol's repository index: every package with its state, and the reason where it is not ready."""
        entries = []
        for package in self._packages:
            model = self._loaded.get(package.name, {}).get(package.version)
            reason = self._reasons.get((package.name, package.version), "") or (model.why_not_ready if model else "")
            state = "READY" if model and model.ready else "UNAVAILABLE"
            entry = {"name": package.name, "version": package.version, "state": state}
            if state == "READY" or not only_ready:
                entries.append({**entry, "reason": reason} if reason else entry)
        return entries

    async def probe(self) -> None:
        """Infer with every model on its goldens. Raises RequestError when one does not answer."""
        for model in self.served():
            await model.batcher.submit(model.probe)

    async def drain(self) -> None:
        """Wait until every accepted request is answered."""
        await asyncio.gather(*(model.batcher.idle() for model in self.served()))

    def close(self) -> None:
        """End all workers."""
        for model in self.served():
            model.pool.close()

    async def _load(self, name: str) -> None:
        fresh: dict[str, ServedModel] = {}
        try:
            for package in self._packages:
                if package.name == name:
                    fresh[package.version] = await self._open(package)
        except BaseException:
            for model in fresh.values():
                model.pool.close()
            raise
        old = self._loaded.get(name, {})
        self._loaded[name] = fresh
        self._newest[name] = fresh[max(fresh, key=int)]
        await self._retire(list(old.values()), "")

    async def _open(self, package: ServedPackage) -> ServedModel:
        key = (package.name, package.version)
        limit = self._spec.max_batch or MAX_BATCH
        try:
            found = Package.open(package.path.resolve())
            spec = replace(self._spec, path=str(found.path), max_batch=limit, identity=found.identity)
            signature = Signature.of(found.manifest.inputs, found.manifest.outputs, limit)
            pool = Pool(lambda: self._make(spec), self._instances)
            facts = await pool.start()
        except RectexportError as error:
            self._reasons[key] = str(error)
            raise
        if signature.max_batch and not facts["max_batch"]:
            signature = signature.unbatched()
        self._reasons.pop(key, None)
        names = {"model": package.name, "version": package.version}
        self._log.event("loaded", **names, **facts)
        statistics = Statistics()
        batcher = Batcher(signature, pool, self._limits, statistics)
        if self._telemetry is not None:
            batcher.on_ran = partial(self._telemetry.ran, key)

        def told(line: str) -> None:
            self._log.event("worker", **names, text=line)
            if pool.failed >= HOPELESS and not pool.workers:
                batcher.refuse(f"model {package.name} has no worker: {pool.trouble}")

        pool.on_trouble = told
        probe = assemble(signature, found.goldens()[0])  # the workers have checked the files' hashes
        return ServedModel(*key, signature, pool, batcher, statistics, probe, found)

    async def _retire(self, models: Sequence[ServedModel], reason: str) -> None:
        for model in models:
            if reason:
                self._reasons[(model.name, model.version)] = reason
            await model.batcher.idle()
            model.pool.close()
