"""The Data API over PostgreSQL, by boto3's client, held against AWS's documentation.

Quotes are from the Aurora user guide ("Using the RDS Data API") and the Data API's reference.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localstack.postgres import Postgres
from tests.integration.parity.gateway import Server, free_port


@dataclass(frozen=True)
class Database:
    """A cluster with its database, and what a statement needs to reach it."""

    postgres: Postgres
    server: Server
    client: Any
    cluster_arn: str
    secret_arn: str

    def execute(self, sql: str, parameters: Any = (), **options: Any) -> dict[str, Any]:
        """ExecuteStatement as the cluster's master user; parameters as (name, Field) pairs."""
        request = {
            "resourceArn": self.cluster_arn,
            "secretArn": self.secret_arn,
            "database": "product",
            "sql": sql,
            "parameters": [
                {"name": name, "value": value, **(hint[0] if hint else {})}
                for name, value, *hint in parameters
            ],
            **options,
        }
        answer: dict[str, Any] = self.client.execute_statement(**request)
        return answer

    def fails(self, sql: str, parameters: Any = (), **options: Any) -> tuple[str, str]:
        """The code and message of a statement's error."""
        with pytest.raises(ClientError) as caught:
            self.execute(sql, parameters, **options)
        error = caught.value.response["Error"]
        return error["Code"], error["Message"]

    def value(self, sql: str, parameters: Any = (), **options: Any) -> Any:
        """The only field of the only row."""
        ((field,),) = self.execute(sql, parameters, **options)["records"]
        return field

    def secret(self, username: str, password: str) -> str:
        """The ARN of a new secret."""
        arn: str = self.server.client("secretsmanager").create_secret(
            Name=f"login-{uuid.uuid4().hex[:8]}",
            SecretString=json.dumps({"username": username, "password": password}),
        )["ARN"]
        return arn


