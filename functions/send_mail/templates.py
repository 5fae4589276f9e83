"""The mails' subjects and texts, for `str.format`: `link`, and for an invitation `workspace`."""

VERIFY_EMAIL = (
    "Confirm your address",
    """Somebody, probably you, has registered with this address. To confirm it, open this link
within a day:

{link}

If it was not you, do nothing.
""",
)
ALREADY_REGISTERED = (
    "You have an account already",
    """Somebody, probably you, tried to register with this address, which has an account already.
Log in, or ask for a new password if you have forgotten yours:

{link}

If it was not you, do nothing: your account is unchanged.
""",
)
RESET_PASSWORD = (
    "Set a new password",
    """Somebody, probably you, asked for a new password. To set it, open this link within an hour:

{link}

If it was not you, do nothing: your password is unchanged.
""",
)
INVITATION = (
    "Invitation to a workspace",
    """You are invited to the workspace "{workspace}". To join, open this link within seven days and
sign in with this address:

{link}

If you do not know the workspace, do nothing.
""",
)
