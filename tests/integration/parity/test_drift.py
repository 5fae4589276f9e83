"""What Terraform reads back is what it wrote, so that a second plan is empty.

Quoted: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricAlarm.html,
https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/apis-apiid-authorizers-authorizerid.html,
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html,
https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeStateMachine.html,
https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBCluster.html,
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_FlowLog.html.
"""

import json
import uuid
from xml.etree import ElementTree as ET

import pytest
import requests

from tests.integration.parity.gateway import ROLE, Server

CLOUDWATCH = "{http://monitoring.amazonaws.com/doc/2010-08-01/}"


def query(server: Server, action: str, **parameters: str) -> ET.Element:
    """Call CloudWatch by the query protocol, as the provider does; boto3 has another."""
    answer = requests.post(
        server.url,
        data={"Action": action, "Version": "2010-08-01", **parameters},
        headers={
            "Authorization": "AWS4-HMAC-SHA256 "
            "Credential=test/20260101/us-east-1/monitoring/aws4_request, "
            "SignedHeaders=host, Signature=0",
        },
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    return ET.fromstring(answer.content)  # noqa: S314 (our own server's)


def test_alarm_is_described_with_all_that_it_was_made_with(server: Server) -> None:
    """MetricAlarm: "The details about a metric alarm", `ActionsEnabled` to `TreatMissingData`."""
    name = f"alarm-{uuid.uuid4().hex[:8]}"
    query(
        server,
        "PutMetricAlarm",
        **{
            "AlarmName": name,
            "AlarmDescription": "more < than > none & so",
            "ActionsEnabled": "true",
            "AlarmActions.member.1": "arn:aws:sns:us-east-1:000000000000:first",
            "AlarmActions.member.2": "arn:aws:sns:us-east-1:000000000000:second",
            "OKActions.member.1": "arn:aws:sns:us-east-1:000000000000:first",
            "Namespace": "AWS/SQS",
            "MetricName": "ApproximateNumberOfMessagesVisible",
            "Dimensions.member.1.Name": "QueueName",
            "Dimensions.member.1.Value": "dead-letter",
            "Statistic": "Maximum",
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": "0",
            "Period": "60",
            "EvaluationPeriods": "1",
            "TreatMissingData": "notBreaching",
        },
    )
    described = query(server, "DescribeAlarms", **{"AlarmNames.member.1": name})
    alarms = described.findall(f".//{CLOUDWATCH}MetricAlarms/{CLOUDWATCH}member")
    assert len(alarms) == 1

    def field(path: str) -> str | None:
        return alarms[0].findtext("/".join(f"{CLOUDWATCH}{part}" for part in path.split("/")))

    assert field("AlarmDescription") == "more < than > none & so"
    assert field("ActionsEnabled") == "true"
    assert [e.text for e in alarms[0].findall(f"{CLOUDWATCH}AlarmActions/{CLOUDWATCH}member")] == [
        "arn:aws:sns:us-east-1:000000000000:first",
        "arn:aws:sns:us-east-1:000000000000:second",
    ]
    assert field("OKActions/member") == "arn:aws:sns:us-east-1:000000000000:first"
    assert field("Dimensions/member/Name") == "QueueName"
    assert field("Dimensions/member/Value") == "dead-letter"
    assert field("Statistic") == "Maximum"
    assert field("Period") == "60"
    assert field("TreatMissingData") == "notBreaching"


def test_alarm_on_a_percentile_has_no_other_statistic(server: Server) -> None:
    """ "Statistic: The statistic for the metric ..., other than percentile." """
    name = f"alarm-{uuid.uuid4().hex[:8]}"
    query(
        server,
        "PutMetricAlarm",
        AlarmName=name,
        Namespace="AWS/ApiGateway",
        MetricName="Latency",
        ExtendedStatistic="p99",
        ComparisonOperator="GreaterThanThreshold",
        Threshold="3000",
        Period="60",
        EvaluationPeriods="1",
    )
    described = query(server, "DescribeAlarms", **{"AlarmNames.member.1": name})
    [alarm] = described.findall(f".//{CLOUDWATCH}MetricAlarms/{CLOUDWATCH}member")
    assert alarm.findtext(f"{CLOUDWATCH}ExtendedStatistic") == "p99"
    assert alarm.find(f"{CLOUDWATCH}Statistic") is None


def test_request_authorizer_has_no_jwt_configuration(server: Server) -> None:
    """jwtConfiguration: "Required for the JWT authorizer type. Supported only for HTTP APIs." """
    gateway = server.client("apigatewayv2")
    api = gateway.create_api(Name="parity", ProtocolType="HTTP")["ApiId"]
    made = gateway.create_authorizer(
        ApiId=api,
        Name="principal",
        AuthorizerType="REQUEST",
        AuthorizerUri="arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/f/invocations",
        IdentitySource=[],
        AuthorizerPayloadFormatVersion="2.0",
        AuthorizerResultTtlInSeconds=0,
        EnableSimpleResponses=True,
    )
    found = gateway.get_authorizer(ApiId=api, AuthorizerId=made["AuthorizerId"])
    assert "JwtConfiguration" not in found
    assert found["AuthorizerPayloadFormatVersion"] == "2.0"
    assert found["EnableSimpleResponses"] is True


def test_websocket_authorizer_has_no_payload_format_version(server: Server) -> None:
    """authorizerPayloadFormatVersion: "the format of the payload sent to an HTTP API Lambda
    authorizer."
    """
    gateway = server.client("apigatewayv2")
    api = gateway.create_api(
        Name="parity", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.type"
    )["ApiId"]
    made = gateway.create_authorizer(
        ApiId=api,
        Name="principal",
        AuthorizerType="REQUEST",
        AuthorizerUri="arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/f/invocations",
        IdentitySource=[],
    )
    found = gateway.get_authorizer(ApiId=api, AuthorizerId=made["AuthorizerId"])
    assert "AuthorizerPayloadFormatVersion" not in found
    assert "JwtConfiguration" not in found


def test_jwt_authorizer_keeps_its_configuration(stack: Server) -> None:
    """The mend leaves the other kind as it is."""
    gateway = stack.client("apigatewayv2")
    api = gateway.create_api(Name="parity", ProtocolType="HTTP")["ApiId"]
    made = gateway.create_authorizer(
        ApiId=api,
        Name="jwt",
        AuthorizerType="JWT",
        IdentitySource=["$request.header.Authorization"],
        JwtConfiguration={"Audience": ["client"], "Issuer": "https://issuer.example.com"},
    )
    found = gateway.get_authorizer(ApiId=api, AuthorizerId=made["AuthorizerId"])
    assert found["JwtConfiguration"]["Audience"] == ["client"]
    assert found["IdentitySource"] == ["$request.header.Authorization"]


@pytest.fixture
def machine(server: Server) -> str:
    """A machine with tracing on."""
    made = server.client("stepfunctions").create_state_machine(
        name=f"traced-{uuid.uuid4().hex[:8]}",
        definition=json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}),
        roleArn=ROLE,
        tracingConfiguration={"enabled": True},
    )
    arn: str = made["stateMachineArn"]
    return arn


