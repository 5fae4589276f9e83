"""The baseline: 20 routes of the product's first sketch, FastAPI under Mangum.

As in that sketch every route reads or writes one row by SQLAlchemy over asyncpg. Here the answer
comes without a query, which leaves the connection to PostgreSQL out of the baseline's time: the
ratio to it is on the safe side.
"""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg  # noqa: F401 - SQLAlchemy would import it for the first connection
from fastapi import APIRouter, Depends, FastAPI
from mangum import Mangum
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ForeignKey, String
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

engine = create_async_engine("postgresql+asyncpg://chatbot:chatbot@127.0.0.1/chatbot")
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    created_at: Mapped[datetime]


class Workspace(Base):
    __tablename__ = "workspaces"
    name: Mapped[str] = mapped_column(String(200))
    chatbots: Mapped[list["Chatbot"]] = relationship(back_populates="workspace")


class Chatbot(Base):
    __tablename__ = "chatbots"
    workspace_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("workspaces.id"))
    name: Mapped[str] = mapped_column(String(200))
    system_prompt: Mapped[str]
    workspace: Mapped[Workspace] = relationship(back_populates="chatbots")


class ChatbotCreate(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    system_prompt: str = ""


class ChatbotUpdate(BaseModel):
    name: str | None = None
    system_prompt: str | None = None


class ChatbotRead(ChatbotCreate):
    model_config = ConfigDict(from_attributes=True)
    id: uuid.UUID
    created_at: datetime


async def session() -> AsyncIterator[AsyncSession]:
    """A session for each request."""
    async with Session() as opened:
        yield opened


type Opened = Annotated[AsyncSession, Depends(session)]


def row(name: str = "assistant", system_prompt: str = "") -> Chatbot:
    """What the query would have found."""
    return Chatbot(
        id=uuid.uuid4(), created_at=datetime.now(UTC), name=name, system_prompt=system_prompt
    )


def resource() -> APIRouter:
    """Five routes: list, create, read, update, delete."""
    router = APIRouter()

    @router.get("", response_model=list[ChatbotRead])
    async def index(_: Opened, limit: Annotated[int, Field(ge=1, le=100)] = 20) -> Any:
        return [row() for _ in range(min(limit, 1))]

    @router.post("", response_model=ChatbotRead, status_code=201)
    async def create(_: Opened, body: ChatbotCreate) -> Any:
        return row(body.name, body.system_prompt)

    @router.get("/{row_id}", response_model=ChatbotRead)
    async def read(_: Opened, row_id: uuid.UUID) -> Any:
        return row(str(row_id))

    @router.patch("/{row_id}", response_model=ChatbotRead)
    async def update(_: Opened, row_id: uuid.UUID, body: ChatbotUpdate) -> Any:
        return row(body.name or str(row_id))

    @router.delete("/{row_id}", status_code=204)
    async def delete(_: Opened, row_id: uuid.UUID) -> None:
        return None

    return router


app = FastAPI()
for name in ("users", "workspaces", "chatbots", "conversations"):
    app.include_router(resource(), prefix=f"/api/v1/{name}")
handler = Mangum(app, lifespan="off")
