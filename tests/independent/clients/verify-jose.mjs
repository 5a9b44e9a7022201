// Verifies an access token with `jose`. Arguments: issuer, audience, token. Prints its claims.

import { createRemoteJWKSet, jwtVerify } from 'jose';

const [issuer, audience, accessToken] = process.argv.slice(2);

const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));

async function verify(token) {
  const { payload } = await jwtVerify(token, keys, {
    issuer,
    audience,
    typ: 'at+jwt',
    algorithms: ['RS256', 'ES256', 'EdDSA'],
    requiredClaims: ['sub', 'client_id', 'exp'],
  });
  return payload;
}

console.log(JSON.stringify(await verify(accessToken)));
