//! Every page in every state, for the tests and for looking at.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regex::Regex;

use super::site::Site;
use super::text::{self, Done, Notice};
use super::views::{
    Account, AccountApps, AccountErrors, AccountTokens, Address, AppRow, Consent, ConsentRow,
    CookiesNotKept, DeleteAccount, DemoApp, DemoGrant, DemoTrouble, DevelopmentProvider,
    EndSession, ErrorPage, LinkConfirmation, LinkOffer, LinkStart, Login, Onboarding, Page,
    ProviderButton, Recovery, SessionRow, ShownToken, SignedOut, Way, WayBack,
};
use crate::clock::Timestamp;
use crate::config::settings::{Branding, Usernames};
use crate::error::{ApiError, ErrorCode};
use crate::protocol::username::DEFAULT_PATTERN;

/// Closes every context that a value could stand in.
const HOSTILE: &str = "\"'></title></script><script>alert(1)</script><img src=x onerror=alert(2)>";

/// As long as a real one.
const SEALED: &str = "c2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVk\
    c2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVkc2VhbGVk";

/// A site without a logo and in our own colours.
pub(super) fn site() -> Site {
    Site::new(&Branding { name: "Acme".to_owned(), logo: None, accent: None })
}

/// What a page is made of here: all that people or deployers can choose.
struct Words {
    site: Site,
    provider: &'static str,
    email: &'static str,
    username: &'static str,
    display_name: &'static str,
    picture: &'static str,
    form_token: &'static str,
    sentence: &'static str,
    request_id: &'static str,
    host: &'static str,
}

impl Words {
    fn ordinary() -> Self {
        Self {
            site: site(),
            provider: "Google",
            email: "r•••@example.com",
            username: "rivka",
            display_name: "Rivka Cohen",
            picture: "/static/sample.svg",
            form_token: SEALED,
            sentence: "“rivka” belongs to another account.",
            request_id: "01JD8ZK4T5M2",
            host: "auth.example.com",
        }
    }

    fn long() -> Self {
        let branding = Branding {
            name: "Verein für Deutsche Schäferhunde und Donaudampfschifffahrtsgesellschaft".into(),
            logo: None,
            accent: Some("#f2c94c".to_owned()),
        };
        Self {
            site: Site::new(&branding),
            provider: "The Consolidated Single Sign-On of the Northern University Alliance",
            email: "w•••••••••••••••••••••••••••••••@a-rather-long-department.university.example",
            username: "wolfeschlegelsteinhausen",
            display_name: "Hubert Blaine Wolfeschlegelsteinhausenbergerdorff عبد الرحمن",
            picture: "https://pictures.a-rather-long-department.university.example/avatars/0.png",
            form_token: SEALED,
            sentence: "“wolfeschlegelsteinhausen” belongs to another account that was made here \
                       before this one.",
            request_id: "0193600c-3c1f-7d52-9a43-0f6f7a5e1b2c",
            host: "sign-in.a-rather-long-department.university.example",
        }
    }

    fn hostile() -> Self {
        let branding = Branding {
            name: HOSTILE.to_owned(),
            logo: Some(format!("/{HOSTILE}")),
            accent: Some(HOSTILE.to_owned()),
        };
        Self {
            site: Site::new(&branding),
            provider: HOSTILE,
            email: HOSTILE,
            username: HOSTILE,
            display_name: HOSTILE,
            picture: HOSTILE,
            form_token: HOSTILE,
            sentence: HOSTILE,
            request_id: HOSTILE,
            host: HOSTILE,
        }
    }
}

fn rules(pattern: &str) -> Usernames {
    Usernames {
        min_length: 3,
        max_length: 24,
        pattern: Regex::new(pattern).unwrap(),
        allow_changes: true,
        change_cooldown: Duration::from_secs(30 * 86_400),
        hold: Duration::from_secs(90 * 86_400),
        reserved: Vec::new(),
    }
}

/// Name and HTML of every page, made of these words.
fn pages(words: &Words) -> Vec<(&'static str, String)> {
    let mut pages = login_pages(words);
    pages.extend(onboarding_pages(words));
    pages.extend(link_pages(words));
    pages.extend(account_pages(words));
    pages.extend(account_apps_pages(words));
    pages.extend(app_pages(words));
    pages.extend(deletion_pages(words));
    pages.extend(error_pages(words));
    pages.extend(development_pages(words));
    pages.extend(demo_app_pages(words));
    pages
}

