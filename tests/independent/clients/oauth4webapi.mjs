// Signs in with `oauth4webapi`. Arguments: issuer, client id, client secret (empty for a public client),
// redirect URI.

import * as oauth from 'oauth4webapi';
import { callbackAddress, report } from './dialogue.mjs';

const [issuerText, clientId, clientSecret, redirectUri] = process.argv.slice(2);
const issuer = new URL(issuerText);
const client = { client_id: clientId };
const authentication = clientSecret ? oauth.ClientSecretBasic(clientSecret) : oauth.None();
const options = { [oauth.allowInsecureRequests]: issuer.hostname === '127.0.0.1' };

const discovered = await oauth.discoveryRequest(issuer, { algorithm: 'oidc', ...options });
const server = await oauth.processDiscoveryResponse(issuer, discovered);

const state = oauth.generateRandomState();
const nonce = oauth.generateRandomNonce();
const codeVerifier = oauth.generateRandomCodeVerifier();
const authorizationUrl = new URL(server.authorization_endpoint);
authorizationUrl.search = new URLSearchParams({
  client_id: clientId,
  redirect_uri: redirectUri,
  response_type: 'code',
  scope: 'openid profile email',
  state,
  nonce,
  code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
  code_challenge_method: 'S256',
});
report({ authorization_url: authorizationUrl });

// Checks `state` and `iss`.
const answer = oauth.validateAuthResponse(server, client, await callbackAddress(), state);
const exchanged = await oauth.authorizationCodeGrantRequest(
  server, client, authentication, answer, redirectUri, codeVerifier, options,
);
const tokens = await oauth.processAuthorizationCodeResponse(server, client, exchanged, {
  expectedNonce: nonce,
  requireIdToken: true,
});
await oauth.validateApplicationLevelSignature(server, exchanged, options);
const claims = oauth.getValidatedIdTokenClaims(tokens);
report({ step: 'signed in', tokens, claims });

async function userinfo(accessToken) {
  const response = await oauth.userInfoRequest(server, client, accessToken, options);
  return oauth.processUserInfoResponse(server, client, claims.sub, response);
}
report({ step: 'userinfo', claims: await userinfo(tokens.access_token) });

async function refresh(refreshToken) {
  const response =
    await oauth.refreshTokenGrantRequest(server, client, authentication, refreshToken, options);
  return oauth.processRefreshTokenResponse(server, client, response);
}
const renewed = await refresh(tokens.refresh_token);
report({ step: 'refreshed', tokens: renewed });
report({ step: 'userinfo', claims: await userinfo(renewed.access_token) });

const revoked =
  await oauth.revocationRequest(server, client, authentication, renewed.refresh_token, options);
await oauth.processRevocationResponse(revoked);
const refused = await refresh(renewed.refresh_token).then(
  () => { throw new Error('a revoked refresh token was taken'); },
  (error) => error,
);
report({ step: 'revoked', error: refused.error });

const logoutUrl = new URL(server.end_session_endpoint);
logoutUrl.search = new URLSearchParams({
  id_token_hint: tokens.id_token,
  post_logout_redirect_uri: String(new URL('/signed-out', redirectUri)),
});
report({ logout_url: logoutUrl });
