"""What may be asked for: query parameters that refuse what they do not know."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import Path, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from automl.core.errors import ConfigError
from automl.dataset_db.comparisons import BANDS, GROUPS, MEASURES
from automl.dataset_db.filters import COLUMNS, OPERATORS
from automl.dataset_db.pages import ORDERS, UNIQUE
from automl.dataset_db.records import FACTS
from automl.dataset_db.types import LARGEST

KEY = 2**31 - 1  # the largest that PostgreSQL numbers rows with
Number = Annotated[int, Path(ge=0, le=KEY)]
Id = Annotated[int, Field(ge=0, le=KEY)]
Name = Annotated[str, Field(max_length=300)]
Distinct = AfterValidator(lambda listed: [*dict.fromkeys(listed)])
Names = Annotated[list[str], Distinct]
State = Literal["running", "complete", "pruned", "failed", "interrupted"]
States = Annotated[list[State], Distinct]
PAGE = 1000  # rows at most
WHERE = (
    "Conditions as a JSON object: a name with a value, a list of the values allowed, or operators "
    f"({', '.join(OPERATORS)}). `config.NAME` is a setting, `scores.METRIC` a final score."
)


async def refuse_repeats(request: Request) -> None:
    """Refuse a parameter that is given twice and has one value: which one was meant?

    Raises:
        ConfigError: naming it.
    """
    given = request.query_params
    if len(given) == len(given.multi_items()):
        return
    parameters = getattr(request.scope.get("route"), "dependant", None)
    models = (
        [field.field_info.annotation for field in parameters.query_params] if parameters else []
    )
    fields = {name: field for model in models for name, field in model.model_fields.items()}
    for name, field in fields.items():
        if name in given and len(given.getlist(name)) > 1 and not isinstance(field.default, list):
            raise ConfigError(f"{name} is given {len(given.getlist(name))} times: give it once")


class Parameters(BaseModel):
    """Base: a misspelt parameter is refused instead of ignored."""

    model_config = ConfigDict(extra="forbid")


class WithCode(Parameters):
    """Whether to send code."""

    code: bool = Field(False, description="Add the network's source files, by name")


class StudiesAsked(Parameters):
    """Which studies."""

    plugin: Name | None = Field(None, description="One that takes part", examples=["ptrnet"])
    dataset: Name | None = Field(None, examples=["cifar-10"])
    kind: Literal["search", "claim", "import"] | None = None
    limit: int = Field(50, ge=1, le=PAGE)
    before: Id | None = Field(None, description="The last number of the page before")


class TrialsAsked(Parameters):
    """Which trials of a study."""

    state: States = Field([], description="Repeat it for several; all by default")
    order: Literal["best", "number"] = "best"
    limit: int = Field(50, ge=1, le=PAGE)


class CurvesAsked(Parameters):
    """Which curves of a study."""

    metric: Name = Field(examples=["accuracy"])
    split: Name = "valid"


class BestAsked(WithCode):
    """The best of what."""

    plugin: Name | None = Field(None, examples=["ptrnet"])
    dataset: Name | None = Field(None, examples=["cifar-10"])
    study: Id | None = None


class OfPlugin(Parameters):
    """Of which plugin."""

    plugin: Name | None = Field(None, examples=["ptrnet"])


class LeaderboardAsked(Parameters):
    """On what, by which objective."""

    dataset: Name | None = Field(None, examples=["cifar-10"])
    metric: Name | None = Field(None, examples=["accuracy"])
    limit: int = Field(50, ge=1, le=PAGE)


class Filters(Parameters):
    """Which models."""

    plugin: Name | None = Field(None, description="Name of a plugin or an imported network")
    family: Name | None = Field(None, description="Of imported networks", examples=["ga"])
    dataset: Name | None = Field(None, examples=["cifar-10"])
    problem: Name | None = Field(None, examples=["image-classification"])
    source: Name | None = Field(None, description="An import", examples=["lemur-2.1.0"])
    study: Id | None = None
    where: str | None = Field(
        None,
        max_length=8000,
        description=WHERE,
        examples=['{"objective": {">=": 0.9}, "config.lr": {"between": [0.001, 0.1]}}'],
    )

    def given(self) -> dict[str, Any]:
        """The filters as the Python functions take them."""
        named = self.model_dump(include=set(Filters.model_fields) - {"where"}, exclude_none=True)
        return {**named, "where": conditions(self.where)}


class ModelsAsked(Filters):
    """Which models, which of their columns, in which order."""

    state: States = Field(["complete"], description="Repeat it for several")
    unique: str | None = Field(
        None,
        description="The best of each, by dataset and metric",
        json_schema_extra={"enum": [*UNIQUE]},
    )
    column: Names = Field(
        [],
        description="Repeat it for several; all by default",
        json_schema_extra={"items": {"type": "string", "enum": [*COLUMNS]}},
    )
    order_by: str = Field(
        "objective",
        description="`objective` is the best first, the others the smallest",
        json_schema_extra={"enum": [*ORDERS]},
    )
    descending: bool = Field(False, description="The largest first")
    code: bool = Field(False, description="Add the networks' source files, each once")
    curves: bool = Field(False, description="Add what each fit reported")
    evaluations: bool = Field(False, description="Add scores on other splits and datasets")

    def asked(self) -> dict[str, Any]:
        """The arguments of ``model_page``, but for the page."""
        own = ("unique", "order_by", "descending", "code", "curves", "evaluations")
        chosen = {name: getattr(self, name) for name in own}
        return {
            **self.given(),
            **chosen,
            "states": self.state or ["complete"],
            "columns": self.column or None,
        }


class ModelPageAsked(ModelsAsked):
    """A page of models."""

    limit: int = Field(50, ge=1, le=PAGE)
    after: str | None = Field(None, max_length=300, description="`next` of the page before")


class ModelStreamAsked(ModelsAsked):
    """Models without end."""

    limit: int | None = Field(None, ge=1, le=LARGEST, description="All by default")


class RecordsAsked(Filters):
    """Which records, which of their columns."""

    step: int | None = Field(None, ge=0, le=LARGEST, description="One step only")
    split: Name | None = Field(
        None, description="By default what the objective was measured on: valid; test of imports"
    )
    best: bool = Field(False, description="The best of each network at each step only")
    column: Names = Field(
        [*FACTS],
        description="Of the trial; repeat it for several",
        json_schema_extra={"items": {"type": "string", "enum": [*COLUMNS]}},
    )
    config: bool = Field(True, description="Add the settings of the trial")
    facts: bool = Field(False, description="Add the published statistics of the network")
    texts: bool = Field(False, description="Add the source of the transform and of the metric")
    code: bool = Field(False, description="Add the networks' source files, each once")

    def asked(self) -> dict[str, Any]:
        """The arguments of ``record_page``, but for the page."""
        own = ("step", "split", "best", "config", "facts", "texts", "code")
        chosen = {name: getattr(self, name) for name in own}
        return {**self.given(), **chosen, "columns": self.column}


class RecordPageAsked(RecordsAsked):
    """A page of records."""

    limit: int = Field(100, ge=1, le=PAGE)
    after: str | None = Field(None, max_length=300, description="`next` of the page before")


class RecordStreamAsked(RecordsAsked):
    """Records without end."""

    limit: int | None = Field(None, ge=1, le=LARGEST, description="All by default")


class ById(Parameters):
    """A page of rows in order of their id."""

    limit: int = Field(100, ge=1, le=PAGE)
    after: Id = Field(0, description="The last id of the page before")


class NetworksAsked(ById):
    """Which networks."""

    plugin: list[Name] = Field([], description="Repeat it for several; all by default")
    prefix: list[Name] = Field([], description="Names that begin so", examples=[["ga-"]])
    family: Name | None = Field(None, examples=["ga"])
    code: bool = Field(False, description="Add the source files of each")

    def asked(self) -> dict[str, Any]:
        """The arguments of ``networks``."""
        lists = {"plugin": self.plugin or None, "prefix": self.prefix or None}
        return {**self.model_dump(exclude={"plugin", "prefix"}), **lists}


class DeviceRunsAsked(ById):
    """Which runs."""

    plugin: Name | None = None
    device: Name | None = None
    source: Name | None = Field(None, examples=["lemur-2.1.0"])


class FlagsAsked(ById):
    """Which flags."""

    source: Name | None = Field(None, examples=["lemur-2.1.0"])
    reason: Name | None = Field(None, examples=["no duration"])


class AlikeAsked(Parameters):
    """How much alike: from ``low`` on, or within a named band."""

    low: float = Field(0.0, ge=0, le=1, description="Of the Jaccard similarity; included")
    high: float = Field(1.0, ge=0, le=1)
    band: str | None = Field(
        None,
        description="Instead of `low` and `high`: "
        + ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in BANDS.items()),
        json_schema_extra={"enum": [*BANDS, None]},
    )
    limit: int = Field(100, ge=1, le=PAGE)

    @property
    def range(self) -> str | tuple[float, float]:
        """What ``similar`` takes."""
        return (self.low, self.high) if self.band is None else self.band


class SimilarAsked(AlikeAsked):
    """Like which network."""

    anchor: Name = Field(description="A network's name", examples=["AirNet"])


class TextAsked(AlikeAsked):
    """Like which text."""

    model_config = ConfigDict(strict=True)  # a body has types, unlike a query
    text: str = Field(min_length=1, description="Source code", examples=["class Net: ..."])


class ParetoAsked(Filters):
    """Which front."""

    dataset: Name = Field(examples=["cifar-10"])
    objective: Names = Field(
        ["objective", "parameters"],
        min_length=1,
        description="Repeat it: the better objective, the smaller others",
        json_schema_extra={"items": {"type": "string", "enum": [*MEASURES]}},
    )


class SummaryAsked(Filters):
    """Which groups of what."""

    by: Names = Field(
        ["dataset"],
        min_length=1,
        description="Repeat it for several",
        json_schema_extra={"items": {"type": "string", "enum": [*GROUPS]}},
    )
    of: str = Field("objective", json_schema_extra={"enum": [*MEASURES]})
    quantile: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        [0.5], max_length=20, description="Repeat it for several; named `q0.5` in the answer"
    )
    state: States = Field(["complete"], description="Repeat it for several")
    limit: int = Field(100, ge=1, le=PAGE)


class JoinedAsked(Filters):
    """Which models beside each other."""

    n: int = Field(2, ge=2, le=10, description="Models in a row")
    same: Names = Field(
        ["dataset", "metric"],
        description="Columns in which they agree",
        json_schema_extra={"items": {"type": "string", "enum": [*GROUPS]}},
    )
    different: Names = Field(
        ["plugin"],
        description="Columns in which they differ",
        json_schema_extra={"items": {"type": "string", "enum": [*GROUPS]}},
    )
    better: bool = Field(False, description="Each is better than the one before")
    limit: int = Field(100, ge=1, le=PAGE)


def conditions(where: str | None) -> dict[str, Any]:
    """The conditions that a text stands for.

    Raises:
        ConfigError: if it is no JSON object.
    """
    if where is None:
        return {}
    try:
        found = orjson.loads(where)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"where={where!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f'where={where!r} must be a JSON object such as {{"plugin": "selu"}}')
    return found