fn login_pages(words: &Words) -> Vec<(&'static str, String)> {
    let providers = [
        ProviderButton::plain("first", words.provider),
        ProviderButton::plain("github", "GitHub"),
        ProviderButton { last_used: true, ..ProviderButton::plain("gitlab", "GitLab") },
    ];
    let failing = [
        ProviderButton { not_answering: true, ..providers[0] },
        providers[1],
        ProviderButton { last_used: false, ..providers[2] },
    ];
    let drawn = DRAWN.map(|(name, display_name)| ProviderButton::plain(name, display_name));
    let further = vec![("prompt", "login".to_owned()), ("login_hint", words.email.to_owned())];
    let login = |notice, providers: &[ProviderButton<'static>], further| {
        let return_to = Some(words.sentence);
        let providers = providers.to_vec();
        Login { site: &words.site, notice, providers, return_to, further }.to_html()
    };
    vec![
        ("login", login(None, &providers, Vec::new())),
        ("login-notice", login(Some(Notice::SessionEnded), &providers, Vec::new())),
        ("login-confirm", login(Some(Notice::ConfirmIdentity), &providers, further)),
        ("login-cookies", login(Some(Notice::CookiesNotKept), &providers, Vec::new())),
        ("login-trouble", login(Some(Notice::ProviderSilent), &failing, Vec::new())),
        ("login-drawn", login(None, &drawn, Vec::new())),
        ("login-none", login(None, &[], Vec::new())),
        ("login-deleted", login(Some(Notice::AccountDeleted), &providers, Vec::new())),
    ]
}

/// The providers that have a drawing.
const DRAWN: [(&str, &str); 7] = [
    ("google", "Google"),
    ("github", "GitHub"),
    ("microsoft", "Microsoft"),
    ("discord", "Discord"),
    ("gitlab", "GitLab"),
    ("keycloak", "Keycloak"),
    ("apple", "Apple"),
];

fn link_pages(words: &Words) -> Vec<(&'static str, String)> {
    let site = &words.site;
    let own = ProviderButton::plain("google", words.provider);
    let two = vec![own, ProviderButton::plain("gitlab", "GitLab")];
    let offer = |known, separate| {
        let (masked_email, return_to) = (words.email, words.sentence);
        let provider = "GitHub";
        LinkOffer { site, provider, masked_email, known, return_to, separate }.to_html()
    };
    let confirmation = LinkConfirmation {
        site,
        form_token: words.email,
        username: words.username,
        provider: words.provider,
        identity: Some(words.email),
        recovers: false,
        cancel: words.email,
    };
    let anonymous = LinkConfirmation { identity: None, provider: "GitHub", ..confirmation };
    let recovering = LinkConfirmation { recovers: true, ..confirmation };
    let start = LinkStart {
        site,
        form_token: words.email,
        username: words.username,
        name: words.host,
        provider: words.provider,
        return_to: words.sentence,
    };
    let recovery = |providers| {
        let until = Timestamp::from_seconds(1_800_000_000);
        Recovery { site, username: words.username, providers, until }.to_html()
    };
    vec![
        ("link-offer", offer(vec![own], true)),
        ("link-offer-two", offer(two.clone(), false)),
        ("link-offer-none", offer(Vec::new(), true)),
        ("link-confirmation", confirmation.to_html()),
        ("link-confirmation-anonymous", anonymous.to_html()),
        ("link-confirmation-recovery", recovering.to_html()),
        ("link-start", start.to_html()),
        ("recovery", recovery(two)),
        ("recovery-none", recovery(Vec::new())),
    ]
}

fn onboarding_pages(words: &Words) -> Vec<(&'static str, String)> {
    let (plain, custom) = (rules(DEFAULT_PATTERN), rules("^<b>[a-z]+$"));
    let onboarding = |rules| Onboarding {
        site: &words.site,
        form_token: words.email,
        provider: words.provider,
        masked_email: Some(words.email),
        rules,
        username: words.username,
        display_name: words.display_name,
        username_error: None,
        display_name_error: None,
        failure: None,
    };
    let error = Some(words.sentence);
    let wrong = Onboarding { username_error: error, ..onboarding(&plain) };
    let all_wrong =
        Onboarding { username_error: error, display_name_error: error, ..onboarding(&custom) };
    let failed = Onboarding { failure: error, masked_email: None, ..onboarding(&plain) };
    vec![
        ("onboarding", onboarding(&plain).to_html()),
        ("onboarding-error", wrong.to_html()),
        ("onboarding-errors", all_wrong.to_html()),
        ("onboarding-failure", failed.to_html()),
    ]
}

