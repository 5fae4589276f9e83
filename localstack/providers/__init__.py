"""Stand-ins for Slack, GitLab, Backlog and Brave Search, with a small corpus of one company.

They answer as the providers' documentation says, unpleasant parts included, and forget all changes
when they end.

    python -m localstack.providers        serve on PROVIDERS_PORT of 127.0.0.1
    /slack/api            Authorization: Bearer xoxb-local
    /gitlab/api/v4        PRIVATE-TOKEN: glpat-local
    /backlog/api/v2       ?apiKey=backlog-local
    /brave/res/v1         X-Subscription-Token: brave-local; see `brave.Brave` for directives
    GET    /health        {"status": "ok"}
    GET    /requests      the requests that were answered, oldest first, without credentials
    POST   /control       {"provider": "slack", "do": "post", "with": {"channel": …, "text": …}}
                          calls a method of `slack.Slack`, `gitlab.Gitlab` or `backlog.Backlog`
    POST   /control       {"provider": "gitlab", "fault": {…}}, see `faults.Fault`
    DELETE /control       back to the corpus, without faults
"""
