//! What pages of people and of the audit trail cost: `tests/with-postgres cargo bench --bench pages`.
//!
//! A million people and a million audit entries on each store; every kind of page at its beginning, in its
//! middle and at its end. A page may take 50 ms. The table goes to the terminal, JSON to
//! `target/criterion/pages.json`.

use std::time::Duration;

use actix_web::rt::System;
use latchkey::clock::{Clock, Stopwatch, Timestamp};
use latchkey::config::settings::{Store as StoreSettings, StoreUrl};
use latchkey::protocol::random;
use latchkey::protocol::secret::Secret;
use latchkey::store::model::{
    AuditPage, FoundBy, KeyRange, Role, UserId, UserPage, UserPosition, UserSearch, UserStatus,
};
use latchkey::store::{self, Store};
use serde_json::{Value, json};
use uuid::Uuid;

const POSTGRES: &str = "LATCHKEY_TEST_POSTGRES";
const MILLION: i64 = 1_000_000;
const ALLOWED: Duration = Duration::from_millis(50);
const TIMES: usize = 15;
/// The time of the first person and the first entry; each further one is a second later.
const START: i64 = 1_700_000_000_000;

fn main() {
    System::new().block_on(async {
        let mut report = Vec::new();
        report.extend(on_sqlite().await);
        match std::env::var(POSTGRES) {
            Ok(url) if !url.is_empty() => report.extend(on_postgres(Secret::new(url)).await),
            _ => println!("PostgreSQL is not measured: {POSTGRES} names no server."),
        }
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/criterion");
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        let text = serde_json::to_string_pretty(&report).expect("it is JSON");
        std::fs::write(folder.join("pages.json"), text).expect("the file can be written");
    });
}

async fn on_sqlite() -> Vec<Value> {
    let folder = tempfile::tempdir().expect("there is a place for files");
    let path = folder.path().join("latchkey.db");
    let settings = StoreSettings {
        url: StoreUrl::Sqlite(path.clone()),
        max_connections: 2,
        migrate_on_start: true,
        schema: None,
    };
    store::migrate(&settings).await.expect("a fresh file is migrated");
    let connection = rusqlite::Connection::open(&path).expect("the file is there");
    let sql = fill(&Dialect {
        series: "(WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < 999999)
                  SELECT n FROM s)",
        id: |hex| format!("unhex({hex})"),
        hex: "printf('%012x', ",
        digits: "printf('%06d', ",
        yes: "1",
        hash: "zeroblob(32)",
    });
    connection.execute_batch(&format!("BEGIN; {sql} COMMIT; ANALYZE;")).expect("it is filled");
    drop(connection);
    let store = store::open(&settings, &Clock::system()).await.expect("it opens");
    measured(&store).await
}

async fn on_postgres(url: Secret) -> Vec<Value> {
    let schema =
        format!("pages_{}", random::bytes::<8>().map(|byte| format!("{byte:02x}")).concat());
    let settings = StoreSettings {
        url: StoreUrl::Postgres(url.clone()),
        max_connections: 2,
        migrate_on_start: true,
        schema: Some(schema.clone()),
    };
    store::migrate(&settings).await.expect("a fresh schema is migrated");
    let (client, connection) =
        tokio_postgres::connect(url.expose(), tokio_postgres::NoTls).await.expect("it connects");
    actix_web::rt::spawn(connection);
    let sql = fill(&Dialect {
        series: "(SELECT n FROM generate_series(0::bigint, 999999) AS s (n))",
        id: |hex| format!("({hex})::uuid"),
        hex: "pg_temp.hex12(",
        digits: "pg_temp.digits(",
        yes: "true",
        hash: "decode(repeat('00', 32), 'hex')",
    });
    let functions = "
        CREATE FUNCTION pg_temp.hex12(bigint) RETURNS text LANGUAGE sql IMMUTABLE
            AS $$ SELECT lpad(to_hex($1), 12, '0') $$;
        CREATE FUNCTION pg_temp.digits(bigint) RETURNS text LANGUAGE sql IMMUTABLE
            AS $$ SELECT lpad($1::text, 6, '0') $$;";
    // What refers to what is certain: nobody needs to look.
    let quick = "SET session_replication_role = replica";
    let sql = format!("SET search_path = {schema}; {quick}; {functions} {sql}");
    client.batch_execute(&sql).await.expect("it is filled");
    for table in ["users", "identities", "emails", "audit_events"] {
        client.batch_execute(&format!("VACUUM ANALYZE {table}")).await.expect("it is looked at");
    }
    let store = store::open(&settings, &Clock::system()).await.expect("it opens");
    let report = measured(&store).await;
    client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.expect("it goes");
    report
}