fn account_pages(words: &Words) -> Vec<(&'static str, String)> {
    let address = Address { address: words.email, verified: true };
    let way = Way {
        name: "google",
        display_name: words.provider,
        subject: words.host,
        address: Some(words.email),
        can_be_removed: true,
    };
    let unnamed = Way { name: "github", display_name: "GitHub", address: None, ..way };
    let only = Way { can_be_removed: false, ..way };
    let others =
        [ProviderButton::plain("github", "GitHub"), ProviderButton::plain("first", words.provider)];
    let now = Timestamp::from_seconds(1_800_000_000);
    let session = SessionRow {
        id: words.request_id.to_owned(),
        label: "Firefox on Linux",
        network: Some("192.0.2.0/24".to_owned()),
        since: now.minus(Duration::from_secs(7 * 86_400)),
        last_used: now,
        current: false,
    };
    let phone = SessionRow { label: words.host, network: None, ..session.clone() };
    let here = SessionRow { current: true, ..session.clone() };
    let sessions = [session, here.clone(), phone];
    let [app, new_app] = app_rows(words);
    let plain = rules(DEFAULT_PATTERN);
    let fixed = Usernames { allow_changes: false, ..rules(DEFAULT_PATTERN) };
    let tokens = account_tokens(words);
    let sparse = || Account {
        site: &words.site,
        tokens: &tokens,
        notice: None,
        errors: AccountErrors::default(),
        username: words.username,
        username_typed: words.username,
        username_rules: &plain,
        username_next_change: None,
        display_name: None,
        display_name_typed: "",
        avatar: None,
        avatar_max_bytes: 2 << 20,
        emails: Vec::new(),
        ways: vec![only],
        others: Vec::new(),
        sessions: Vec::new(),
        apps: Vec::new(),
        signed_in_at: now,
    };
    let usual = || Account {
        display_name: Some(words.display_name),
        display_name_typed: words.display_name,
        emails: vec![address, Address { verified: false, ..address }],
        ways: vec![way, unnamed],
        others: others.to_vec(),
        sessions: sessions.to_vec(),
        ..sparse()
    };
    let full = Account { avatar: Some(words.picture), apps: vec![app, new_app], ..usual() };
    let one_way = Account { emails: vec![address], others: others.to_vec(), ..sparse() };
    let one_session = Account { sessions: vec![here], ..usual() };
    let many = Account {
        sessions: [vec![sessions[0].clone(); 30], sessions[1..].to_vec()].concat(),
        apps: vec![app; 30],
        ..usual()
    };
    let told = Account { notice: Some(Done::Username), ..usual() };
    let error = Some(words.sentence);
    let wrong = AccountErrors { username: error, ..AccountErrors::default() };
    let all_wrong =
        AccountErrors { username: error, display_name: error, avatar: error, failure: error };
    let failed = AccountErrors { failure: error, ..AccountErrors::default() };
    let mistaken = Account { errors: wrong, username_typed: words.email, ..usual() };
    let mistakes = Account { errors: all_wrong, avatar: Some(words.picture), ..usual() };
    let failure = Account { errors: failed, ..usual() };
    let everything = Account {
        errors: wrong,
        username_typed: words.email,
        avatar: Some(words.picture),
        sessions: vec![sessions[0].clone(); 30],
        apps: vec![app; 30],
        ..usual()
    };
    let early = Account { username_next_change: Some(now), errors: wrong, ..usual() };
    let unchanging = Account { username_rules: &fixed, ..sparse() };
    let leaving = |client| EndSession {
        site: &words.site,
        form_token: words.form_token,
        request: words.form_token,
        username: words.username,
        client,
        stay: words.host,
    };
    let signed_out = |everywhere| SignedOut { site: &words.site, everywhere }.to_html();
    vec![
        ("account-sparse", sparse().to_html()),
        ("account-one-way", one_way.to_html()),
        ("account-one-session", one_session.to_html()),
        ("account-many", many.to_html()),
        ("account", full.to_html()),
        ("account-usual", usual().to_html()),
        ("account-done", told.to_html()),
        ("account-error", mistaken.to_html()),
        ("account-errors", mistakes.to_html()),
        ("account-failure", failure.to_html()),
        ("account-everything", everything.to_html()),
        ("account-early", early.to_html()),
        ("account-fixed", unchanging.to_html()),
        ("end-session", leaving(Some(words.provider)).to_html()),
        ("end-session-unnamed", leaving(None).to_html()),
        ("signed-out", signed_out(false)),
        ("signed-out-everywhere", signed_out(true)),
    ]
}

