"""The Data API's errors, with the HTTP status that its service model gives each."""

STATUSES = {
    "BadRequestException": 400,
    "DatabaseErrorException": 400,
    "DatabaseNotFoundException": 404,
    "DatabaseResumingException": 400,
    "DatabaseUnavailableException": 504,
    "HttpEndpointNotEnabledException": 400,
    "InvalidSecretException": 400,
    "NotFoundException": 404,
    "SecretsErrorException": 400,
    "StatementTimeoutException": 400,
    "TransactionNotFoundException": 404,
    "UnsupportedResultException": 400,
    "ValidationException": 400,
}


class DataApiError(Exception):
    """An error answer. `code` is a key of `STATUSES`, `message` what AWS would say."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = STATUSES[code]