/// How a database says what the statements below need.
struct Dialect {
    /// The numbers below a million, as `n`.
    series: &'static str,
    /// An id of 32 digits.
    id: fn(String) -> String,
    /// What is followed by a number and a bracket: as twelve hexadecimal digits.
    hex: &'static str,
    /// The same, as six digits.
    digits: &'static str,
    yes: &'static str,
    hash: &'static str,
}

/// Fills the tables.
///
/// A fiftieth of all has each first name, which begins the username, the display name and the address. Of ten
/// people one has a nickname instead, of a hundred one an address that does not tell the name, and of a
/// thousand one a second address. A hundred are admins, 10 000 are locked, 10 000 are tombstones.
fn fill(Dialect { series, id, hex, digits, yes, hash }: &Dialect) -> String {
    let id_of = |n: &str| id(format!("{hex}{START} + ({n}) * 1000) || '70008000' || {hex}{n})"));
    let (person, chain) = (id_of("n"), id_of("n / 1000"));
    let shuffled = "(n * 7919 % 1000000)";
    let names = NAMES.iter().enumerate();
    let names: String = names.map(|(index, name)| format!("WHEN {index} THEN '{name}' ")).collect();
    let name = format!("CASE n % 50 {names}END");
    let number = format!("{digits}{shuffled})");
    let username = format!("CASE WHEN n % 10 = 3 THEN 'star' ELSE {name} END || {number}");
    let address = format!(
        "CASE WHEN n % 100 = 7 THEN 'post' ELSE {name} || '.' END || {number} || '@mail.example'"
    );
    let is_gone = "n % 100 = 99";
    format!(
        "INSERT INTO users (id, username, username_key, display_name, display_name_key, role, status,
                            created_at, updated_at)
         SELECT {person},
                CASE WHEN {is_gone} THEN 'deleted' ELSE {username} END,
                CASE WHEN {is_gone} THEN 'deleted' ELSE {username} END,
                CASE WHEN {is_gone} OR n % 7 = 1 THEN NULL ELSE {name} || ' Example ' || {number} END,
                CASE WHEN {is_gone} OR n % 7 = 1 THEN NULL ELSE {name} || ' example ' || {number} END,
                CASE WHEN n % 10000 = 5 THEN 'admin' ELSE 'user' END,
                CASE WHEN {is_gone} THEN 'deleted' WHEN n % 100 = 98 THEN 'locked' ELSE 'active' END,
                {START} + n * 1000, {START} + n * 1000
           FROM {series} AS s;
         INSERT INTO identities (provider, subject, user_id, created_at, last_used_at)
         SELECT 'dev', {number}, {person}, {START} + n * 1000, {START} + n * 1000
           FROM {series} AS s WHERE NOT ({is_gone});
         INSERT INTO emails (provider, subject, address, address_key, verified, position)
         SELECT 'dev', {number}, {address}, {address}, {yes}, 1
           FROM {series} AS s WHERE NOT ({is_gone});
         INSERT INTO emails (provider, subject, address, address_key, verified, position)
         SELECT 'dev', {number}, {address} || '.org', {address} || '.org', {yes}, 2
           FROM {series} AS s WHERE n % 1000 = 11;
         INSERT INTO audit_events (id, at, actor, action, target, details, chain, position, hash)
         SELECT {person}, {START} + n * 1000,
                CASE n % 4 WHEN 0 THEN 'anonymous' WHEN 1 THEN 'system'
                           ELSE 'user:' || {digits}{shuffled} % 1000) END,
                CASE WHEN n % 100000 = 6 THEN 'user.role_changed' WHEN n % 2 = 0 THEN 'session.opened'
                     ELSE 'session.ended' END,
                'user:' || {digits}{shuffled} % 2000),
                '{{}}', {chain}, n % 1000 + 1, {hash}
           FROM {series} AS s;"
    )
}

