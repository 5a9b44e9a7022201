//! Sessions that refresh as fast as they can, on both stores.
//!
//! `rotation` is the way through `TokenFamilies` and `DbWriter` to the commit. `refresh` is the whole
//! of `POST /auth/refresh`, signature included, from the parsed request to the finished answer: only
//! sockets and the parsing of HTTP are missing, and log lines, since nobody listens to them here.

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::COOKIE;
use actix_web::middleware::from_fn;
use actix_web::rt::SystemRunner;
use actix_web::test::{self, TestRequest};
use criterion::Criterion;
use latchkey::actors::token_families::Rotate;
use latchkey::app::{App, Newest};
use latchkey::protocol::jwt::Algorithm;
use latchkey::protocol::refresh_token::{FamilyKind, Presented};
use latchkey::routes::cookies::Kind;
use latchkey::routes::{self, edge};
use latchkey::store::model::{FIRST_PARTY, FamilyId};

use crate::measure::{Taken, measure};
use crate::server::{Database, POSTGRES, Server, sign_up};

const SESSIONS: usize = 64;

pub(crate) fn bench(criterion: &mut Criterion, system: &SystemRunner) {
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        on_store(criterion, system, Database::sqlite(), algorithm);
        match Database::postgres() {
            Some(database) => on_store(criterion, system, database, algorithm),
            None => println!(
                "PostgreSQL is not measured: {POSTGRES} names no server. Run tests/with-postgres cargo bench."
            ),
        }
    }
}

fn on_store(
    criterion: &mut Criterion,
    system: &SystemRunner,
    database: Database,
    algorithm: Algorithm,
) {
    let server = Server::start(system, database, algorithm);
    let app = &server.app;
    let families = system.block_on(families(app));
    // What does not depend on the signature or on the store is measured once.
    if algorithm == Algorithm::ES256 {
        if app.store.kind == "SQLite" {
            key_snapshot(criterion, app);
            newest_configuration(criterion, app);
        }
        rotations(criterion, system, app, &families);
    }
    refreshes(criterion, system, app, &families);
    server.stop(system);
}

async fn families(app: &App) -> Vec<FamilyId> {
    let mut families = Vec::new();
    for number in 0..SESSIONS {
        families.push(sign_up(app, &format!("person-{number}")).await);
    }
    families
}

/// Finding the key that signs now, and the one that a token names.
fn key_snapshot(criterion: &mut Criterion, app: &App) {
    let now = app.clock.now();
    let signer =
        || app.key_snapshot().signer(Algorithm::ES256, now).map(|key| key.public().kid.len());
    let kid = app.key_snapshot().keys()[0].stored.kid.clone();
    let verifier = |kid: &str| app.key_snapshot().verifier(kid, now).is_some();
    assert!(signer().is_some() && verifier(&kid));

    let mut group = criterion.benchmark_group("key_snapshot");
    group.bench_function("signer", |bencher| bencher.iter(signer));
    group.bench_function("verifier", |bencher| bencher.iter(|| verifier(black_box(&kid))));
}

/// What each request pays for being served by the newest configuration, while that does not change.
fn newest_configuration(criterion: &mut Criterion, app: &App) {
    let newest = Newest::new(app.clone());
    criterion.bench_function("newest_configuration", |bencher| {
        bencher.iter(|| black_box(newest.data()))
    });
}

fn rotations(criterion: &mut Criterion, system: &SystemRunner, app: &App, families: &[FamilyId]) {
    let generations: Vec<Cell<u64>> = families.iter().map(|_| Cell::new(0)).collect();
    let mut group = criterion.benchmark_group("rotation");
    for lanes in [1, SESSIONS] {
        let name = format!("{}/{lanes}", app.store.kind);
        let commits = app.store.counters.commits();
        let taken = measure(&mut group, system, &name, lanes, |lane| {
            rotate(app, families[lane], &generations[lane])
        });
        print_commits(app, commits, taken);
    }
}

async fn rotate(app: &App, family: FamilyId, generation: &Cell<u64>) {
    let presented = Presented { kind: FamilyKind::Session, family, generation: generation.get() };
    let rotate = Rotate { presented, request_id: None, address: None, origin: None };
    let answer = app.families.of(&family).ask(rotate).await.expect("the shard answers");
    let rotated = answer.expect("the live token rotates");
    assert!(rotated.advanced);
    generation.set(rotated.live.family.generation);
}

fn print_commits(app: &App, before: u64, taken: Taken) {
    let commits = app.store.counters.commits() - before;
    if taken.count > 0 && commits > 0 {
        let each = taken.count as f64 / commits as f64;
        println!("{:24}commit: {each:.1} rotations each", "");
    }
}

fn refreshes(criterion: &mut Criterion, system: &SystemRunner, app: &App, families: &[FamilyId]) {
    let service = system.block_on(test::init_service(
        actix_web::App::new()
            .app_data(Newest::new(app.clone()))
            .wrap(from_fn(edge::edge))
            .configure(|config| routes::configure(config, &app.metrics, false)),
    ));
    let live = system.block_on(app.store.read.live_families()).expect("the store answers");
    let tokens: Vec<RefCell<String>> = families
        .iter()
        .map(|family| {
            let found = live.iter().find(|(id, _)| id == family);
            let generation = found.expect("the session is live").1;
            let presented = Presented { kind: FamilyKind::Session, family: *family, generation };
            RefCell::new(app.refresh_tokens.issue(presented, FIRST_PARTY))
        })
        .collect();

    let cookie = app.cookies.name(Kind::Refresh);
    let mut group = criterion.benchmark_group("refresh");
    let name = format!("{}/{}/{SESSIONS}", app.store.kind, app.settings.keys.algorithm);
    let commits = app.store.counters.commits();
    let (service, cookie, tokens) = (&service, &cookie, &tokens);
    let taken = measure(&mut group, system, &name, SESSIONS, |lane| async move {
        let request = request(cookie, &tokens[lane]).to_request();
        let answer = test::call_service(service, request).await;
        keep(&answer, cookie, &tokens[lane]);
    });
    print_commits(app, commits, taken);
}

fn request(cookie: &str, token: &RefCell<String>) -> TestRequest {
    TestRequest::post()
        .uri("/auth/refresh")
        .insert_header(("sec-fetch-site", "same-origin"))
        .insert_header((COOKIE, format!("{cookie}={}", token.borrow())))
}

/// Keeps the successor, as a browser does.
fn keep<B>(answer: &ServiceResponse<B>, cookie: &str, token: &RefCell<String>) {
    assert_eq!(answer.status(), StatusCode::OK);
    let successor = answer.response().cookies().find(|found| found.name() == cookie);
    let successor = successor.expect("the answer sets the cookie").value().to_owned();
    let former = token.replace(successor);
    assert_ne!(former, *token.borrow(), "the session advances");
}
