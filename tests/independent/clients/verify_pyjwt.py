"""Verifies an access token with PyJWT. Arguments: issuer, audience, token. Prints its claims."""

import json
import sys

import jwt

issuer, audience, access_token = sys.argv[1:]

keys = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json")


def verify(token):
    if jwt.get_unverified_header(token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("not an access token")
    return jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=["RS256", "ES256", "EdDSA"],
        issuer=issuer,
        audience=audience,
        options={"require": ["sub", "client_id", "exp"]},
    )


print(json.dumps(verify(access_token)))