def make_cluster(server: Server, postgres: Postgres) -> Database:
    cluster = server.client("rds").create_db_cluster(
        DBClusterIdentifier=f"cluster-{uuid.uuid4().hex[:8]}",
        Engine="aurora-postgresql",
        EngineVersion="16.8",
        MasterUsername="product_master",
        ManageMasterUserPassword=True,
        DatabaseName="product",
        EnableHttpEndpoint=True,
    )["DBCluster"]
    arn, secret = cluster["DBClusterArn"], cluster["MasterUserSecret"]["SecretArn"]
    return Database(postgres, server, server.client("rds-data"), arn, secret)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    running = Postgres(tmp_path_factory.mktemp("postgres"), free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def database(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    environment = {
        "POSTGRES_PORT": str(postgres.port),
        "POSTGRES_PASSWORD_FILE": str(postgres.password_file),
    }
    directory = tmp_path_factory.mktemp("gateway")
    server = Server(["-m", "localstack.server"], directory, environment)
    try:
        yield make_cluster(server, postgres)
    finally:
        server.stop()


@pytest.fixture
def table(database: Database) -> str:
    name = f"t_{uuid.uuid4().hex[:8]}"
    database.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, name text)")
    return name


def test_values_keep_their_types_when_they_go_there_and_back(database: Database) -> None:
    identifier = str(uuid.uuid4())
    answer = database.execute(
        "SELECT :text::text, :long, :double, :flag, :blob, :id, :json, :at, :day, :time, :decimal,"
        " :nothing::int",
        [
            ("text", {"stringValue": "Grüße, 日本語 🎉 :no ''"}),
            ("long", {"longValue": 2**53 + 1}),
            ("double", {"doubleValue": 0.1}),
            ("flag", {"booleanValue": True}),
            ("blob", {"blobValue": b"\x00\xff"}),
            ("id", {"stringValue": identifier}, {"typeHint": "UUID"}),
            ("json", {"stringValue": '{"a": [1]}'}, {"typeHint": "JSON"}),
            ("at", {"stringValue": "2026-11-24 10:20:30.123"}, {"typeHint": "TIMESTAMP"}),
            ("day", {"stringValue": "2026-11-24"}, {"typeHint": "DATE"}),
            ("time", {"stringValue": "10:20:30"}, {"typeHint": "TIME"}),
            ("decimal", {"stringValue": "123456789.000000001"}, {"typeHint": "DECIMAL"}),
            ("nothing", {"isNull": True}),
        ],
        includeResultMetadata=True,
    )
    assert answer["records"] == [
        [
            {"stringValue": "Grüße, 日本語 🎉 :no ''"},
            {"longValue": 2**53 + 1},
            {"doubleValue": 0.1},
            {"booleanValue": True},
            {"blobValue": b"\x00\xff"},
            {"stringValue": identifier},
            {"stringValue": '{"a": [1]}'},
            {"stringValue": "2026-11-24 10:20:30.123"},
            {"stringValue": "2026-11-24"},
            {"stringValue": "10:20:30"},
            {"stringValue": "123456789.000000001"},
            {"isNull": True},
        ]
    ]
    assert [column["typeName"] for column in answer["columnMetadata"]] == [
        "text", "int8", "float8", "bool", "bytea", "uuid", "json", "timestamp", "date", "time",
        "numeric", "int4",
    ]  # fmt: skip


def test_string_needs_a_hint_or_a_cast_when_the_column_is_a_uuid(database: Database) -> None:
    name = f"t_{uuid.uuid4().hex[:8]}"
    database.execute(f"CREATE TABLE {name} (id uuid)")
    text = {"stringValue": str(uuid.uuid4())}
    insert = f"INSERT INTO {name} VALUES (:id)"
    code, message = database.fails(insert, [("id", text)])
    assert code == "DatabaseErrorException"
    assert message.endswith("; SQLState: 42804")
    hinted = database.execute(insert, [("id", text, {"typeHint": "UUID"})])
    cast = database.execute(f"INSERT INTO {name} VALUES (:id::uuid)", [("id", text)])
    assert (hinted["numberOfRecordsUpdated"], cast["numberOfRecordsUpdated"]) == (1, 1)


def test_arrays_come_back_typed_and_are_refused_as_parameters(database: Database) -> None:
    assert database.value("SELECT ARRAY['a', 'b c', '\"q\"', '']") == {
        "arrayValue": {"stringValues": ["a", "b c", '"q"', ""]}
    }
    assert database.value("SELECT ARRAY[1, 2]") == {"arrayValue": {"longValues": [1, 2]}}
    # "Array parameters are not supported."
    array = {"arrayValue": {"longValues": [1]}}
    assert database.fails("SELECT :a", [("a", array)])[0] == "ValidationException"


def test_result_is_json_when_records_are_asked_for_as_json(database: Database) -> None:
    answer = database.execute(
        "SELECT 1 AS one, 'x' AS text, null AS none, true AS flag", formatRecordsAs="JSON"
    )
    assert json.loads(answer["formattedRecords"]) == [
        {"one": 1, "text": "x", "none": None, "flag": True}
    ]
    assert "records" not in answer


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT \':a\', ":a".x, :a::text FROM (SELECT 1 AS x) AS ":a"',
        "SELECT $$ :b $$, 2, :a::text -- :c",
        "SELECT $tag$ :b $tag$, /* :d ' */ 3, :a::text",
        "SELECT E'it\\'s :b', 4, :a::text",
    ],
)
def test_colons_stay_when_they_are_no_parameters(sql: str, database: Database) -> None:
    answer = database.execute(sql, [("a", {"stringValue": "value"})])
    assert answer["records"][0][-1] == {"stringValue": "value"}


def test_sqlstate_stands_in_the_error_when_a_constraint_is_violated(
    database: Database, table: str
) -> None:
    database.execute(f"INSERT INTO {table} VALUES (1)")
    code, message = database.fails(f"INSERT INTO {table} VALUES (1)")
    assert code == "DatabaseErrorException"
    assert message == (
        f'ERROR: duplicate key value violates unique constraint "{table}_pkey"; SQLState: 23505'
    )


def test_own_sqlstates_come_through_when_a_function_raises(database: Database) -> None:
    raising = "DO $$ BEGIN RAISE EXCEPTION 'not there' USING ERRCODE = 'CB404'; END $$"
    assert database.fails(raising)[1] == "ERROR: not there; SQLState: CB404"