const NAMES: [&str; 50] = [
    "ada", "adam", "alan", "alma", "anna", "anton", "bea", "ben", "bert", "carl", "cem", "clara",
    "dan", "dora", "edith", "emil", "emma", "erik", "eva", "felix", "finn", "frida", "gina",
    "greta", "hana", "hugo", "ida", "ilse", "ivan", "jana", "jens", "karl", "kim", "lea", "lena",
    "leo", "lisa", "mara", "max", "mia", "nina", "noah", "olga", "otto", "paul", "rosa", "sara",
    "theo", "uma", "zoe",
];

fn search(text: &str) -> Option<UserSearch> {
    let range = KeyRange::beginning_with(text);
    Some(UserSearch { name: range.clone(), address: range })
}

/// Where somebody stands, or would.
fn at(found_by: FoundBy, key: &str, number: i64) -> Option<UserPosition> {
    Some(UserPosition { found_by, key: key.to_owned(), id: UserId(id_of(number)) })
}

/// The id that the person and the entry of a number have.
fn id_of(number: i64) -> Uuid {
    let text = format!("{:012x}70008000{number:012x}", START + number * 1000);
    Uuid::parse_str(&text).expect("it is a UUID")
}

fn moment(number: i64) -> Timestamp {
    Timestamp::from_millis(START + number * 1000)
}

async fn measured(store: &Store) -> Vec<Value> {
    println!("\n{:12} {:46} {:>5} {:>9} {:>9}", store.kind, "page", "rows", "median", "slowest");
    let mut report = Vec::new();
    for (name, page) in pages_of_people() {
        let page = UserPage { limit: 50, ..page };
        let work = async || store.read.users(&page).await.expect("it is answered").people.len();
        report.push(measure(store.kind, &name, work).await);
    }
    for (name, page) in pages_of_the_trail() {
        let page = AuditPage { limit: 50, ..page };
        let work = async || store.read.audit(&page).await.expect("it is answered").len();
        report.push(measure(store.kind, name, work).await);
    }
    let heads = async || store.read.chain_heads(None).await.expect("it is answered").len();
    report.push(measure(store.kind, "trail, heads of 1 000 chains", heads).await);
    let chain = id_of(500);
    let entries = async || store.read.chain(chain, 500, 500).await.expect("it is answered").len();
    report.push(measure(store.kind, "trail, 500 entries of a chain", entries).await);
    let unchained = async || store.read.unchained(50).await.expect("it is answered").len();
    report.push(measure(store.kind, "trail, entries in no chain", unchained).await);
    report
}

/// Every kind of page of people.
fn pages_of_people() -> Vec<(String, UserPage)> {
    use FoundBy as By;
    let everybody = UserPage::default;
    let found = |text| UserPage { search: search(text), ..everybody() };
    let (admins, locked) = (Some(Role::Admin), Some(UserStatus::Locked));
    let gone = Some(UserStatus::Deleted);
    let nothing = |number| at(By::Nothing, "", number);
    let mut pages = vec![
        ("everybody, first", everybody()),
        ("everybody, middle", UserPage { after: nothing(MILLION / 2), ..everybody() }),
        ("everybody, last", UserPage { after: nothing(50), ..everybody() }),
        ("admins, first", UserPage { role: admins, ..everybody() }),
        ("admins, last", UserPage { role: admins, after: nothing(400_000), ..everybody() }),
        ("locked, first", UserPage { status: locked, ..everybody() }),
        ("locked, middle", UserPage { status: locked, after: nothing(MILLION / 2), ..everybody() }),
        (
            "tombstones, middle",
            UserPage { status: gone, after: nothing(MILLION / 2), ..everybody() },
        ),
        ("locked admins", UserPage { role: admins, status: locked, ..everybody() }),
        ("a username, frequent, first", found("a")),
        (
            "a username, frequent, middle",
            UserPage { after: at(By::Username, "alma5", 0), ..found("a") },
        ),
        (
            "a username, frequent, last",
            UserPage { after: at(By::Username, "anton9999", 0), ..found("a") },
        ),
        ("a username, rare", found("star00031")),
        ("a username, of one", found("star000313")),
        (
            "a display name, frequent, first",
            UserPage { after: at(By::DisplayName, "", 0), ..found("a") },
        ),
        (
            "a display name, frequent, middle",
            UserPage { after: at(By::DisplayName, "alma example 5", 0), ..found("a") },
        ),
        (
            "a display name, frequent, last",
            UserPage { after: at(By::DisplayName, "anton example 9999", 0), ..found("a") },
        ),
        ("a display name, rare", found("alma example 00")),
        ("an address, frequent, first", UserPage { after: at(By::Address, "", 0), ..found("p") }),
        (
            "an address, frequent, middle",
            UserPage { after: at(By::Address, "post5", 0), ..found("p") },
        ),
        (
            "an address, frequent, last",
            UserPage { after: at(By::Address, "post9999", 0), ..found("p") },
        ),
        (
            "an address, frequent, of known names",
            UserPage { after: at(By::Address, "", 0), ..found("a") },
        ),
        (
            "an address, the end of frequent names",
            UserPage { after: at(By::Address, "zoe.", 0), ..found("zoe") },
        ),
        ("an address, rare", found("alma.00")),
        ("an address, of two", found("anna.000")),
        ("nobody", found("xyz")),
    ];
    for text in ["a", "zoe", "alma example 00", "alma.00"] {
        pages.push(("admins", UserPage { role: admins, ..found(text) }));
        pages.push(("locked", UserPage { status: locked, ..found(text) }));
        pages.push((
            "active users",
            UserPage { role: Some(Role::User), status: Some(UserStatus::Active), ..found(text) },
        ));
    }
    let named = pages.into_iter().map(|(name, page)| {
        let text = page.search.as_ref().map(|search| format!(", {:?}", search.name.start));
        (format!("{name}{}", text.unwrap_or_default()), page)
    });
    named.collect()
}

