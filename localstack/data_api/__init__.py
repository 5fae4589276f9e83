"""The RDS Data API over a PostgreSQL of our own, as Aurora PostgreSQL (Serverless v2) answers it.

`statements` turns the API's SQL into PostgreSQL's, `fields` its values, `connections` keeps the
sessions, and `service` holds the five operations. `localstack/additions/data_api.py` puts them on
MiniStack's port. Limits and errors follow the Aurora user guide, chapter "Using the RDS Data API".
"""