/// An app that came, and one that did not come yet.
fn app_rows(words: &Words) -> [AppRow<'_>; 2] {
    let now = Timestamp::from_seconds(1_800_000_000);
    let app =
        AppRow { client_id: words.host, name: words.provider, since: now, last_used: Some(now) };
    [app, AppRow { last_used: None, ..app }]
}

fn account_apps_pages(words: &Words) -> Vec<(&'static str, String)> {
    let apps = app_rows(words);
    let few = || AccountApps {
        site: &words.site,
        form_token: words.form_token,
        notice: None,
        failure: None,
        apps: apps.to_vec(),
        number: 1,
    };
    let many = |number| AccountApps { apps: vec![apps[0]; 41], number, ..few() };
    let failure = Some(words.sentence);
    let done = AccountApps { notice: Some(Done::App), ..few() };
    let gone = AccountApps { notice: Some(Done::App), apps: Vec::new(), ..few() };
    vec![
        ("account-apps", few().to_html()),
        ("account-apps-newest", many(1).to_html()),
        ("account-apps-many", many(2).to_html()),
        ("account-apps-oldest", many(usize::MAX).to_html()),
        ("account-apps-none", AccountApps { apps: Vec::new(), ..few() }.to_html()),
        ("account-apps-done", done.to_html()),
        ("account-apps-gone", gone.to_html()),
        ("account-apps-failure", AccountApps { failure, ..many(2) }.to_html()),
    ]
}

fn app_pages(words: &Words) -> Vec<(&'static str, String)> {
    let row = |what, value| ConsentRow { what, value };
    let consent = |rows, host| Consent {
        site: &words.site,
        form_token: words.form_token,
        request: words.form_token,
        client: words.provider,
        username: words.username,
        rows,
        host,
        another: words.email,
    };
    let all = vec![
        row(text::consent::IDENTITY, None),
        row(text::consent::NAME, Some(words.username)),
        row(text::consent::DISPLAY_NAME, Some(words.display_name)),
        row(text::consent::ADDRESS, Some(words.email)),
        row(words.sentence, None),
        row(text::consent::RESOURCE, Some(words.host)),
        row(text::consent::OFFLINE, None),
    ];
    let little = vec![row(text::consent::IDENTITY, None)];
    let way_back = WayBack {
        site: &words.site,
        client: words.provider,
        action: words.host,
        fields: vec![("code", words.form_token), ("state", words.email)],
    };
    vec![
        ("consent", consent(all, Some(words.host)).to_html()),
        ("consent-little", consent(little, None).to_html()),
        ("way-back", way_back.to_html()),
    ]
}

fn account_tokens(words: &Words) -> AccountTokens {
    let token = || words.form_token.to_owned();
    AccountTokens {
        avatar: token(),
        profile: token(),
        username: token(),
        unlink: token(),
        session: token(),
        app: token(),
        sign_out: token(),
    }
}

fn deletion_pages(words: &Words) -> Vec<(&'static str, String)> {
    let question = DeleteAccount {
        site: &words.site,
        form_token: words.form_token,
        username: words.username,
        hold: rules(DEFAULT_PATTERN).hold,
        username_typed: "",
        username_error: None,
        failure: None,
    };
    let error = Some(words.sentence);
    let mistaken = DeleteAccount { username_typed: words.email, username_error: error, ..question };
    let failed = DeleteAccount { failure: error, hold: Duration::ZERO, ..question };
    vec![
        ("account-delete", question.to_html()),
        ("account-delete-error", mistaken.to_html()),
        ("account-delete-failure", failed.to_html()),
    ]
}

fn error_pages(words: &Words) -> Vec<(&'static str, String)> {
    let telling = |error: &ApiError| {
        let here = format!("/account?{}", words.sentence);
        ErrorPage::telling(&words.site, error, words.request_id, Some(&here)).to_html()
    };
    let busy = ApiError::new(ErrorCode::Overloaded, "Nothing is lost.");
    let expired = "The sign-in was begun in another browser, or too long ago. Start once more.";
    let cookies =
        CookiesNotKept { site: &words.site, host: words.host, return_to: Some(words.email) };
    vec![
        ("error", telling(&ApiError::new(ErrorCode::InvalidState, expired))),
        ("error-words", telling(&ApiError::new(ErrorCode::ProviderDenied, words.sentence))),
        ("error-retry", telling(&busy.retry_after(Duration::from_secs(12)))),
        ("cookies", cookies.to_html()),
    ]
}

