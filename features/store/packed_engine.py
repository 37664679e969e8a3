"""Let ``feast materialize`` write to the packed store without protobuf.

Feast's local engine reads the offline table, makes a protobuf object of every value and passes these to
the online store. This engine passes the table itself where all fields of the view are numbers and
texts. Otherwise, and for other stores, it does what Feast's engine does.
"""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
from feast.infra.common.materialization_job import (
    MaterializationJobStatus,
    MaterializationTask,
)
from feast.infra.compute_engines.dag.context import ExecutionContext
from feast.infra.compute_engines.local.arrow_table_value import ArrowTableValue
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.feature_builder import LocalFeatureBuilder
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.compute_engines.local.nodes import LocalOutputNode
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel

from features.store.packed import PackedOnlineStore


class PackedComputeEngineConfig(FeastConfigBaseModel):
    """Settings in ``feature_store.yaml``: only the name of the engine."""

    type: Literal["features.store.packed_engine.PackedComputeEngine"] = (
        "features.store.packed_engine.PackedComputeEngine"
    )


class PackedComputeEngine(LocalComputeEngine):
    """Feast's local engine, with a last step that writes tables."""

    def _materialize_one(
        self,
        registry: BaseRegistry,
        task: MaterializationTask,
        **kwargs: Any,
    ) -> LocalMaterializationJob:
        context = self.get_execution_context(registry, task)
        job_id = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
        try:
            _Builder(registry, task, backend=self._get_backend(context)).build().execute(context)
        except Exception as error:  # noqa: BLE001 - Feast raises it again from the job
            return LocalMaterializationJob(
                job_id=job_id, status=MaterializationJobStatus.ERROR, error=error
            )
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)


class _Builder(LocalFeatureBuilder):
    def build_output_nodes(self, view: Any, input_node: Any) -> Any:
        whole: Any = self.dag_root.view
        node = _OutputNode("output", whole, inputs=[input_node])
        self.nodes.append(node)
        return node


class _OutputNode(LocalOutputNode):
    def execute(self, context: ExecutionContext) -> ArrowTableValue:
        view, store = self.feature_view, context.online_store
        if view.offline or not isinstance(store, PackedOnlineStore) or not store.holds_table(view):
            return super().execute(context)
        value = ArrowTableValue(data=self.get_single_table(context).data)
        context.node_outputs[self.name] = value
        if view.online and value.data.num_rows:
            store.online_write_table(
                context.repo_config, [view], pl.DataFrame(pl.from_arrow(value.data))
            )
        return value
