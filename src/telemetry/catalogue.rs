//! The one list of all metrics and of all reasons for not being ready: what /metrics shows is named here, and
//! `docs/metrics.md` is made of it.

use super::requests::METHODS;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// As Prometheus spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The values that a label has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// These and no others.
    Fixed(&'static [&'static str]),
    /// Of a set that the code or the configuration bounds, in words.
    Bounded(&'static str),
}

/// A label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub values: Values,
}

/// What a metric is about: the sections of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// What is asked and answered.
    Requests,
    /// What is signed and handed out.
    Tokens,
    /// Who signs in, and those who vouch for them.
    SignIns,
    /// The database.
    Store,
    /// Those who own the state.
    Actors,
    /// What goes on between requests.
    Background,
    /// The program and its machine.
    Process,
}

impl Subject {
    /// All of them, in the order of the document.
    pub const ALL: [Self; 7] = [
        Self::Requests,
        Self::Tokens,
        Self::SignIns,
        Self::Store,
        Self::Actors,
        Self::Background,
        Self::Process,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Requests => "Requests",
            Self::Tokens => "Tokens and keys",
            Self::SignIns => "Sign-ins and providers",
            Self::Store => "Store",
            Self::Actors => "Actors",
            Self::Background => "Between requests",
            Self::Process => "Process",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name, with unit and `_total` as Prometheus wants them.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it is about.
    pub subject: Subject,
    /// Its labels, in the order in which they are written.
    pub labels: &'static [Label],
    /// What it tells, in one sentence without its full stop.
    pub help: &'static str,
    /// What it means when it moves, and what to do; empty where nobody needs to look.
    pub watch: &'static str,
}

impl Descriptor {
    /// What the number is of; empty for plain counts.
    pub fn unit(&self) -> &'static str {
        let name = self.name.trim_end_matches("_total");
        ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or_default()
    }
}

const fn fixed(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values: Values::Fixed(values) }
}

const fn bounded(name: &'static str, values: &'static str) -> Label {
    Label { name, values: Values::Bounded(values) }
}

const METHOD: Label = fixed("method", &METHODS);
const ROUTE: Label = bounded(
    "route",
    "a path as the [interface](api.md) writes it, with what varies in braces, never as it was asked; `none` where there is nothing",
);
const ACTOR: Label = bounded("actor", "what the actor is called");
const SHARD: Label = bounded("shard", "which of several, from 0");
const PROVIDER: Label = bounded("provider", "a name of the configuration");
const ALGORITHM: Label = fixed("algorithm", &["RS256", "ES256", "EdDSA"]);

/// Where a provider is asked.
pub const ENDPOINTS: [&str; 4] = ["discovery", "keys", "token", "userinfo"];

/// How a provider answered.
pub const PROVIDER_OUTCOMES: [&str; 5] = ["ok", "refused", "timeout", "unreachable", "invalid"];

/// How a sign-in ended.
pub const SIGN_IN_OUTCOMES: [&str; 9] = [
    "signed_in",
    "new_person",
    "to_be_confirmed",
    "denied",
    "invalid_state",
    "provider_failed",
    "token_invalid",
    "refused",
    "failed",
];

/// Which tokens are handed out.
pub const TOKEN_KINDS: [&str; 3] = ["access", "refresh", "id"];

/// For what tokens are handed out: `session` is our own cookies, the others are OAuth's.
pub const GRANTS: [&str; 4] =
    ["session", "authorization_code", "refresh_token", "client_credentials"];

/// How refreshes end.
pub const REFRESH_OUTCOMES: [&str; 7] =
    ["advanced", "kept", "reused", "refused", "failed", "forged", "unknown_secret"];

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, $subject:ident, [$($label:expr),*], $help:literal, $watch:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Descriptor = Descriptor {
                name: $name,
                kind: Kind::$kind,
                subject: Subject::$subject,
                labels: &[$($label),*],
                help: $help,
                watch: $watch,
            };
        )*

        /// Every metric.
        pub const ALL: &[Descriptor] = &[$($constant),*];
    };
}

