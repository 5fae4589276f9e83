"""The permissions that roles are made of: the same as `app.all_permissions()` in the migrations."""

from typing import Literal

type Permission = Literal[
    "workspace:update",
    "workspace:delete",
    "members:read",
    "members:write",
    "roles:read",
    "roles:write",
    "chatbots:read",
    "chatbots:write",
    "chat:use",
    "conversations:read_all",
    "feedback:read",
    "sources:read",
    "sources:write",
    "documents:read",
    "documents:write",
    "usage:read",
    "audit:read",
]
