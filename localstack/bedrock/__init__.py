"""A stand-in for Amazon Bedrock's runtime: Converse, ConverseStream and Titan's InvokeModel.

It speaks the real protocol, event-stream framing included, checks requests against botocore's own
model of the service, and answers deterministically. Any client can steer it by directives in the
user's own words (`directives.py`).

    python -m localstack.bedrock          serve on BEDROCK_PORT of 127.0.0.1
    GET    /requests                      the last requests, oldest first, with how each ended
    DELETE /requests                      forget them
    GET    /health                        {"status": "ok"}

BEDROCK_GATEWAY_URL is where guardrails are read (MiniStack); without it there are none.
BEDROCK_FORWARD_URL (such as http://127.0.0.1:11434/v1) forwards conversations to a server of the
OpenAI kind instead, with BEDROCK_FORWARD_MODEL and BEDROCK_FORWARD_KEY.
"""
