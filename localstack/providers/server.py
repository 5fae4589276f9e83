"""The HTTP side: the providers, faults, and a way to change what they hold."""

from collections.abc import Awaitable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from localstack.providers.backlog import Backlog
from localstack.providers.brave import Brave
from localstack.providers.faults import Fault, rate_limited
from localstack.providers.gitlab import Gitlab
from localstack.providers.slack import Slack

PREFIXES = {
    "slack": "/slack/api/",
    "gitlab": "/gitlab/api/v4/",
    "backlog": "/backlog/api/v2/",
    "brave": "/brave/res/v1/",
}
SECRETS = {"apiKey", "token"}


class World:
    """The providers' state, their faults and the requests they got."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to the corpus."""
        self.slack = Slack()
        self.gitlab = Gitlab()
        self.backlog = Backlog()
        self.brave = Brave()
        self.faults: dict[str, list[Fault]] = {name: [] for name in PREFIXES}
        self.requests: list[dict[str, Any]] = []

    def change(self, provider: str, do: str, arguments: dict[str, Any]) -> Any:
        """Call a public method of a provider by name."""
        if provider not in PREFIXES or do.startswith("_"):
            raise web.HTTPBadRequest(text=f"no {provider}.{do}")
        return getattr(getattr(self, provider), do)(**arguments)

    async def answer(
        self, provider: str, path: str, parameters: dict[str, list[str]], request: web.Request
    ) -> web.Response:
        """A provider's own answer."""
        answers: web.Response | Awaitable[web.Response] = getattr(self, provider).answer(
            request.method, path, parameters, request.headers
        )
        return answers if isinstance(answers, web.Response) else await answers


WORLD = web.AppKey("world", World)


@web.middleware
async def _faulty(request: web.Request, handler: Handler) -> web.StreamResponse:
    world = request.app[WORLD]
    provider = next((name for name, at in PREFIXES.items() if request.path.startswith(at)), None)
    if provider is None:
        return await handler(request)
    world.requests.append(
        {
            "provider": provider,
            "method": request.method,
            "path": request.raw_path.split("?")[0].removeprefix(PREFIXES[provider]),
            "query": {
                name: request.query.getall(name) for name in request.query if name not in SECRETS
            },
        }
    )
    met = [fault for fault in world.faults[provider] if fault.meets(request.path)]
    for fault in met:
        if fault.kind not in {"change", "lost"}:
            return await _go_wrong(request, provider, fault)
    answer = await handler(request)
    for fault in met:
        if fault.kind == "lost":
            return await _cut(request)
        world.change(provider, fault.do, fault.arguments)
    return answer


async def _go_wrong(request: web.Request, provider: str, fault: Fault) -> web.StreamResponse:
    match fault.kind:
        case "rate_limit":
            return rate_limited(provider, fault.seconds)
        case "status":
            return web.Response(text="something is wrong here", status=fault.status)
        case "not_ok":
            return web.json_response({"ok": False, "error": fault.error})
        case "garbage":
            return web.Response(text="<html>a page of a proxy</html>")
        case "replace":
            return web.json_response(fault.body)
    return await _cut(request)


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"ok": true, ')
    if request.transport is not None:
        request.transport.close()
    return response


async def _provide(request: web.Request) -> web.Response:
    provider = request.match_info.route.name or ""
    parameters = {name: request.query.getall(name) for name in request.query}
    # Slack takes arguments in the body as well, Backlog only there, but for the key.
    parameters |= {name: [str(value)] for name, value in (await request.post()).items()}
    path = request.raw_path.split("?")[0].removeprefix(PREFIXES[provider])
    return await request.app[WORLD].answer(provider, path, parameters, request)


async def _control(request: web.Request) -> web.Response:
    order = await request.json()
    world = request.app[WORLD]
    if "fault" in order:
        world.faults[order["provider"]].append(Fault(**order["fault"]))
        return web.json_response(None)
    return web.json_response(world.change(order["provider"], order["do"], order.get("with", {})))


async def _reset(request: web.Request) -> web.Response:
    request.app[WORLD].reset()
    return web.json_response(None)


async def _requests(request: web.Request) -> web.Response:
    return web.json_response(request.app[WORLD].requests)


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def make_app() -> web.Application:
    """The application, with a world of its own under the key `WORLD`."""
    app = web.Application(middlewares=[_faulty])
    app[WORLD] = World()
    app.router.add_get("/health", _health)
    app.router.add_get("/requests", _requests)
    app.router.add_post("/control", _control)
    app.router.add_delete("/control", _reset)
    for name, prefix in PREFIXES.items():
        app.router.add_route("*", f"{prefix}{{path:.*}}", _provide, name=name)
    return app