def test_statements_are_refused_when_there_is_more_than_one(database: Database) -> None:
    # "Multi-statements aren't supported"
    assert database.fails("SELECT 1; SELECT 2")[0] == "ValidationException"


def test_result_is_refused_when_it_is_too_large_or_of_no_known_type(database: Database) -> None:
    # "The Data API size limit is 64 KB per row in the result set returned by the database."
    assert database.value("SELECT repeat('x', 64 * 1024)")["stringValue"] == "x" * 65536
    wide = "SELECT repeat('x', 64 * 1024 + 1)"
    # "If the call returns more than 1 MiB of response data, the call is terminated."
    long = "SELECT repeat('x', 60000) FROM generate_series(1, 18)"
    for sql in (wide, long, "SELECT point(1, 2)", "SELECT ARRAY[[1],[2]]"):
        assert database.fails(sql)[0] == "UnsupportedResultException", sql


def test_request_is_refused_when_it_is_larger_than_4_mib(database: Database) -> None:
    code, _ = database.fails("SELECT :a::text", [("a", {"stringValue": "x" * 4_200_000})])
    assert code == "ValidationException"


def test_login_is_refused_when_the_password_is_wrong(database: Database) -> None:
    wrong = database.secret("product_master", "wrong")
    code, message = database.fails("SELECT 1", secretArn=wrong)
    assert code == "DatabaseErrorException"
    assert message == (
        'FATAL: password authentication failed for user "product_master"; SQLState: 28P01'
    )


def test_call_is_refused_when_an_arn_is_unknown(database: Database) -> None:
    secret = f"{database.secret_arn}x"
    assert database.fails("SELECT 1", secretArn=secret)[0] == "SecretsErrorException"
    cluster = f"{database.cluster_arn}x"
    # "The ARN you specified doesn't exactly match the ARN of the cluster."
    assert database.fails("SELECT 1", resourceArn=cluster)[0] == "HttpEndpointNotEnabledException"


def test_statement_runs_as_the_user_of_its_secret(database: Database, table: str) -> None:
    name = f"reader_{uuid.uuid4().hex[:8]}"
    database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'of the reader'")
    secret = database.secret(name, "of the reader")
    assert database.value("SELECT current_user::text", secretArn=secret) == {"stringValue": name}
    assert database.fails(f"SELECT * FROM {table}", secretArn=secret)[1].endswith("SQLState: 42501")


def test_master_user_makes_roles_and_extensions_but_is_no_superuser(database: Database) -> None:
    attributes = "SELECT to_jsonb(r) FROM pg_roles r WHERE rolname = current_user"
    role = json.loads(database.value(attributes)["stringValue"])
    assert (role["rolsuper"], role["rolbypassrls"], role["rolcreaterole"]) == (False, False, True)
    database.execute("CREATE EXTENSION IF NOT EXISTS vector")
    distance = "SELECT '[1,2]'::vector <-> '[1,3]'::vector"
    assert database.value(distance) == {"doubleValue": 1.0}
    assert database.fails("SELECT '[1,2]'::vector")[0] == "UnsupportedResultException"


def test_new_password_counts_when_the_secret_is_changed(database: Database) -> None:
    manager = database.server.client("secretsmanager")
    value = json.loads(manager.get_secret_value(SecretId=database.secret_arn)["SecretString"])
    assert database.value("SELECT 1") == {"longValue": 1}
    value["password"] = uuid.uuid4().hex
    manager.put_secret_value(SecretId=database.secret_arn, SecretString=json.dumps(value))
    assert database.value("SELECT 2") == {"longValue": 2}


