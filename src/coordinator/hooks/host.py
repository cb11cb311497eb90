"""Loads the Python functions that the configuration names and calls them for the gateway, which is at the
other end of standard input, a socket: a JSON object a line each way. Functions that were written for
LiteLLM run as they are: where litellm and fastapi are not installed, small stand-ins for what such
functions import are put in their place."""

import asyncio
import importlib
import inspect
import json
import os
import socket
import sys
import types
from enum import Enum
from urllib.parse import parse_qsl

LINE_BYTES_MAX = 4 * 1024 * 1024


class Fields:
    """An object with any fields; those that nobody set are None."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def __contains__(self, name):
        return name in self.__dict__

    def get(self, name, default=None):
        return self.__dict__.get(name, default)

    def model_dump(self, exclude_none=False, exclude_unset=False, **_):
        return {name: value for name, value in self.__dict__.items() if value is not None or not exclude_none}

    dict = model_dump


class UserAPIKeyAuth(Fields):
    """Who somebody is."""


class GenerateKeyRequest(Fields):
    """What a key is to be."""


class LitellmUserRoles(str, Enum):
    PROXY_ADMIN = "proxy_admin"
    PROXY_ADMIN_VIEW_ONLY = "proxy_admin_viewer"
    ORG_ADMIN = "org_admin"
    INTERNAL_USER = "internal_user"
    INTERNAL_USER_VIEW_ONLY = "internal_user_viewer"
    TEAM = "team"
    CUSTOMER = "customer"


class ProxyException(Exception):
    def __init__(self, message, type=None, param=None, code=None, **_):
        super().__init__(message)
        self.message, self.type, self.param, self.code = str(message), type, param, code


class HTTPException(Exception):
    def __init__(self, status_code, detail=None, headers=None):
        super().__init__(detail)
        self.status_code, self.detail, self.headers = status_code, detail, headers


class Headers(dict):
    """Header names are looked up in any case."""

    def __init__(self, pairs):
        super().__init__((name.lower(), value) for name, value in pairs)

    def get(self, name, default=None):
        return super().get(name.lower(), default)

    def __getitem__(self, name):
        return super().__getitem__(name.lower())

    def __contains__(self, name):
        return super().__contains__(name.lower())


class Request:
    """The request as a function sees it: its head. Who calls is decided before the body is read."""

    def __init__(self, method, path, query, headers, client):
        self.method = method
        self.headers = Headers(headers)
        self.query_params = dict(parse_qsl(query, keep_blank_values=True))
        self.url = Fields(path=path, query=query, scheme="http")
        self.client = Fields(host=client, port=0)
        self.state = Fields()
        self.cookies = {}
        self.path_params = {}
        self.scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(),
                      "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
                      "client": (client, 0)}

    async def body(self):
        raise HTTPException(500, "general_settings.custom_auth is asked before the body is read: decide by the request's head")

    async def json(self):
        return await self.body()

    async def form(self):
        return await self.body()


def stand_in(name, **contents):
    """A module of that name, unless the real one can be imported."""
    try:
        importlib.import_module(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__path__ = []
        module.__dict__.update(contents)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def stand_ins():
    kinds = {"UserAPIKeyAuth": UserAPIKeyAuth, "GenerateKeyRequest": GenerateKeyRequest,
             "LitellmUserRoles": LitellmUserRoles, "ProxyException": ProxyException}
    stand_in("fastapi", Request=Request, HTTPException=HTTPException, status=Fields(
        HTTP_400_BAD_REQUEST=400, HTTP_401_UNAUTHORIZED=401, HTTP_403_FORBIDDEN=403, HTTP_404_NOT_FOUND=404,
        HTTP_429_TOO_MANY_REQUESTS=429, HTTP_500_INTERNAL_SERVER_ERROR=500))
    stand_in("litellm")
    stand_in("litellm.proxy")
    stand_in("litellm.proxy._types", **kinds)
    stand_in("litellm.proxy.proxy_server", **kinds)


def find(path):
    """What `module.name` names."""
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError("module.function is expected")
    found = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise ValueError(f"{name} is no function")
    return found


async def run(function, *arguments):
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):
        return await function(*arguments)
    done = await asyncio.to_thread(function, *arguments)
    return await done if inspect.isawaitable(done) else done


def real(module, name, stand):
    return getattr(sys.modules.get(module), name, stand)


def request(given):
    kind = real("fastapi", "Request", Request)
    made = Request(**given)
    return made if kind is Request else kind(made.scope)


async def custom_auth(function, given):
    return await run(function, request(given["request"]), given["api_key"])


async def custom_key_generate(function, given):
    kind = real("litellm.proxy._types", "GenerateKeyRequest", GenerateKeyRequest)
    return await run(function, kind(**given))


async def custom_validate(function, given):
    return bool(await run(function, given))


CALLS = {"custom_auth": custom_auth, "custom_key_generate": custom_key_generate, "custom_validate": custom_validate}


def plain(value):
    """A value as JSON has it."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, (list, tuple, set)):
        return [plain(one) for one in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def failure(error):
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    text = getattr(error, "detail", None) or getattr(error, "message", None) or str(error) or type(error).__name__
    try:
        status = int(status)
    except (TypeError, ValueError):
        status = None
    return {"status": status, "message": text if isinstance(text, str) else json.dumps(plain(text))}


async def answer(writer, functions, line):
    asked = json.loads(line)
    try:
        name = asked["call"]
        told = {"id": asked["id"], "ok": plain(await CALLS[name](functions[name], asked["with"]))}
    except Exception as error:  # Whatever the function raises is its verdict.
        told = {"id": asked["id"], "error": failure(error)}
    writer.write(json.dumps(told).encode() + b"\n")
    await writer.drain()


async def serve(functions):
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=0), limit=LINE_BYTES_MAX)
    writer.write(json.dumps({"ready": True}).encode() + b"\n")
    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(answer(writer, functions, line))
        running.add(task)
        task.add_done_callback(running.discard)


def main():
    named = json.loads(sys.argv[1])
    sys.path[:0] = [path for path in named["paths"] if path]
    stand_ins()
    functions = {}
    for call, path in named["functions"].items():
        try:
            functions[call] = find(path)
        except Exception as error:
            why = f"{call}: {path}: {type(error).__name__}: {error}"
            socket.socket(fileno=0).sendall(json.dumps({"failed": why}).encode() + b"\n")
            os._exit(1)
    asyncio.run(serve(functions))


main()
