"""A database cluster tells which of its logs go to CloudWatch Logs.

MiniStack drops the setting, so a second plan would make it again.
"""

from typing import Any

from ministack.services import rds

from localstack.additions.seam import SeamMissing, replace, require

_FIELD = "EnabledCloudwatchLogsExports"


def _set_exports(params: dict[str, Any], enabled: list[str], disabled: list[str]) -> None:
    cluster = rds._resolve_cluster_in_request_region(rds._p(params, "DBClusterIdentifier"))
    kept = set(cluster[_FIELD]) - set(disabled)
    cluster[_FIELD] = sorted(kept | set(enabled))


def install() -> None:
    """Wrap CreateDBCluster, ModifyDBCluster and what writes a cluster down."""
    require(rds, "_p", "params", "key", "default")
    require(rds, "_parse_member_list", "params", "prefix")
    require(rds, "_resolve_cluster_in_request_region", "cluster_id")

    def _create_db_cluster(p: dict[str, Any]) -> Any:
        response = stock_create(p)
        if response[0] == 200:
            _set_exports(p, rds._parse_member_list(p, "EnableCloudwatchLogsExports"), [])
        return response

    def _modify_db_cluster(p: dict[str, Any]) -> Any:
        response = stock_modify(p)
        if response[0] == 200:
            prefix = "CloudwatchLogsExportConfiguration"
            _set_exports(
                p,
                rds._parse_member_list(p, f"{prefix}.EnableLogTypes"),
                rds._parse_member_list(p, f"{prefix}.DisableLogTypes"),
            )
        return response

    def _cluster_xml(c: dict[str, Any]) -> str:
        logs = "".join(f"<member>{log}</member>" for log in c.get(_FIELD, []))
        return f"{stock_xml(c)}<{_FIELD}>{logs}</{_FIELD}>"

    stock_create = replace(rds, "_create_db_cluster", _create_db_cluster)
    stock_modify = replace(rds, "_modify_db_cluster", _modify_db_cluster)
    stock_xml = replace(rds, "_cluster_xml", _cluster_xml)
    for action, stock, mended in (
        ("CreateDBCluster", stock_create, _create_db_cluster),
        ("ModifyDBCluster", stock_modify, _modify_db_cluster),
    ):
        if rds._ACTION_MAP.get(action) is not stock:
            raise SeamMissing(f"{action} is not served by what is replaced")
        rds._ACTION_MAP[action] = mended
