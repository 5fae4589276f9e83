"""Run in a fresh interpreter: what importing each handler loads, one JSON object a line.

    python -S -E imports.py <folder with dependencies/, shared/ and the functions> <name>…

Each function is imported in a child of its own, from nothing but the interpreter's own library and
what is packed, and then says of itself: `modules`, how many are loaded that were not before;
`byte_code`, the bytes of those that are packed (not the interpreter's); `uncompiled`, packed
modules whose byte code is missing; `clients`, AWS clients that the import has made.
"""

import importlib
import json
import os  # not pathlib, which would count as there already
import sys


def loaded(folder: str, name: str) -> dict[str, object]:
    """Import a function's handler and say what is loaded since."""
    sys.path[:0] = [f"{folder}/{name}", f"{folder}/shared/python", f"{folder}/dependencies/python"]
    before = set(sys.modules)
    importlib.import_module(f"functions.{name}.handler")
    added = [sys.modules[key] for key in sorted(set(sys.modules) - before) if sys.modules[key]]
    specs = [spec for spec in (getattr(module, "__spec__", None) for module in added) if spec]
    ours = [s for s in specs if (s.origin or "").startswith(folder) and s.origin.endswith(".py")]
    aws = sys.modules.get("chatbot.aws")
    compiled = [s.cached for s in ours if os.access(s.cached, os.R_OK)]
    return {
        "modules": len(added),
        "byte_code": sum(map(os.path.getsize, compiled)),
        "uncompiled": [s.name for s in ours if s.cached not in compiled],
        "clients": aws.client.cache_info().currsize if aws else 0,
    }


def main() -> None:
    """Fork for each function, so that none finds what another has loaded."""
    folder, *names = sys.argv[1:]
    sys.dont_write_bytecode = True
    for name in names:
        child = os.fork()
        if not child:
            print(json.dumps({"name": name, **loaded(folder, name)}), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{name} cannot be imported")


main()