fn development_pages(words: &Words) -> Vec<(&'static str, String)> {
    let form = |error| DevelopmentProvider {
        site: &words.site,
        action: words.email,
        hidden: vec![(words.username.to_owned(), words.email.to_owned())],
        name: words.username,
        email: words.email,
        error,
    };
    vec![("dev-idp", form(None).to_html()), ("dev-idp-error", form(Some(words.sentence)).to_html())]
}

fn demo_app_pages(words: &Words) -> Vec<(&'static str, String)> {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(format!("{{\"member\":{text:?}}}"));
    let raw = format!("{}.{}.{SEALED}{SEALED}", part(words.host), part(words.display_name));
    let empty = || DemoApp { site: &words.site, trouble: None, userinfo: None, grant: None };
    let full = || DemoGrant {
        scope: Some(words.sentence),
        expires: 1_800_000_900,
        access_token: ShownToken::of(&raw),
        id_token: Some(ShownToken::of(&raw)),
        refresh_token: Some(words.form_token),
    };
    let sparse = DemoGrant { scope: None, id_token: None, refresh_token: None, ..full() };
    let refused = DemoTrouble { what: words.sentence, answer: Some(words.email) };
    let failed = DemoTrouble { answer: None, ..refused };
    let userinfo = Some(words.display_name);
    vec![
        ("dev-app", empty().to_html()),
        ("dev-app-trouble", DemoApp { trouble: Some(failed), ..empty() }.to_html()),
        ("dev-app-signed-in", DemoApp { grant: Some(full()), ..empty() }.to_html()),
        ("dev-app-sparse", DemoApp { grant: Some(sparse), ..empty() }.to_html()),
        ("dev-app-userinfo", DemoApp { userinfo, grant: Some(full()), ..empty() }.to_html()),
        (
            "dev-app-refused",
            DemoApp { trouble: Some(refused), grant: Some(full()), ..empty() }.to_html(),
        ),
    ]
}

fn matches<'a>(html: &'a str, pattern: &str) -> Vec<&'a str> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(html).map(|found| found.get(1).unwrap().as_str()).collect()
}

/// What a reader sees of a page.
fn visible_text(html: &str) -> String {
    Regex::new("(?s)<[^>]*>").unwrap().replace_all(html, " ").into_owned()
}

fn every_page() -> impl Iterator<Item = (String, String)> {
    let kinds = [("", Words::ordinary()), ("-long", Words::long()), ("-hostile", Words::hostile())];
    kinds.into_iter().flat_map(|(kind, words)| {
        pages(&words).into_iter().map(move |(name, html)| (format!("{name}{kind}"), html))
    })
}

