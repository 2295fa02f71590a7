"""The Open Inference Protocol v2 over gRPC, with the protobuf messages of the tritonclient package."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, final

from rectexport.runtime.base.environment import require
from rectexport.runtime.base.runner import Array
from rectexport.runtime.serving.batcher import Outputs
from rectexport.runtime.serving.classes import DATATYPE, as_bytes, top_classes
from rectexport.runtime.serving.grpc.codec import from_contents, parse, plain
from rectexport.runtime.serving.repository import ServedModel
from rectexport.runtime.serving.request import (
    InferRequest,
    Wanted,
    assemble,
    check_output,
    check_parameters,
    from_bytes,
    once,
    read_classes,
    read_timeout,
)
from rectexport.runtime.serving.request_error import RequestError
from rectexport.runtime.serving.service import Service
from rectexport.runtime.serving.signature import DATATYPE_OF, Signature
from rectexport.runtime.serving.triton.config import model_config

SERVICE = "inference.GRPCInferenceService"


@dataclass(frozen=True)
class Call:
    """A request's id, and its metadata with lower-case names."""

    id: str
    metadata: dict[str, str]


@final
class GrpcService:
    """The supported methods of GRPCInferenceService; all others answer UNIMPLEMENTED."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pb = require("tritonclient.grpc.service_pb2")
        self._grpc = require("grpc")

    def handlers(self) -> Any:
        """The argument of grpc.Server.add_generic_rpc_handlers."""
        unary = {
            "ServerLive": (self._live, "ServerLiveRequest"),
            "ServerReady": (self._ready, "ServerReadyRequest"),
            "ModelReady": (self._model_ready, "ModelReadyRequest"),
            "ServerMetadata": (self._server_metadata, "ServerMetadataRequest"),
            "ModelMetadata": (self._model_metadata, "ModelMetadataRequest"),
            "ModelConfig": (self._model_config, "ModelConfigRequest"),
            "ModelStatistics": (self._statistics, "ModelStatisticsRequest"),
            "RepositoryIndex": (self._index, "RepositoryIndexRequest"),
            "RepositoryModelLoad": (self._load, "RepositoryModelLoadRequest"),
            "RepositoryModelUnload": (self._unload, "RepositoryModelUnloadRequest"),
            "ModelInfer": (self._infer, "ModelInferRequest"),
        }
        methods = {
            name: self._grpc.unary_unary_rpc_method_handler(
                self._guarded(method, getattr(self._pb, message), open=name in ("ServerLive", "ServerReady")),
                response_serializer=lambda reply: reply.SerializeToString(),
            )
            for name, (method, message) in unary.items()
        }
        methods["ModelStreamInfer"] = self._grpc.stream_stream_rpc_method_handler(
            self._stream,
            response_serializer=self._pb.ModelStreamInferResponse.SerializeToString,
        )
        return self._grpc.method_handlers_generic_handler(SERVICE, methods)

    def _guarded(self, method: Callable[[Any, Call], Any], kind: Any, open: bool) -> Callable[[bytes, Any], Any]:
        async def handle(data: bytes, context: Any) -> Any:
            try:
                metadata = _metadata(context)
                if not open:
                    self._service.authorize(metadata.get("authorization"))
                call = Call(self._service.request_id(metadata.get("x-request-id")), metadata)
                return await method(parse(kind, data), call)
            except RequestError as fault:
                await context.abort(getattr(self._grpc.StatusCode, fault.grpc_code), str(fault))

        return handle

    async def _live(self, message: Any, call: Call) -> Any:
        return self._pb.ServerLiveResponse(live=True)

    async def _ready(self, message: Any, call: Call) -> Any:
        return self._pb.ServerReadyResponse(ready=self._service.ready)

    async def _model_ready(self, message: Any, call: Call) -> Any:
        try:
            ready = self._service.repository.get(message.name, message.version).ready
        except RequestError:  # of an unknown model, too, Triton says that it is not ready
            ready = False
        return self._pb.ModelReadyResponse(ready=ready)

    async def _server_metadata(self, message: Any, call: Call) -> Any:
        return self._pb.ServerMetadataResponse(**self._service.metadata())

    async def _model_metadata(self, message: Any, call: Call) -> Any:
        repository = self._service.repository
        model = repository.get(message.name, message.version)
        versions = [message.version] if message.version else repository.versions(message.name)
        return self._pb.ModelMetadataResponse(**model.metadata(versions))

    async def _model_config(self, message: Any, call: Call) -> Any:
        model = self._service.repository.get(message.name, message.version)
        return self._pb.ModelConfigResponse(config=model_config(message.name, model.signature))

    async def _statistics(self, message: Any, call: Call) -> Any:
        if message.name:
            self._service.require_loaded(message.name, message.version)
        found = self._service.statistics(message.name, message.version)
        return self._pb.ModelStatisticsResponse(model_stats=[self._pb.ModelStatistics(**entry) for entry in found])

    async def _index(self, message: Any, call: Call) -> Any:
        entries = self._service.repository.index(message.ready)
        return self._pb.RepositoryIndexResponse(
            models=[self._pb.RepositoryIndexResponse.ModelIndex(**entry) for entry in entries]
        )

    async def _load(self, message: Any, call: Call) -> Any:
        self._service.check_repository_api()
        if message.parameters:
            raise RequestError(400, "load takes no parameters: a package is served unchanged")
        await self._service.repository.load(message.model_name)
        return self._pb.RepositoryModelLoadResponse()

    async def _unload(self, message: Any, call: Call) -> Any:
        self._service.check_repository_api()
        await self._service.repository.unload(message.model_name)
        return self._pb.RepositoryModelUnloadResponse()

    async def _infer(self, message: Any, call: Call) -> Any:
        service, began = self._service, time.perf_counter()
        span = service.enter("grpc", call.metadata)
        model: ServedModel | None = None
        fault: RequestError | None = None
        try:
            model = service.repository.get(message.model_name, message.model_version)
            request = self._parse(message, model)
            return self._answer(request, await service.begin(model, request, span), model)
        except RequestError as error:
            fault = error
            raise
        except asyncio.CancelledError:
            fault = RequestError(499, "the client closed the connection")
            raise
        except Exception as error:
            service.log.event("internal_error", id=call.id, error=type(error).__name__)
            fault = RequestError(500, "internal error")
            raise fault from None
        finally:
            service.ended(model, "grpc", fault, began, call.id, span)

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """Answer in the order of the requests; one that fails does not end the stream."""
        try:
            metadata = _metadata(context)
            self._service.authorize(metadata.get("authorization"))
        except RequestError as fault:
            await context.abort(getattr(self._grpc.StatusCode, fault.grpc_code), str(fault))
        async for data in self._until_leaving(messages, context):
            message = self._pb.ModelInferRequest()
            try:
                message = parse(self._pb.ModelInferRequest, data)
                reply = await self._infer(message, Call(self._service.request_id(None), metadata))
                yield self._pb.ModelStreamInferResponse(infer_response=reply)
            except RequestError as fault:
                reply = self._pb.ModelInferResponse(id=message.id)
                yield self._pb.ModelStreamInferResponse(error_message=str(fault), infer_response=reply)

    async def _until_leaving(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """The messages of a stream. When the server begins to end, a stream that waits ends with UNAVAILABLE."""
        leaving = asyncio.ensure_future(self._service.leaving.wait())
        try:
            while True:
                following = asyncio.ensure_future(_next(messages))
                await asyncio.wait({following, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    following.cancel()
                    await context.abort(self._grpc.StatusCode.UNAVAILABLE, "the server is going down")
                data = following.result()
                if data is None:
                    return
                yield data
        finally:
            leaving.cancel()

    def _parse(self, message: Any, model: ServedModel) -> InferRequest:
        signature = model.signature
        raw = message.raw_input_contents
        if raw and len(raw) != len(message.inputs):
            raise RequestError(
                400, f"raw_input_contents: expected one for each of {len(message.inputs)} inputs, got {len(raw)}"
            )
        feeds: dict[str, Array] = {}
        for index, entry in enumerate(message.inputs):
            tensor = signature.inputs.get(entry.name)
            if tensor is None:
                raise RequestError(400, f"no input {entry.name[:100]!r}; the model takes {', '.join(signature.inputs)}")
            if tensor.name in feeds:
                raise RequestError(400, f"input {tensor.name} is given twice")
            check_parameters(plain(entry.parameters), f"input {tensor.name}")
            shape = tensor.check(entry.datatype, list(entry.shape))
            if raw:
                data = raw[index]
                feeds[tensor.name] = from_bytes(data, tensor.dtype, shape, 0, tensor.name, len(data))
            else:
                feeds[tensor.name] = from_contents(entry.contents, tensor, shape)
        parameters = check_parameters(plain(message.parameters), "request")
        listed = once(_wanted(output, signature) for output in message.outputs)
        wanted = listed or tuple(Wanted(name, True) for name in signature.outputs)
        return assemble(signature, feeds, id=message.id, wanted=wanted, timeout=read_timeout(parameters))

    def _answer(self, request: InferRequest, outputs: Outputs, model: ServedModel) -> Any:
        reply = self._pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
        for wanted in request.wanted:
            array = outputs[wanted.name]
            if wanted.classes:
                texts = top_classes(array, wanted.classes, model.signature.max_batch > 0)
                reply.outputs.add(name=wanted.name, datatype=DATATYPE, shape=texts.shape)
                reply.raw_output_contents.append(as_bytes(texts))
                continue
            reply.outputs.add(name=wanted.name, datatype=DATATYPE_OF[array.dtype], shape=array.shape)
            reply.raw_output_contents.append(array.tobytes())
        return reply


def _metadata(context: Any) -> dict[str, str]:
    """The call's metadata. Raises RequestError 401 for a token that is given twice."""
    fields = list(context.invocation_metadata() or ())
    if sum(name == "authorization" for name, _ in fields) > 1:
        raise RequestError(401, "authorization is given twice")
    return dict(fields)


def _wanted(output: Any, signature: Signature) -> Wanted:
    parameters = check_parameters(plain(output.parameters), f"output {output.name[:100]}")
    return Wanted(check_output(signature, output.name), True, read_classes(parameters, output.name))


async def _next(messages: AsyncIterator[bytes]) -> bytes | None:
    """The next message, None at the end."""
    return await anext(messages, None)
