"""The scenario file, `scenarios.yaml`, read."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.e2e.client import Tenant
from tests.e2e.conftest import Stack
from tests.e2e.exclusive.faults.deeds.documents import Documents
from tests.e2e.exclusive.faults.deeds.ingestion import Ingestion
from tests.e2e.exclusive.faults.deeds.patience import Deed
from tests.e2e.exclusive.faults.deeds.resources import Resources
from tests.e2e.exclusive.faults.deeds.sign_ins import SignIns
from tests.e2e.exclusive.faults.deeds.turns import Answered, Turns

FILE = Path(__file__).with_name("scenarios.yaml")
DEEDS: dict[str, Callable[..., Deed]] = {
    "answered": Answered,
    "documents": Documents,
    "ingestion": Ingestion,
    "resources": Resources,
    "sign-ins": SignIns,
    "turns": Turns,
}
RULE = {
    *("operation", "body", "error", "latency", "reset", "response"),
    *("probability", "times", "sequence"),
}


class Scenario(NamedTuple):
    """One line of the file. `rules` are what microburst takes: one, or none."""

    name: str
    deed: Callable[[Tenant, Stack], Deed]
    rules: Sequence[dict[str, Any]]
    seconds: float = 20
    meanwhile: str | None = None
    skew: float = 0
    quick: bool = False


def _read() -> Iterator[Scenario]:
    for service, deeds in yaml.safe_load(FILE.read_text(encoding="utf-8")).items():
        for deed, found in deeds.items():
            for how, terms in found.items():
                rule = {key: terms.pop(key) for key in RULE & terms.keys()}
                asked = {key: terms.pop(key) for key in {"words"} & terms.keys()}
                yield Scenario(
                    f"{service} {how}, {deed}",
                    partial(DEEDS[deed], **asked),
                    [{"service": service, **rule}] if rule else [],
                    **terms,
                )


SCENARIOS = list(_read())
