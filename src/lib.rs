//! Latchkey: a self-hosted auth server built from supervised actors.
//!
//! # Who owns what, who asks whom
//!
//! Handlers parse a request, ask the owner of the state it needs, and answer. Asks go one way, so
//! that no two actors ever wait for each other:
//!
//! ```text
//!  browsers, apps, consumers
//!          │ HTTP
//!          ▼
//!  routes ─┬─ Pass ─────────▶ RateLimiter × 2        buckets
//!          ├─ IsRevoked ────▶ Revocations            what is revoked and not yet expired ◀─┐ Add
//!          ├─ Rotate, End ──▶ TokenFamilies × 4      rotations in flight ──────────────────┤
//!          ├─ MetadataFor ──▶ ProviderMetadata       what providers say of themselves      │
//!          ├─ FindClient ───▶ Clients                registered clients                    │
//!          ├─ KeysAt ───────▶ ClientKeys             what clients publish as their keys    │
//!          ├─ FindGrant ────▶ GrantReader            grants, many by one statement         │
//!          ├─ Fetch ────────▶ Pictures               pictures to be fetched from providers │
//!          ├─ Wake ─────────▶ Outbox ◀─ Wake ─ TokenFamilies   clients to be told of an end│
//!          ├─ TakePlace, … ─▶ PictureDecoder ◀─ Encode ─ Pictures    memory for pictures   │
//!          │   Auditor ◀─ AnnounceRemoval ─ Janitor  checkpoints of the audit trail
//!          ├─ RotateKey, … ─▶ KeyRing                keys and their life cycle ────────────┘
//!          │                    │    ╰─▶ watch: KeySnapshot, with which every worker signs
//!          ├─ Reload ───────▶ Configuration          what is in force ─▶ watch: InForce
//!          ├─ Apply ──────────▶ DbWriter ◀── Apply ── TokenFamilies, KeyRing, Auditor, Janitor, …
//!          │                    │ batches: all that queued while one commit was under way
//!          │                    │            Revocations, KeyRing, Clients ◀── look again ─ ChangeListener
//!          ▼                    ▼                                                              ▲
//!      ReadStore             WriteStore             SQLite, or PostgreSQL             ChangeFeed
//! ```
//!
//! Dependencies point one way: [`routes`] → [`actors`] → [`store`]; all may use [`protocol`], which
//! has no I/O, no clock and no actor. [`avatars`] and [`providers`] stand beside the store: what is
//! asked of them is pictures and other people's servers. The store knows SQL and nothing else.

pub mod actors;
pub mod administration;
pub mod app;
pub mod avatars;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connections;
pub mod error;
pub mod in_force;
pub mod notary;
pub mod protocol;
pub mod providers;
pub mod registration;
pub mod routes;
pub mod running;
pub mod service_manager;
pub mod startup;
pub mod store;
pub mod telemetry;