metrics! {
    HTTP_REQUESTS = "latchkey_http_requests_total", Counter, Requests,
        [METHOD, ROUTE, bounded("status", "the status of the answer")],
        "Requests answered",
        "5xx rises: the log has a line at warn for each, with its cause. 503 alone: overload or a database that does not answer; see the actors and the store.";
    HTTP_DURATION = "latchkey_http_request_duration_seconds", Histogram, Requests, [METHOD, ROUTE],
        "From a request's head to its answer's head",
        "The slow end rises on all routes: the machine or the database is short of something; on `/auth/{provider}/callback` alone: a provider.";
    HTTP_ERRORS = "latchkey_http_errors_total", Counter, Requests,
        [bounded("code", "a [code](errors.md)")],
        "Answers that say no, by code",
        "";
    HTTP_CONNECTIONS = "latchkey_http_connections", Gauge, Requests, [],
        "Connections of clients that are open",
        "It comes near `process_max_fds`: raise the limit of open files, or find out who does not let go.";
    RATE_LIMIT_CHECKS = "latchkey_rate_limit_checks_total", Counter, Requests,
        [fixed("tier", &["login", "token", "api", "public"]), fixed("outcome", &["allowed", "refused"])],
        "Requests held against a rate limit",
        "`refused` rises in `login` or `token`: somebody tries things out; in all tiers at once: is a reverse proxy missing in `server.trusted_proxies`, so that everybody has its address?";

    REFRESHES = "latchkey_refreshes_total", Counter, Tokens, [fixed("outcome", &REFRESH_OUTCOMES)],
        "Refreshes by how they ended: a new token, the live one again (`kept`: within the grace, or a retry), family revoked because an old token was presented, ended or unknown family, trouble on our side, a token refused without a look-up, a token of a server secret that is not configured",
        "`reused` rises: stolen tokens, or a client that keeps old ones; the audit trail has each. `unknown_secret` rises: nodes do not have the same `server.secret_key`, or a secret was taken out too early.";
    ROLLED_FORWARD = "latchkey_families_rolled_forward_total", Counter, Tokens, [],
        "Families whose commits a failover had lost; each is one of the `advanced`, too",
        "Any: a failover lost commits that were answered. Is the standby synchronous?";
    TOKENS_ISSUED = "latchkey_tokens_issued_total", Counter, Tokens,
        [fixed("kind", &TOKEN_KINDS), fixed("grant", &GRANTS)],
        "Tokens handed out",
        "";
    SIGNING_DURATION = "latchkey_token_signing_duration_seconds", Histogram, Tokens, [ALGORITHM],
        "One signature, with the writing of the token",
        "It rises with the load: the processors are busy; RS256 costs about ten times as much as the others.";
    SIGNING_KEYS = "latchkey_signing_keys", Gauge, Tokens,
        [ALGORITHM, fixed("state", &["staged", "active", "retired"])],
        "Published signing keys",
        "No `active` one of the configured algorithm: this node cannot sign, and /ready says so.";
    KEY_SIGNS_FROM = "latchkey_signing_key_active_since_timestamp_seconds", Gauge, Tokens, [ALGORITHM],
        "Since when the key that signs does so; 0 where none does",
        "";
    KEY_NEXT_CHANGE = "latchkey_signing_key_next_change_timestamp_seconds", Gauge, Tokens, [ALGORITHM],
        "When another key takes over or should, by what is staged or by `keys.rotation_period`; 0 where none does",
        "It is past: the rotation failed, and the log says why. The old key goes on signing.";

    SIGN_INS = "latchkey_sign_ins_total", Counter, SignIns, [PROVIDER, fixed("outcome", &SIGN_IN_OUTCOMES)],
        "Ways back from a provider by how they ended",
        "`token_invalid` rises: the provider's keys or our clock are wrong, or somebody forges. `invalid_state` rises: cookies are lost, as behind a proxy that does not pass on https.";
    PROVIDER_REQUESTS = "latchkey_provider_requests_total", Counter, SignIns,
        [PROVIDER, fixed("endpoint", &ENDPOINTS), fixed("outcome", &PROVIDER_OUTCOMES)],
        "Requests to providers by how they ended: `refused` is an answer with a status of 4xx, `invalid` one that cannot be used",
        "`timeout` or `unreachable` rises: the provider is down, or this machine does not get out. `refused` at `token`: is the client secret still right?";
    PROVIDER_DURATION = "latchkey_provider_request_duration_seconds", Histogram, SignIns,
        [PROVIDER, fixed("endpoint", &ENDPOINTS)],
        "From a request to a provider to the end of its answer",
        "";

    STORE_READS = "latchkey_store_reads_total", Counter, Store, [],
        "Reads asked of the store", "";
    STORE_COMMITS = "latchkey_store_commits_total", Counter, Store, [],
        "Transactions committed", "";
    STORE_WRITES = "latchkey_store_writes_total", Counter, Store, [],
        "Writes committed", "";
    STORE_BATCH_WRITES = "latchkey_store_batch_writes", Histogram, Store, [],
        "How many writes went to the store in one transaction",
        "It grows under load and makes it cheap; at 512 the writer is at its end.";
    STORE_BATCH_DURATION = "latchkey_store_batch_duration_seconds", Histogram, Store, [],
        "One batch of writes, until its commit",
        "It rises: the disk or the database is slow to flush. Every sign-in and every refresh waits for one.";
    STORE_RETRIED_ALONE = "latchkey_store_batches_retried_alone_total", Counter, Store, [],
        "Batches with a write that failed, tried one by one", "";
    STORE_READ_BACK = "latchkey_store_commits_read_back_total", Counter, Store, [],
        "Commits whose outcome was unknown and was read back (PostgreSQL)",
        "It rises: connections to the database break.";
    STORE_READERS = "latchkey_store_read_connections", Gauge, Store,
        [fixed("state", &["in_use", "idle"])],
        "Connections for reads", "";
    STORE_READS_WAITING = "latchkey_store_reads_waiting", Gauge, Store, [],
        "Reads that wait for a connection",
        "It stays above 0: raise `store.max_connections`, or find out why the database is slow.";

    ACTOR_UP = "latchkey_actor_up", Gauge, Actors, [ACTOR, SHARD],
        "1 while an actor is running",
        "0: it restarts, or has failed for good; then the process ends and its supervisor starts it anew.";
    ACTOR_IN_FLIGHT = "latchkey_actor_in_flight", Gauge, Actors, [ACTOR, SHARD],
        "Requests that wait for an actor", "";
    ACTOR_CAPACITY = "latchkey_actor_capacity", Gauge, Actors, [ACTOR, SHARD],
        "How many may wait for an actor at most", "";
    ACTOR_RESTARTS = "latchkey_actor_restarts_total", Counter, Actors, [ACTOR, SHARD],
        "Restarts after a failure",
        "Any: a bug. The log has its message; please report it.";
    ACTOR_ASKS = "latchkey_actor_asks_total", Counter, Actors,
        [ACTOR, SHARD, fixed("outcome", &["ok", "full", "timed_out", "dropped"])],
        "Requests to an actor by how they ended",
        "`full` or `timed_out` rises: overload, or a database that is slow.";
    ACTOR_ASK_DURATION = "latchkey_actor_ask_duration_seconds", Histogram, Actors, [ACTOR, SHARD],
        "From asking an actor to its answer", "";
    ACTOR_HANDLE_DURATION = "latchkey_actor_handle_duration_seconds", Histogram, Actors, [ACTOR, SHARD],
        "One turn of an actor; the rest of the ask is waiting", "";

    READY = "latchkey_ready", Gauge, Background, [],
        "1 while /ready says yes; looked at when the metrics are read", "";
    NOT_READY = "latchkey_not_ready", Gauge, Background, [fixed("reason", &Reason::NAMES)],
        "1 for each reason for which /ready says no",
        "See [the reasons](#readiness).";
    LOGOUT_DELIVERIES = "latchkey_logout_deliveries_total", Counter, Background,
        [fixed("outcome", &["delivered", "put_off", "given_up"])],
        "Attempts to tell a client of a sign-out",
        "`given_up` rises: a client does not hear of sign-outs; the log says which and why.";
    LOGOUT_UNDER_WAY = "latchkey_logout_deliveries_under_way", Gauge, Background, [],
        "Clients that this node is about to tell of a sign-out", "";
    CHANGES_LINK_UP = "latchkey_changes_link_up", Gauge, Background, [],
        "1 while the database tells of what other nodes and the command line change",
        "0: changes by others are seen after half a second only; the log says why. On PostgreSQL a pooler between does not pass on notifications.";
    CHANGES_HEARD = "latchkey_changes_heard_total", Counter, Background, [],
        "Changes that the database told of: of clients, keys and revocations", "";
    RELOADS = "latchkey_configuration_reloads_total", Counter, Background,
        [fixed("outcome", &["applied", "refused", "failed"])],
        "Attempts to read the configuration again by how they ended: it is in force, it has problems, or the store did not answer",
        "`refused` rises: a file was changed and cannot be used; the log has each problem, and what was in force still is.";
    LAST_RELOAD = "latchkey_configuration_last_reload_success_timestamp_seconds", Gauge, Background, [],
        "When the configuration in force was read; a start counts",
        "It is older than the file: that waits for a reload, or was refused.";
    JANITOR_LAST_RUN = "latchkey_janitor_last_success_timestamp_seconds", Gauge, Background, [],
        "When what nobody needs any more was last removed; 0 before the first time since the start",
        "More than half an hour ago: the log says why. The database grows meanwhile.";
    TRACE_SPANS = "latchkey_trace_spans_total", Counter, Background,
        [fixed("outcome", &["exported", "dropped", "failed"])],
        "Spans for `telemetry.otlp_endpoint`: taken by the collector, dropped because too many waited, or not taken",
        "`failed` rises: the collector is down or says no; the log has why. Requests are not affected.";
    LOG_LINES_LOST = "latchkey_log_lines_lost_total", Counter, Background, [],
        "Log lines that were not written because too many waited",
        "It rises: whoever reads the log is stuck, or slower than this node writes. Requests are not affected.";
    CLOCK_SKEW = "latchkey_clock_skew_seconds", Gauge, Background, [],
        "By how much this machine's own clock is ahead of the database's, whose time counts",
        "More than 30 s either way: is the time of one of them set by hand?";

    BUILD_INFO = "latchkey_build_info", Gauge, Process, [bounded("version", "this program's version"), fixed("store", &["SQLite", "PostgreSQL"])],
        "Always 1", "";
    CPU_SECONDS = "process_cpu_seconds_total", Counter, Process, [],
        "Processor time that the process took", "";
    RESIDENT_MEMORY = "process_resident_memory_bytes", Gauge, Process, [],
        "Memory that the process has in use", "";
    VIRTUAL_MEMORY = "process_virtual_memory_bytes", Gauge, Process, [],
        "Memory that the process has mapped", "";
    START_TIME = "process_start_time_seconds", Gauge, Process, [],
        "When the process started, in seconds since 1970",
        "It changes without anybody's doing: the process crashes, or is killed for its memory.";
    OPEN_FDS = "process_open_fds", Gauge, Process, [],
        "Files and connections that are open", "";
    MAX_FDS = "process_max_fds", Gauge, Process, [],
        "Most that may be open", "";
    THREADS = "process_threads", Gauge, Process, [],
        "Threads of the process", "";
}

