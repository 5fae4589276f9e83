"""No SQL is put together from values: what reaches PostgreSQL as a statement is a literal.

Row-level security stops a forgotten WHERE, not SQL injection. So the first look at any call of
`query`, `call`, `system` or `execute`, on `database` or on a request, is at its statement: a string
literal, or a constant of the module that is one.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# They hand statements on, or are no client's: the client itself, the request that wraps it, and the
# migrations.
WRAPPERS = {
    ROOT / "layers/shared/python/chatbot/database.py",
    ROOT / "layers/shared/python/chatbot/api.py",
    ROOT / "functions/migrate/handler.py",
    ROOT / "functions/migrate/logins.py",
}
SOURCES = sorted(
    {
        path
        for folder in ("functions", "layers/shared/python/chatbot")
        for path in (ROOT / folder).rglob("*.py")
    }
    - WRAPPERS
)
# Where the statement stands, by the method's name: on `database`, on a request of `chatbot.api`.
ON_DATABASE = {"query": 1, "call": 0, "system": 1, "execute": 0}
ON_REQUEST = {"query": 0, "call": 0}


def _constants(tree: ast.Module) -> set[str]:
    """Names that are bound once in the module, at its top, to a string literal."""
    bound = [
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    ]
    return {
        target.id
        for statement in tree.body
        if isinstance(statement, ast.Assign) and _is_text(statement.value)
        for target in statement.targets
        if isinstance(target, ast.Name) and bound.count(target.id) == 1
    }


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


class _Calls(ast.NodeVisitor):
    """Every call that takes a statement, and the private functions that hand one on."""

    def __init__(self, constants: set[str], private: dict[str, int]) -> None:
        self.constants = constants
        self.private = private
        self.handing_on: dict[str, int] = {}
        self.found: list[str] = []
        self._within: list[ast.FunctionDef] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._within.append(node)
        self.generic_visit(node)
        self._within.pop()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "chatbot.database":
            hidden = {name.name for name in node.names} & ON_DATABASE.keys()
            self.found += [f"line {node.lineno}: import {name}" for name in sorted(hidden)]

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        place = self._place(node.func)
        if place is None:
            return
        statement = node.args[place] if len(node.args) > place else None
        if isinstance(statement, ast.Name) and self._hands_on(statement.id):
            return
        named = isinstance(statement, ast.Name) and statement.id in self.constants
        if statement is None or not (_is_text(statement) or named):
            self.found.append(f"line {node.lineno}: {ast.unparse(node.func)}")

    def _place(self, function: ast.expr) -> int | None:
        if isinstance(function, ast.Name):
            return self.private.get(function.id)
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            takers = {"database": ON_DATABASE, "request": ON_REQUEST}.get(function.value.id, {})
            return takers.get(function.attr)
        return None

    def _hands_on(self, name: str) -> bool:
        """Whether the name is a parameter, untouched, of a private function of the module."""
        if len(self._within) != 1 or not self._within[0].name.startswith("_"):
            return False
        function = self._within[0]
        parameters = [argument.arg for argument in function.args.args]
        stored = [
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
        ]
        if name not in parameters or name in stored:
            return False
        self.handing_on[function.name] = parameters.index(name)
        return True


def violations(source: str) -> list[str]:
    """The statements in a module that are no literals, and imports that would hide them.

    A private function may hand its own parameter on: then its calls are looked at too.
    """
    tree = ast.parse(source)
    private: dict[str, int] = {}
    while True:
        calls = _Calls(_constants(tree), private)
        calls.visit(tree)
        if calls.handing_on == private:
            return calls.found
        private = calls.handing_on


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_statements_are_literals(path: Path) -> None:
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        'database.query(p, f"SELECT {x}")',
        'database.query(p, "SELECT " + x)',
        'database.query(p, "SELECT %s" % x)',
        'database.query(p, "SELECT {}".format(x))',
        "database.query(p, statement)",
        "database.query(p, statement=S)",
        'S = "SELECT 1"\nS += x\ndatabase.query(p, S)',
        'S = "SELECT 1"\ndef f(S):\n    S = S + "x"\n    database.query(p, S)',
        'database.call("app." + name, {})',
        "database.system(w, x)",
        "database.execute(x)",
        'request.query(f"SELECT {x}")',
        "request.call(name, {})",
        "from chatbot.database import query",
        'def _q(r, s):\n    return database.query(r, s)\n_q(r, f"SELECT {x}")',
        'def _q(r, s):\n    s = s + x\n    return database.query(r, s)\n_q(r, "SELECT 1")',
        "def q(r, s):\n    return database.query(r, s)",
    ],
)
def test_what_is_no_literal_is_found(source: str) -> None:
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        'database.query(p, "SELECT 1", {})',
        'database.query(p, """SELECT 1""" " AND 2")',
        'S = """SELECT 1"""\ndef f():\n    database.query(p, S)',
        'request.query("SELECT 1")',
        'database.call("app.register", {})',
        'def _q(r, s):\n    return database.query(r, s)\n_q(r, "SELECT 1")',
    ],
)
def test_literals_pass(source: str) -> None:
    assert violations(source) == []
