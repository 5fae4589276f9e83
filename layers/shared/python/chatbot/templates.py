"""The sandbox that chatbots' system prompts, Jinja2 templates written by tenants, live in."""

from functools import cache
from typing import Any

from jinja2 import TemplateError, TemplateRuntimeError, nodes
from jinja2.compiler import CodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _RunTimeOnly(CodeGenerator):
    """Computes nothing while it compiles: `{{ "x" * 10 ** 9 }}` is met at run time, or never."""

    def _output_child_to_const(self, *_: Any) -> str:
        raise nodes.Impossible


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _RunTimeOnly
    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Small numbers only: a short expression must not make what fills the memory."""
        for side in (left, right):
            if not isinstance(side, int | float) or abs(side) > 2**31:
                raise TemplateRuntimeError(f"{operator} is for small numbers only")
        if operator == "**" and abs(right) > 16:
            raise TemplateRuntimeError("the exponent is too large")
        return super().call_binop(context, operator, left, right)


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """The environment to compile and render in. There is no loader: a template stands alone."""
    return _Environment(optimized=False, autoescape=False, keep_trailing_newline=True)


def check(source: str) -> None:
    """Raise `ValueError`, with a message for the author, where a template does not compile."""
    try:
        tree = environment().parse(source)
        if next(
            tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)), None
        ):
            raise ValueError("a template cannot load another")
        environment().compile(tree)
    except TemplateError as error:
        raise ValueError(f"the template does not compile: {error.message}") from None
    except (RecursionError, SyntaxError, MemoryError):
        raise ValueError("the template is nested too deeply") from None