#[test]
fn nothing_that_is_supplied_becomes_markup() {
    let quoted = Regex::new(r#"^(\s+[\w-]+(="[^"<>]*")?)*\s*/?$"#).unwrap();
    for (name, html) in pages(&Words::hostile()) {
        let avatars =
            matches(&html, "(<img class=\"avatar\" src=\"[^\"]*\" alt=\"[\\w ]+\" )").len();
        let pictures = matches(&html, "(<img [^>]*>)").len();
        assert_eq!(pictures, 1 + avatars, "{name}: only the logo and the person's are pictures");
        assert!(!html.contains("onerror=alert(2)>"), "{name}");
        let scripts = matches(&html, "(<script[^>]*>)");
        let has_script =
            ["id=\"username-live\"", "id=\"way-back\""].iter().any(|part| html.contains(part));
        assert_eq!(scripts.len(), usize::from(has_script), "{name}");
        assert!(!html.contains("alert(1)</script>"), "{name}");
        for attributes in matches(&html, r"<\w+((?:\s[^<>]*)?)>") {
            assert!(quoted.is_match(attributes), "{name}: {attributes}");
        }
    }
}

#[test]
fn every_page_says_where_it_is() {
    for (name, html) in every_page() {
        assert!(html.starts_with("<!doctype html>"), "{name}: {}", &html[..40]);
        assert_eq!(matches(&html, "(<h1[ >])").len(), 1, "{name}");
        assert_eq!(matches(&html, "(<main>)").len(), 1, "{name}");
        assert_eq!(matches(&html, "<html lang=\"(en)\">").len(), 1, "{name}");
        assert_eq!(matches(&html, "<title>([^<]+ · [^<]+)</title>").len(), 1, "{name}");
        assert_eq!(matches(&html, "(width=device-width)").len(), 1, "{name}");
    }
}

#[test]
fn every_form_carries_what_was_hidden_in_it() {
    let mut forms = std::collections::BTreeMap::new();
    for (name, html) in every_page() {
        for form in matches(&html, "(?s)<form method=\"post\"(.*?)</form>") {
            let hidden =
                matches(form, "<input type=\"hidden\" name=\"([^\"]*)\" value=\"[^\"]+\">");
            let action = matches(form, "^ action=\"([^\"]+)\"")[0];
            let Some(action) = action.strip_prefix("/auth/form/") else {
                assert_eq!(hidden.is_empty(), name.starts_with("dev-app"), "{name}");
                continue;
            };
            let expected: &[&str] = match action {
                "end-session" => &["form_token", "request"],
                "unlink" => &["form_token", "provider", "subject"],
                "consent" => &["form_token", "request"],
                "app" if name.starts_with("account-apps") => &["form_token", "page"],
                "link" if name.starts_with("link-start") => {
                    &["form_token", "provider", "return_to"]
                }
                _ => &["form_token"],
            };
            assert_eq!(hidden, expected, "{name}: {action}");
            *forms.entry(action.to_owned()).or_insert(0) += 1;
        }
        assert_eq!(matches(&html, "(<form)").len(), matches(&html, "(method=\"post\")").len());
    }
    let expected = [
        ("app", 3 * 9),
        ("avatar", 3 * 13),
        ("consent", 3 * 2),
        ("delete", 3 * 3),
        ("end-session", 3 * 2),
        ("link", 3 * 4),
        ("profile", 3 * 13),
        ("session", 3 * 10),
        ("setup", 3 * 4),
        ("sign-out", 3 * 13),
        ("unlink", 3 * 2 * 10),
        ("username", 3 * 11),
    ];
    assert_eq!(forms, expected.map(|(action, count)| (action.to_owned(), count)).into());
}

#[test]
fn every_button_says_what_it_takes_away() {
    let pages = pages(&Words::ordinary());
    let buttons = |name| {
        let html = &pages.iter().find(|(own, _)| *own == name).unwrap().1;
        matches(html, "<button [^>]*aria-label=\"([^\"]+)\">Disconnect<")
    };
    let expected = ["Disconnect Google (r•••@example.com)", "Disconnect GitHub"];
    assert_eq!(buttons("account"), expected);
    assert!(buttons("account-one-way").is_empty(), "the last way stays");
}

#[test]
fn a_provider_has_its_drawing_and_any_other_its_initial() {
    let pages = pages(&Words::ordinary());
    let marks = |name| {
        let html = &pages.iter().find(|(own, _)| *own == name).unwrap().1;
        matches(html, "(?s)<span class=\"mark\" aria-hidden=\"true\">\\s*(.*?)\\s*</span>")
    };
    let drawn = marks("login-drawn");
    assert_eq!(drawn.len(), DRAWN.len());
    assert!(drawn.iter().all(|mark| mark.starts_with("<svg")), "{drawn:?}");
    let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
    assert_eq!(distinct.len(), DRAWN.len());
    assert_eq!(marks("account-one-way"), [drawn[0], drawn[1], "G"]);
    assert_eq!(marks("recovery"), [drawn[0], drawn[4]]);
}

#[test]
fn every_field_has_a_label_and_every_reference_an_end() {
    for (name, html) in every_page() {
        let ids = matches(&html, " id=\"([^\"]+)\"");
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "{name}: {ids:?}");
        let labels = matches(&html, "<label for=\"([^\"]+)\"");
        let fields = matches(&html, "<input id=\"([^\"]+)\"");
        assert_eq!(labels, fields, "{name}");
        let described = matches(&html, "aria-describedby=\"([^\"]+)\"");
        let linked = matches(&html, "href=\"#([^\"]+)\"");
        for id in described.iter().flat_map(|list| list.split(' ')).chain(linked) {
            assert!(ids.contains(&id), "{name}: {id}");
        }
    }
}

