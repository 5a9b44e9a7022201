//! What is read from a request before anybody is asked: refresh tokens, sealed tickets, cookies.

use std::hint::black_box;
use std::path::Path;

use actix_web::http::header::COOKIE;
use actix_web::test::TestRequest;
use criterion::Criterion;
use latchkey::clock::Timestamp;
use latchkey::config;
use latchkey::config::settings::SecretKey;
use latchkey::protocol::random;
use latchkey::protocol::refresh_token::{FamilyKind, Presented, RefreshTokens};
use latchkey::protocol::sealed::{Purpose, Sealer};
use latchkey::routes::auth::tickets::{Intent, LOGIN_LIFE, LoginTicket};
use latchkey::routes::cookies::{Cookies, Kind};
use latchkey::store::model::{FIRST_PARTY, FamilyId};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

pub(crate) fn bench(criterion: &mut Criterion) {
    let secret = [SecretKey::new(random::bytes::<32>().to_vec())];
    refresh_tokens(criterion, &RefreshTokens::new(&secret));
    login_tickets(criterion, &Sealer::new(&secret));
    cookies(criterion);
}

fn refresh_tokens(criterion: &mut Criterion, tokens: &RefreshTokens) {
    let session = FamilyKind::Session;
    let presented = Presented { kind: session, family: FamilyId::new(NOW), generation: 7 };
    let token = tokens.issue(presented, FIRST_PARTY);
    let mut forged = token.clone().into_bytes();
    forged[70] = if forged[70] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("it is ASCII");
    assert_eq!(tokens.read(session, FIRST_PARTY, &token), Ok(presented));
    assert!(tokens.read(session, FIRST_PARTY, &forged).is_err());

    let mut group = criterion.benchmark_group("refresh_token");
    group.bench_function("issue", |bencher| {
        bencher.iter(|| tokens.issue(black_box(presented), FIRST_PARTY))
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| tokens.read(session, FIRST_PARTY, black_box(&token)));
    });
    group.bench_function("refuse_forged", |bencher| {
        bencher.iter(|| tokens.read(session, FIRST_PARTY, black_box(&forged)));
    });
}

fn login_tickets(criterion: &mut Criterion, sealer: &Sealer) {
    let ticket = LoginTicket {
        state: random::text::<32>(),
        provider: "google".to_owned(),
        nonce: random::text::<32>(),
        code_verifier: random::text::<32>(),
        return_to: "https://app.example.com/projects/42?tab=members".to_owned(),
        max_age: None,
        started_at: NOW.millis(),
        intent: Intent::SignIn,
    };
    let expires = NOW.plus(LOGIN_LIFE);
    let sealed = sealer.seal(Purpose::Login, &ticket, expires);
    let open = |text: &str| sealer.open::<LoginTicket>(Purpose::Login, text, NOW);
    assert!(open(&sealed).is_ok_and(|opened| opened.state == ticket.state));

    let mut group = criterion.benchmark_group("login_ticket");
    group.bench_function("seal", |bencher| {
        bencher.iter(|| sealer.seal(Purpose::Login, black_box(&ticket), expires));
    });
    group.bench_function("open", |bencher| bencher.iter(|| open(black_box(&sealed))));
}

/// A browser with both of our cookies and four of somebody else's.
fn cookies(criterion: &mut Criterion) {
    let text = "[server]\npublic_url = \"https://auth.example.com\"\n\
                secret_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n";
    let settings = config::parse(text, Path::new(".")).expect("the configuration is valid");
    let cookies = Cookies::new(&settings);
    let (access, refresh) = (cookies.name(Kind::Access), cookies.name(Kind::Refresh));
    let header = format!(
        "theme=dark; _ga=GA1.1.1834567890.1790000000; {access}={}; {refresh}={}; lang=en; seen=1",
        random::text::<600>(),
        random::text::<60>(),
    );
    let request = TestRequest::default().insert_header((COOKIE, header)).to_http_request();
    assert!(matches!(cookies.read(&request, Kind::Refresh), Ok(Some(_))));

    criterion.bench_function("cookies/read", |bencher| {
        bencher.iter(|| cookies.read(black_box(&request), Kind::Refresh).is_ok());
    });
}