def test_transaction_is_kept_or_undone_as_asked(database: Database, table: str) -> None:
    arns = {"resourceArn": database.cluster_arn, "secretArn": database.secret_arn}
    for end, rows in ((database.client.rollback_transaction, 0), (
        database.client.commit_transaction, 1,
    )):  # fmt: skip
        transaction = database.client.begin_transaction(database="product", **arns)["transactionId"]
        insert = f"INSERT INTO {table} VALUES (:id)"
        database.execute(insert, [("id", {"longValue": 7})], transactionId=transaction)
        assert database.value(f"SELECT count(*) FROM {table}") == {"longValue": 0}
        end(transactionId=transaction, **arns)
        assert database.value(f"SELECT count(*) FROM {table}") == {"longValue": rows}
        code, _ = database.fails("SELECT 1", transactionId=transaction)
        assert code == "TransactionNotFoundException"


def test_transaction_is_gone_when_a_statement_of_it_failed(database: Database, table: str) -> None:
    # "A previous call caused an exception that aborted the transaction."
    arns = {"resourceArn": database.cluster_arn, "secretArn": database.secret_arn}
    transaction = database.client.begin_transaction(database="product", **arns)["transactionId"]
    database.execute(f"INSERT INTO {table} VALUES (1)", transactionId=transaction)
    database.fails("SELECT 1 / 0", transactionId=transaction)
    assert (
        database.fails("SELECT 1", transactionId=transaction)[0] == "TransactionNotFoundException"
    )
    assert database.value(f"SELECT count(*) FROM {table}") == {"longValue": 0}


def test_batch_is_all_or_nothing(database: Database, table: str) -> None:
    def batch(*ids: int) -> dict[str, Any]:
        answer: dict[str, Any] = database.client.batch_execute_statement(
            resourceArn=database.cluster_arn,
            secretArn=database.secret_arn,
            database="product",
            sql=f"INSERT INTO {table} VALUES (:id)",
            parameterSets=[[{"name": "id", "value": {"longValue": id_}}] for id_ in ids],
        )
        return answer

    with pytest.raises(ClientError, match="23505"):
        batch(1, 2, 2)
    assert database.value(f"SELECT count(*) FROM {table}") == {"longValue": 0}
    assert len(batch(1, 2, 3)["updateResults"]) == 3
    assert database.value(f"SELECT count(*) FROM {table}") == {"longValue": 3}


def test_statements_run_side_by_side(database: Database) -> None:
    database.value("SELECT 1")
    started = time.monotonic()
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda _: database.value("SELECT 1 FROM pg_sleep(0.5)"), range(20)))
    assert time.monotonic() - started < 5


def test_statement_is_quick_when_a_session_is_open(database: Database) -> None:
    times = []
    for _ in range(30):
        started = time.perf_counter()
        database.value("SELECT 1")
        times.append(time.perf_counter() - started)
    assert sorted(times)[15] < 0.025


def test_caller_is_told_to_come_back_when_the_database_is_away(database: Database) -> None:
    # "The Data API request automatically resumes the DB instance. Wait a few seconds and try
    # again."
    database.value("SELECT 1")
    broken: list[str] = []

    def sleep_through() -> None:
        broken.append(database.fails("SELECT 1 FROM pg_sleep(30)")[0])

    sleeper = threading.Thread(target=sleep_through)
    sleeper.start()
    wait_for_sleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%'"
    while database.value(wait_for_sleep)["longValue"] < 2:
        time.sleep(0.05)
    database.postgres.stop()
    try:
        sleeper.join(10)
        assert broken == ["DatabaseUnavailableException"]
        assert database.fails("SELECT 1")[0] == "DatabaseResumingException"
    finally:
        database.postgres.start()
    assert database.value("SELECT 1") == {"longValue": 1}


@pytest.mark.xfail(
    strict=True, raises=ClientError, reason="MiniStack as it comes only knows a few statements"
)
def test_select_is_answered_by_ministack_as_it_comes(
    postgres: Postgres, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = Server(["-m", "ministack"], tmp_path / "stock", {"BIND_HOST": "127.0.0.1"})
    request.addfinalizer(server.stop)
    cluster = make_cluster(server, postgres)
    server.client("rds").create_db_instance(
        DBInstanceIdentifier="writer",
        DBInstanceClass="db.serverless",
        Engine="aurora-postgresql",
        DBClusterIdentifier=cluster.cluster_arn.split(":")[-1],
    )
    assert cluster.value("SELECT 1 + 1") == {"longValue": 2}