#[test]
fn an_error_is_summed_up_on_top_with_the_focus_and_stands_at_its_field() {
    let pages = pages(&Words::ordinary());
    let page = |name| &pages.iter().find(|(own, _)| *own == name).unwrap().1;
    for (name, field) in [
        ("onboarding-error", "username"),
        ("account-error", "username"),
        ("account-delete-error", "username"),
        ("dev-idp-error", "name"),
    ] {
        let html = page(name);
        let summary = html.find("role=\"alert\" tabindex=\"-1\" autofocus").unwrap();
        assert!(summary < html.find("<h1").unwrap());
        assert_eq!(matches(html, "( autofocus)").len(), 1, "{name}");
        assert_eq!(matches(html, &format!("<li><a href=\"#{field}\">(“rivka”)")).len(), 1);
        assert!(html.contains(&format!("id=\"{field}-error\"")));
        assert_eq!(matches(html, "(aria-invalid=\"true\")").len(), 1, "{name}");
    }
    assert!(page("onboarding-error").contains("<title>Problem: "));
    assert!(!page("onboarding").contains("aria-invalid"));
    assert!(!page("onboarding").contains("role=\"alert\""));
    // Where the name cannot be changed yet, there is no field for the error to stand at.
    let early = page("account-early");
    assert_eq!(matches(early, "<li>(“rivka”)").len(), 1);
    assert!(!early.contains("id=\"username\"") && early.contains("You can change it again from "));
}

#[test]
fn the_form_of_the_picture_sends_a_file() {
    let pages = pages(&Words::ordinary());
    let page = |name| &pages.iter().find(|(own, _)| *own == name).unwrap().1;
    let form = "action=\"/auth/form/avatar\" enctype=\"multipart/form-data\">";
    let remove = "name=\"remove\" value=\"true\" formnovalidate";
    assert!(page("account").contains(form) && page("account").contains(remove));
    assert!(page("account-usual").contains(form) && !page("account-usual").contains(remove));
}

#[test]
fn this_device_comes_first_and_is_the_only_one_that_is_not_ended_from_afar() {
    let pages = pages(&Words::ordinary());
    let page = |name| &pages.iter().find(|(own, _)| *own == name).unwrap().1;
    let html = page("account");
    let (this, first) = (html.find("this device").unwrap(), html.find("name=\"session\"").unwrap());
    assert!(this < first);
    let names = matches(html, "name=\"session\" value=\"[^\"]+\" aria-label=\"([^\"]+)\"");
    let since = "signed in since 8 January 2027";
    let expected = [
        format!("Sign out Firefox on Linux, {since}"),
        format!("Sign out auth.example.com, {since}"),
    ];
    assert_eq!(names, expected);
    assert_eq!(matches(page("account-many"), "(name=\"session\")").len(), 7);
    assert!(page("account-many").contains("And 24 more."));
    let others = "name=\"others\" value=\"true\"";
    assert!(html.contains(others) && !page("account-one-session").contains(others));
    assert!(!page("account-sparse").contains("/auth/form/session"));
}

#[test]
fn a_section_without_anything_in_it_is_left_out() {
    let pages = pages(&Words::ordinary());
    let page = |name| &pages.iter().find(|(own, _)| *own == name).unwrap().1;
    assert!(page("account").contains("Apps with access"));
    assert!(!page("account-usual").contains("Apps with access"));
    let all = "<a href=\"/account/apps\">All apps with access (30)</a>";
    assert!(page("account-many").contains(all) && !page("account").contains("/account/apps"));
    for (name, html) in pages.iter().filter(|(name, _)| name.starts_with("account")) {
        assert!(matches(html, "(<[du]l[^>]*>\\s*</)").is_empty(), "{name}");
        let headings = matches(html, "<h2 id=\"([^\"]+)\"");
        let sections = matches(html, "aria-labelledby=\"([^\"]+)\"");
        assert_eq!(headings, sections, "{name}");
    }
}

#[test]
fn a_long_list_of_apps_is_turned_over_like_pages() {
    let pages = pages(&Words::ordinary());
    let page = |name| &pages.iter().find(|(own, _)| *own == name).unwrap().1;
    for (name, apps, number, links) in [
        ("account-apps", 2, "1", &[][..]),
        ("account-apps-newest", 20, "1", &["2\">Older"]),
        ("account-apps-many", 20, "2", &["1\">Newer", "3\">Older"]),
        ("account-apps-oldest", 1, "3", &["2\">Newer"]),
    ] {
        let html = page(name);
        assert_eq!(matches(html, "(name=\"client_id\")").len(), apps, "{name}");
        assert_eq!(matches(html, "name=\"page\" value=\"(\\d+)\""), [number], "{name}");
        assert_eq!(matches(html, "href=\"/account/apps[?]page=([^<]+)<"), links, "{name}");
    }
    for name in ["account-apps-none", "account-apps-gone"] {
        assert!(page(name).contains("No app has access to your account."), "{name}");
    }
}