def test_machine_is_described_with_its_tracing(server: Server, machine: str) -> None:
    """tracingConfiguration: "Selects whether AWS X-Ray tracing is enabled." """
    states = server.client("stepfunctions")
    found = states.describe_state_machine(stateMachineArn=machine)
    assert found["tracingConfiguration"] == {"enabled": True}
    states.update_state_machine(
        stateMachineArn=machine, tracingConfiguration={"enabled": False}, roleArn=ROLE
    )
    found = states.describe_state_machine(stateMachineArn=machine)
    assert found["tracingConfiguration"] == {"enabled": False}


def test_object_uploaded_in_parts_has_the_tags_of_its_beginning(server: Server) -> None:
    """x-amz-tagging: "The tag-set for the object. The tag-set must be encoded as URL Query
    parameters."
    """
    objects, bucket = server.client("s3"), f"parts-{uuid.uuid4().hex[:8]}"
    objects.create_bucket(Bucket=bucket)
    objects.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    upload = objects.create_multipart_upload(
        Bucket=bucket, Key="large.zip", Tagging="application=chatbot&note=a%20b"
    )
    part = objects.upload_part(
        Bucket=bucket, Key="large.zip", UploadId=upload["UploadId"], PartNumber=1, Body=b"body"
    )
    objects.complete_multipart_upload(
        Bucket=bucket,
        Key="large.zip",
        UploadId=upload["UploadId"],
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    tags = objects.get_object_tagging(Bucket=bucket, Key="large.zip")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"application": "chatbot", "note": "a b"}


def test_cluster_tells_which_logs_it_exports(server: Server) -> None:
    """EnabledCloudwatchLogsExports: "A list of log types that this DB cluster is configured
    to export to CloudWatch Logs."
    """
    databases, name = server.client("rds"), f"parity-{uuid.uuid4().hex[:8]}"
    databases.create_db_cluster(
        DBClusterIdentifier=name,
        Engine="aurora-postgresql",
        MasterUsername="master",
        ManageMasterUserPassword=True,
        EnableCloudwatchLogsExports=["postgresql"],
    )

    def exported() -> list[str]:
        found = databases.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0]
        logs: list[str] = found.get("EnabledCloudwatchLogsExports", [])
        return logs

    assert exported() == ["postgresql"]
    databases.modify_db_cluster(
        DBClusterIdentifier=name,
        CloudwatchLogsExportConfiguration={
            "EnableLogTypes": ["instance"],
            "DisableLogTypes": ["postgresql"],
        },
    )
    assert exported() == ["instance"]


def test_flow_log_tells_what_it_was_made_with(server: Server) -> None:
    """maxAggregationInterval: "The default is 600 seconds (10 minutes)"; a tag specification's
    ResourceType is `vpc-flow-log`.
    """
    network = server.client("ec2")
    vpc = network.create_vpc(CidrBlock="10.0.0.0/24")["Vpc"]["VpcId"]
    made = network.create_flow_logs(
        ResourceIds=[vpc],
        ResourceType="VPC",
        TrafficType="ALL",
        DeliverLogsPermissionArn=ROLE,
        LogDestination="arn:aws:logs:us-east-1:000000000000:log-group:/aws/vpc/parity",
        TagSpecifications=[
            {"ResourceType": "vpc-flow-log", "Tags": [{"Key": "application", "Value": "chatbot"}]}
        ],
    )
    found = network.describe_flow_logs(FlowLogIds=made["FlowLogIds"])["FlowLogs"][0]
    assert found["DeliverLogsPermissionArn"] == ROLE
    assert found["LogGroupName"] == "/aws/vpc/parity"
    assert found["MaxAggregationInterval"] == 600
    assert found["LogFormat"].startswith("${version} ${account-id} ")
    assert found["Tags"] == [{"Key": "application", "Value": "chatbot"}]
