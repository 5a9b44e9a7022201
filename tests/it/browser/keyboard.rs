//! Everything can be reached and done by keyboard alone.

use super::driver::{BACKTAB, Chromium, END, ENTER, TAB};
use crate::harness::{Backend, Server};
use crate::people_provider::PeopleProvider;

/// Every control of a page that can be used.
const CONTROLS: &str = "return [...document.querySelectorAll(\"a[href], button, input\")]
    .filter((control) => control.type !== \"hidden\" && !control.disabled).length;";

/// Presses Tab until the focus is at `last`; where it was on the way, `last` included.
async fn tab_to(chromium: &Chromium, last: &str) -> Vec<String> {
    let mut places = Vec::new();
    while places.last().is_none_or(|place| place != last) {
        assert!(places.len() < 50, "{last} is not reached: {places:?}");
        chromium.press(TAB).await;
        places.push(chromium.focus().await);
    }
    places
}

#[actix_web::test]
async fn people_sign_in_and_out_by_keyboard_alone() {
    let people = PeopleProvider::start();
    let blocks = people.block("forge", "") + &people.block("club", "");
    let server = Server::start(Backend::Sqlite, &blocks).await;
    server.signed_in("alice").await;
    let chromium = Chromium::start(&server.url).await;
    chromium.open("/login").await;
    let address = |provider: &str| format!("/auth/{provider}?return_to=%2Faccount");
    let providers = tab_to(&chromium, &address("club")).await;
    assert_eq!(
        providers,
        ["dev", "forge", "club"].map(address),
        "in the order in which they are read"
    );
    assert_eq!(chromium.evaluate(CONTROLS).await, 3);
    chromium.press(BACKTAB).await;
    chromium.press(BACKTAB).await;
    chromium.press(ENTER).await;

    chromium.shows("Who do you want to be?").await;
    assert_eq!(chromium.focus().await, "name", "the one field to fill is where the focus is");
    chromium.press("rivka").await;
    chromium.press(ENTER).await;
    chromium.shows("Choose your name").await;
    let controls = tab_to(&chromium, "/login").await;
    assert_eq!(controls, ["username", "display_name", "Use this name", "/login"]);
    assert_eq!(chromium.evaluate(CONTROLS).await, 4);

    chromium.fill("Username", "alice").await;
    chromium.press(ENTER).await;
    chromium.says("“alice” belongs to another account. “alice2” is free.").await;
    assert_eq!(chromium.focus().await, "problem");
    assert_eq!(
        tab_to(&chromium, "#username").await,
        ["#username"],
        "the summary leads to the field"
    );
    chromium.press(ENTER).await;
    assert_eq!(chromium.focus().await, "username");
    chromium.press(END).await;
    chromium.press("2").await;
    chromium.press(ENTER).await;
    chromium.shows("Your account").await;
    chromium.says("alice2").await;

    let controls = tab_to(&chromium, "/account/delete").await;
    assert_eq!(chromium.evaluate(CONTROLS).await, controls.len(), "{controls:?}");
    let place = |control: &str| controls.iter().position(|found| found == control).unwrap();
    let connect = "/auth/link/club?return_to=%2Faccount%3Fdone%3Dlink";
    let order = ["#profile", "file", "display_name", "username", connect, "true"].map(place);
    assert!(order.is_sorted(), "in the order in which they are read: {controls:?}");
    for _ in place("true")..place("/account/delete") {
        chromium.press(BACKTAB).await;
    }
    assert_eq!(chromium.focus().await, "true");
    chromium.press(ENTER).await;
    chromium.shows("You are signed out everywhere").await;
    chromium.close().await;
}

#[actix_web::test]
async fn the_focus_is_always_seen() {
    let server = Server::start(Backend::Sqlite, "").await;
    let chromium = Chromium::start(&server.url).await;
    chromium.open("/login").await;
    chromium.press(TAB).await;
    let outline = "const style = getComputedStyle(document.activeElement);
        return style.outlineStyle !== \"none\" && parseFloat(style.outlineWidth) >= 2;";
    assert_eq!(chromium.evaluate(outline).await, true);
    chromium.look_at("login-focus").await;
    chromium.close().await;
}
