"""Signatures of Standard Webhooks (https://www.standardwebhooks.com) on requests that come in.

A signature covers id, time and body; a message that is more than five minutes old or ahead is refused.
"""

from __future__ import annotations

from fastapi import HTTPException, Request
from pydantic import SecretStr
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from segwatch.db.tokens import Scope
from segwatch.flows.web.guards.access import current_reader, require_scope

_SIGNATURE = "webhook-signature"


def require_signature(request: Request, body: bytes, secret: SecretStr | None, scope: Scope) -> None:
    """Check that a request is signed with a secret, where its reader lacks the scope that would do instead.

    Raises
    ------
    fastapi.HTTPException
        401 if it is not signed, or if there is no secret, so that only tokens are accepted; 403 if it has a token
        without the scope and no signature.
    """
    if secret is None or (current_reader().name and _SIGNATURE not in request.headers):
        require_scope(scope)
        return
    try:
        Webhook(secret.get_secret_value()).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError) as error:  # ValueError: invalid base64 or encoding
        reason = str(error) if isinstance(error, WebhookVerificationError) else "Invalid Signature Headers"
        raise HTTPException(401, f"not signed as a Standard Webhook: {reason}") from error