/// Every kind of page of the trail.
fn pages_of_the_trail() -> Vec<(&'static str, AuditPage)> {
    let all = AuditPage::default;
    let of = |text: &str| Some(text.to_owned());
    let middle = Some(id_of(MILLION / 2));
    let (since, until) = (Some(moment(300_000)), Some(moment(300_020)));
    vec![
        ("trail, first", all()),
        ("trail, middle", AuditPage { before: middle, ..all() }),
        ("trail, last", AuditPage { before: Some(id_of(50)), ..all() }),
        ("trail, followed from the middle", AuditPage { newer_than: middle, ..all() }),
        ("trail, of a time", AuditPage { since, until, ..all() }),
        (
            "trail, frequent actor, middle",
            AuditPage { actor: of("system"), before: middle, ..all() },
        ),
        ("trail, rare actor, first", AuditPage { actor: of("user:000500"), ..all() }),
        ("trail, unknown actor", AuditPage { actor: of("user:nobody"), ..all() }),
        (
            "trail, frequent action, middle",
            AuditPage { action: of("session.opened"), before: middle, ..all() },
        ),
        ("trail, rare action, first", AuditPage { action: of("user.role_changed"), ..all() }),
        ("trail, unknown action", AuditPage { action: of("nothing.done"), ..all() }),
        ("trail, target, first", AuditPage { target: of("user:000500"), ..all() }),
        (
            "trail, target, end",
            AuditPage { target: of("user:000500"), before: Some(id_of(10_000)), ..all() },
        ),
        (
            "trail, actor and action",
            AuditPage { actor: of("anonymous"), action: of("session.opened"), ..all() },
        ),
        (
            "trail, actor and action that never meet",
            AuditPage { actor: of("anonymous"), action: of("session.ended"), ..all() },
        ),
        (
            "trail, actor, action, target",
            AuditPage {
                actor: of("user:000502"),
                action: of("session.opened"),
                target: of("user:001502"),
                ..all()
            },
        ),
        (
            "trail, frequent actor of a time",
            AuditPage { actor: of("system"), since, until, ..all() },
        ),
        (
            "trail, frequent action, followed",
            AuditPage { action: of("session.ended"), newer_than: middle, ..all() },
        ),
    ]
}

/// Asks several times; prints and gives back what it took.
async fn measure(kind: &str, name: &str, work: impl AsyncFn() -> usize) -> Value {
    let mut times = Vec::with_capacity(TIMES);
    let mut rows = 0;
    for _ in 0..TIMES {
        let watch = Stopwatch::start();
        rows = work().await;
        times.push(watch.elapsed());
    }
    times.sort_unstable();
    let (median, slowest) = (times[TIMES / 2], times[TIMES - 1]);
    let remark = if median > ALLOWED { "  TOO SLOW" } else { "" };
    let (shown, most) = (millis(median), millis(slowest));
    println!("{kind:12} {name:46} {rows:5} {shown:7.2}ms {most:7.2}ms{remark}");
    json!({ "store": kind, "page": name, "rows": rows, "median_ms": shown, "slowest_ms": most })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
