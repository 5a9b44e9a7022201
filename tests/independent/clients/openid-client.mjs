// Signs in with `openid-client`. Arguments: issuer, client id, client secret, redirect URI.

import * as client from 'openid-client';
import { callbackAddress, report } from './dialogue.mjs';

const [issuer, clientId, clientSecret, redirectUri] = process.argv.slice(2);
const signedOutUri = String(new URL('/signed-out', redirectUri));

const onThisMachine = new URL(issuer).hostname === '127.0.0.1';
const latchkey = await client.discovery(
  new URL(issuer), clientId, undefined, client.ClientSecretBasic(clientSecret),
  { execute: onThisMachine ? [client.allowInsecureRequests] : [] },
);

const attempt = {
  state: client.randomState(),
  nonce: client.randomNonce(),
  codeVerifier: client.randomPKCECodeVerifier(),
};
const authorizationUrl = client.buildAuthorizationUrl(latchkey, {
  redirect_uri: redirectUri,
  scope: 'openid profile email',
  state: attempt.state,
  nonce: attempt.nonce,
  code_challenge: await client.calculatePKCECodeChallenge(attempt.codeVerifier),
  code_challenge_method: 'S256',
});

report({ authorization_url: authorizationUrl });
const currentUrl = await callbackAddress();

const tokens = await client.authorizationCodeGrant(latchkey, currentUrl, {
  expectedState: attempt.state,
  expectedNonce: attempt.nonce,
  pkceCodeVerifier: attempt.codeVerifier,
  idTokenExpected: true,
});
const claims = tokens.claims();

report({ step: 'signed in', tokens, claims });

const person = await client.fetchUserInfo(latchkey, tokens.access_token, claims.sub);

report({ step: 'userinfo', claims: person });

const renewed = await client.refreshTokenGrant(latchkey, tokens.refresh_token);

report({ step: 'refreshed', tokens: renewed });
report({
  step: 'userinfo',
  claims: await client.fetchUserInfo(latchkey, renewed.access_token, claims.sub),
});

await client.tokenRevocation(latchkey, renewed.refresh_token);

const logoutUrl = client.buildEndSessionUrl(latchkey, {
  id_token_hint: tokens.id_token,
  post_logout_redirect_uri: signedOutUri,
});

const refused = await client.refreshTokenGrant(latchkey, renewed.refresh_token).then(
  () => { throw new Error('a revoked refresh token was taken'); },
  (error) => error,
);
report({ step: 'revoked', error: refused.error });
report({ logout_url: logoutUrl });
