"""The document of the metrics: each of ours, with its labels and in its own words."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from somaagent.observability import metrics
from tests.stack import PROJECT_ROOT


def row(metric: MetricWrapperBase) -> str:
    [family] = metric.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


def test_each_metric_stands_in_the_document():
    ours = sorted(row(one) for one in vars(metrics).values() if isinstance(one, MetricWrapperBase))
    document = (PROJECT_ROOT / "docs/metrics.md").read_text()
    assert [line for line in document.splitlines() if line.startswith("| `soma_")] == ours
