"""An object that was uploaded in parts has the tags that its upload was begun with.

MiniStack takes them from PutObject only, so a second plan would tag every large archive again.
"""

from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

from ministack.services import s3

from localstack.additions.seam import replace, require


def install() -> None:
    """Wrap the begin and the end of a multipart upload. Fails if what it calls has moved."""
    require(s3, "_qp", "params", "key", "default")
    require(s3, "_persist_version_state", "bucket_name", "key", "bucket")

    def _create_multipart_upload(bucket_name: str, key: str, headers: dict[str, str]) -> Any:
        status, answer, body = stock_create(bucket_name, key, headers)
        tagging = headers.get("x-amz-tagging")
        if status == 200 and tagging:
            upload_id = ET.fromstring(body).findtext("{*}UploadId")  # noqa: S314 (made above)
            tags = parse_qs(tagging, keep_blank_values=True)
            s3._multipart_uploads[upload_id]["tags"] = {name: tags[name][0] for name in tags}
        return status, answer, body

    def _complete_multipart_upload(
        bucket_name: str,
        key: str,
        body: bytes,
        query_params: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> Any:
        upload = s3._multipart_uploads.get(s3._qp(query_params, "uploadId"), {})
        response = stock_complete(bucket_name, key, body, query_params, headers)
        if response[0] == 200 and "tags" in upload:
            version = s3._buckets[bucket_name]["objects"][key].get("version_id")
            s3._object_tags[(bucket_name, key, version)] = upload["tags"]
            s3._persist_version_state(bucket_name, key, s3._buckets[bucket_name])
        return response

    stock_create = replace(s3, "_create_multipart_upload", _create_multipart_upload)
    stock_complete = replace(s3, "_complete_multipart_upload", _complete_multipart_upload)