#[test]
fn the_provider_used_last_comes_first() {
    let words = Words::ordinary();
    let html = &login_pages(&words)[0].1;
    let order = matches(html, "href=\"/auth/([a-z]+)[?]");
    assert_eq!(order, ["gitlab", "first", "github"]);
    assert_eq!(matches(html, "(last used)").len(), 1);
    assert!(html.contains("?return_to=%E2%80%9Crivka%E2%80%9D+belongs+to+another+account.\""));
}

#[test]
fn a_button_passes_on_what_the_sign_in_is_to_be_like() {
    let pages = pages(&Words::ordinary());
    let html = &pages.iter().find(|(name, _)| *name == "login-confirm").unwrap().1;
    let queries = matches(html, "href=\"/auth/[a-z]+[?]return_to=[^&\"]+&(?:amp|#38);([^\"]+)\"");
    assert_eq!(queries.len(), 3);
    for query in queries {
        let query = query.replace("&amp;", "&").replace("&#38;", "&");
        assert_eq!(query, "prompt=login&login_hint=r%E2%80%A2%E2%80%A2%E2%80%A2%40example.com");
    }
}

#[test]
fn an_error_page_never_links_to_another_server() {
    let site = site();
    let error = ApiError::new(ErrorCode::Overloaded, "Nothing is lost.");
    let href = |here| ErrorPage::telling(&site, &error, "id", here).action.href.into_owned();
    assert_eq!(href(Some("/account?a=b")), "/account?a=b");
    for hostile in ["//evil.example", "/\\evil.example", "https://evil.example", ""] {
        assert_eq!(href(Some(hostile)), "/", "{hostile}");
    }
    assert_eq!(href(None), "/");
    for code in ErrorCode::ALL {
        let error = ApiError::new(code, "");
        let action = ErrorPage::telling(&site, &error, "id", Some("/here")).action;
        assert!(!action.label.is_empty());
        assert!(
            ["/", "/here", "/login", "/onboarding", "/account"].contains(&&*action.href),
            "{code:?}"
        );
    }
}

#[test]
fn the_texts_are_calm_and_plain() {
    let done = Done::ALL.map(|done| (done.as_str(), done.sentence().to_owned()));
    for (name, html) in pages(&Words::ordinary()).into_iter().chain(done) {
        let text = visible_text(&html).replace("<!doctype html>", "").to_lowercase();
        let jargon = ["token", "oauth", "callback", "invalid"];
        // Developers read the demo app: it speaks of what they came to see.
        let jargon = jargon.iter().filter(|_| !name.starts_with("dev-app"));
        for word in jargon.chain(&["please", "sorry", "oops", "!"]) {
            assert!(!text.contains(word), "{name} says “{word}”: {text}");
        }
    }
}

#[test]
fn every_page_is_under_30_kilobytes_all_told() {
    let site = site();
    let assets = site.assets();
    let files = [&assets.style, &assets.icon, &assets.username_script, &assets.way_back_script];
    for (name, html) in every_page() {
        let loaded = files.iter().filter(|asset| html.contains(&asset.path));
        let files: usize = loaded.map(|asset| asset.body.len()).sum();
        assert!(html.len() + files < 30_000, "{name}: {} + {files}", html.len());
    }
}

#[test]
fn no_text_is_smaller_than_16_pixels() {
    let style = site().assets().style.body.clone();
    let style = std::str::from_utf8(&style).unwrap();
    let sizes = matches(style, r"font-size: ([^;]+);");
    assert!(!sizes.is_empty());
    for size in sizes {
        let rem: f64 = size.strip_suffix("rem").unwrap().parse().unwrap();
        assert!(rem >= 1.0, "{size}");
    }
}

/// Leaves `target/pages/*.html` and what they load, to be served by any web server and looked at.
#[test]
fn every_page_can_be_written_down_for_looking_at() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    fs::create_dir_all(folder.join("static")).unwrap();
    for (name, html) in every_page() {
        fs::write(folder.join(name).with_extension("html"), html).unwrap();
    }
    let icon = site().assets().icon.body.clone();
    fs::write(folder.join(&Words::ordinary().picture[1..]), icon).unwrap();
    for words in [Words::ordinary(), Words::long(), Words::hostile()] {
        let assets = words.site.assets();
        for asset in [&assets.style, &assets.icon, &assets.username_script, &assets.way_back_script]
        {
            fs::write(folder.join(&asset.path[1..]), &asset.body).unwrap();
        }
    }
}