/// Why a node does not want requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is about to end.
    ShuttingDown,
    /// The database says no, or there is none.
    StoreDown,
    /// The database says nothing.
    StoreSlow,
    /// There is nothing to sign with.
    NoSigningKey,
    /// An actor is not running.
    ActorDown,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ShuttingDown, Self::StoreDown, Self::StoreSlow, Self::NoSigningKey, Self::ActorDown];

    const NAMES: [&'static str; 5] =
        ["shutting_down", "store_down", "store_slow", "no_signing_key", "actor_down"];

    /// The label of the metric.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// What /ready says, with what varies in braces.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ShuttingDown => "the server is shutting down",
            Self::StoreDown => "the store does not answer",
            Self::StoreSlow => "the store does not answer in time",
            Self::NoSigningKey => "there is no active {algorithm} key",
            Self::ActorDown => "actor {name} is {state}",
        }
    }

    /// What it means and what to do.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::ShuttingDown => {
                "SIGTERM or SIGINT came: what is under way is finished, nothing new should come. Nothing to do."
            }
            Self::StoreDown => {
                "The database refuses, or cannot be reached. Keys, discovery and tokens that are checked elsewhere go on; whatever has to read or write answers 503. The node is ready again by itself as soon as the database is; the log at debug has the error."
            }
            Self::StoreSlow => {
                "The database gave no answer within 1.5 s: it is overloaded, frozen, or the network swallows packets. As above."
            }
            Self::NoSigningKey => {
                "Nothing signs with `keys.algorithm`. For a moment on the very first start, while the key is made. Later: with `keys.files`, no file has a key of that algorithm; without, the database could not be written to, and the log says so."
            }
            Self::ActorDown => {
                "A part of the server is `starting` or `restarting`, for fractions of a second, after a bug that the log names; `failed` is for good, and the process ends so that its supervisor starts it anew."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(name.starts_with("latchkey_") || name.starts_with("process_"), "{name}");
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(is_plain), "{name}");
            assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{name}");
            assert!(metric.watch.is_empty() || metric.watch.ends_with(['.', '?']), "{name}");
        }
    }
}
