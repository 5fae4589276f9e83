"""The database's three logins, their secrets, and what each may do before any migration has run.

Besides them `chatbot_search`, as whom nobody logs in: the owner of `app.search`.
"""

import base64
import hashlib
import hmac
import json
import secrets

from chatbot import aws, database
from chatbot.rotation import Value
from chatbot.settings import settings

LOGINS = ("migrator", "app", "worker")
SEARCH = "chatbot_search"
_ITERATIONS = 4096  # PostgreSQL's scram_iterations

# The migrator owns the schema and all that is in it. Statements here are run by the master user,
# who is no superuser, on Aurora either.
_PRIVILEGES = (
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {database} TO chatbot_migrator, chatbot_app, chatbot_worker",
    "GRANT CREATE ON DATABASE {database} TO chatbot_migrator",
    # The extension is for privileged roles to make; its types and operators are for all.
    "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public",
    "GRANT USAGE ON SCHEMA public TO chatbot_migrator, chatbot_app, chatbot_worker, chatbot_search",
    # To hand `app.search` over, no more: the migrator inherits nothing.
    "GRANT chatbot_search TO chatbot_migrator WITH INHERIT FALSE, SET TRUE",
)


def secret_arn(login: str) -> str:
    """The ARN of a login's secret, which Terraform has made."""
    name = f"chatbot-{settings().environment}-database-{login}"
    arn: str = aws.client("secretsmanager").describe_secret(SecretId=name)["ARN"]
    return arn


def provide_logins() -> None:
    """Make what is missing of the logins; give each its secret's password.

    Safe to run again, also on a new database whose secrets are left from an earlier one.
    """
    client = aws.client("secretsmanager")
    for login in LOGINS:
        secret = client.get_secret_value(SecretId=secret_arn(login))["SecretString"]
        use_password(json.loads(secret))
    if not _exists(SEARCH):
        database.execute("CREATE ROLE chatbot_search NOLOGIN")
    for statement in _PRIVILEGES:
        database.execute(statement.format(database=f'"{settings().database_name}"'))


def new_password(value: Value) -> Value:
    """A login's secret `{"username", "password"}` with another password."""
    return {**value, "password": secrets.token_urlsafe(32)}


def use_password(value: Value) -> None:
    """Make the login of a secret, or change its password to the secret's."""
    role = value["username"]
    if role not in {f"chatbot_{login}" for login in LOGINS}:
        raise ValueError("not a login of ours")
    verb = "ALTER" if _exists(role) else "CREATE"
    verifier = _scram_verifier(value["password"])
    database.execute(f"{verb} ROLE {role} LOGIN PASSWORD '{verifier}'")


def _exists(role: str) -> bool:
    found = database.execute(
        "SELECT to_jsonb(true) FROM pg_roles WHERE rolname = :role", {"role": role}
    )
    return found is not None


def _scram_verifier(password: str) -> str:
    """What PostgreSQL stores for a password (RFC 5803), so that no statement or log holds it."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"
