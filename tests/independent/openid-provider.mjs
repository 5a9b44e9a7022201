// An OpenID Connect provider by people who do not know us: `oidc-provider`, with its own pages, its own
// validation, and keys that it makes when it starts. What it is comes as JSON in the only argument:
//
//     {"clients": […], "accounts": {"alice": {…claims}}, "auth_methods": […], "userinfo_only": false,
//      "everybody": false, "listen": {"host": "0.0.0.0", "port": 9000}, "issuer": "http://provider:9000"}
//
// `clients` have the members of RFC 7591; `auth_methods` are what its token endpoint offers; with `everybody`
// any name signs in, and has a verified address at example.com. Without `listen` it is at a loopback port of
// the system's choice, without `issuer` it is called by that. It prints a line {"issuer": …} once it listens,
// and ends when its standard input does. Its clock stands at the time of its start; a line {"advance": seconds} on standard input moves
// it on, and is answered by a line {"now": seconds}.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const scene = JSON.parse(process.argv[2]);

const SystemDate = Date;
let now = SystemDate.now();
globalThis.Date = class extends SystemDate {
  constructor(...parts) {
    super(...(parts.length === 0 ? [now] : parts));
  }

  static now() {
    return now;
  }
};

// Standard output is for our lines alone.
console.info = console.error;

// tests/with-servers installs the packages outside the source tree.
const { resolve } = createRequire(join(process.env.LATCHKEY_TEST_SERVERS, 'package.json'));
const { Provider } = await import(pathToFileURL(resolve('oidc-provider')));

function key(alg, kind, options) {
  const { privateKey } = generateKeyPairSync(kind, options);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig' };
}

function anybody(login) {
  return { email: `${login}@example.com`, email_verified: true, name: login, preferred_username: login };
}

function configuration() {
  return {
    clients: scene.clients,
    clientAuthMethods: scene.auth_methods,
    jwks: {
      keys: [
        key('RS256', 'rsa', { modulusLength: 2048 }),
        key('ES256', 'ec', { namedCurve: 'P-256' }),
        key('EdDSA', 'ed25519'),
      ],
    },
    cookies: { keys: [randomBytes(32).toString('base64')] },
    scopes: ['openid', 'email', 'profile'],
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'preferred_username', 'picture'],
    },
    conformIdTokenClaims: scene.userinfo_only,
    pkce: { methods: ['S256'], required: () => true },
    findAccount: (context, login) => {
      const account = scene.accounts[login] ?? (scene.everybody && anybody(login));
      return account && { accountId: login, claims: () => ({ sub: login, ...account }) };
    },
    // Its own pages for signing in and consenting, where any password will do.
    features: { devInteractions: { enabled: true } },
  };
}

const server = createServer();
const { host, port } = scene.listen ?? { host: '127.0.0.1', port: 0 };
server.listen(port, host, () => {
  const issuer = scene.issuer ?? `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration());
  // Its own addresses begin as its issuer does, also where TLS ends in front of it.
  provider.proxy = issuer.startsWith('https:');
  server.on('request', provider.callback());
  console.log(JSON.stringify({ issuer }));
});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    now += JSON.parse(line).advance * 1000;
    console.log(JSON.stringify({ now: Math.floor(now / 1000) }));
  })
  .on('close', () => process.exit());
