// Node.js 18 has the Web Cryptography API, but not as a global, where the libraries look for it.

import { webcrypto } from 'node:crypto';

globalThis.crypto ??= webcrypto;
globalThis.CryptoKey ??= webcrypto.CryptoKey;
