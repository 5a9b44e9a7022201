//! A person at the pages of a provider: types a name wherever one is asked for, and agrees.

use reqwest::StatusCode;

use super::browser::{Answer, Browser};
use super::html::Form;
use super::{Outcome, Target, failure};

/// Where a person's browser stops.
enum Stop {
    /// At our server again.
    Back(Answer),
    /// At a page of the provider.
    Page(Answer),
}

/// The provider that is named, else the first at whose pages a name can be typed.
pub async fn choose(target: &Target, names: &[String]) -> Outcome<String> {
    let others = names.join(", ");
    if let Some(name) = &target.provider {
        if !names.contains(name) {
            return failure(format!("there is no provider {name}; there is: {others}"));
        }
        return Ok(name.clone());
    }
    let mut reasons = Vec::new();
    for name in names {
        let browser = Browser::new(&target.url, &target.authorities)?;
        match begin(&browser, name, "/account").await {
            Ok(Stop::Page(page)) if next_form(&page, "somebody").is_some() => {
                return Ok(name.clone());
            }
            Ok(Stop::Page(page) | Stop::Back(page)) => reasons.push(format!("{name}: {page}")),
            Err(reason) => reasons.push(format!("{name}: {reason}")),
        }
    }
    failure(format!(
        "at none of the providers can this test sign in, which types a name into a form without a script: {}. \
         LATCHKEY_E2E_PROVIDER names the provider to use",
        reasons.join("; ")
    ))
}

/// Signs a person in; where our server leads them then.
pub async fn sign_in(
    browser: &Browser,
    provider: &str,
    person: &str,
    return_to: &str,
) -> Outcome<Answer> {
    let stop = begin(browser, provider, return_to).await?;
    through(browser, provider, person, stop).await
}

/// Signs a person in after an answer of ours that leads to the provider, and says yes to the app that they came
/// from; the answer that leads back to an address that begins so.
pub async fn sign_in_until(
    browser: &Browser,
    provider: &str,
    person: &str,
    mut answer: Answer,
    back: &str,
) -> Outcome<Answer> {
    for _ in 0..20 {
        if let Some(next) = answer.location() {
            if next.as_str().starts_with(back) {
                return Ok(answer);
            }
            answer = browser.page(next.as_str()).await?;
            continue;
        }
        let Some(form) = next_form(&answer, person) else { break };
        answer = browser.submit(&answer.url, &form).await?;
    }
    failure(format!("{answer}; signing in at {provider} did not lead back to the app"))
}

async fn through(
    browser: &Browser,
    provider: &str,
    person: &str,
    mut stop: Stop,
) -> Outcome<Answer> {
    for _ in 0..6 {
        let page = match stop {
            Stop::Back(answer) => return Ok(answer),
            Stop::Page(page) => page,
        };
        let Some(form) = next_form(&page, person) else {
            return failure(format!(
                "{page}: this test does not understand the pages of the provider {provider}. It needs one that \
                 takes any name without a script; LATCHKEY_E2E_PROVIDER names another one"
            ));
        };
        let answer = browser.submit(&page.url, &form).await?;
        stop = walk(browser, answer).await?;
    }
    failure(format!("the pages of the provider {provider} do not end"))
}

async fn begin(browser: &Browser, provider: &str, return_to: &str) -> Outcome<Stop> {
    let mut start = browser.url(&format!("/auth/{provider}"))?;
    start.query_pairs_mut().append_pair("return_to", return_to);
    let answer = browser.page(start.as_str()).await?;
    if !answer.status.is_redirection() {
        return failure(format!("{answer}; a way to the provider was expected"));
    }
    walk(browser, answer).await
}

/// Follows redirects until a page comes.
async fn walk(browser: &Browser, answer: Answer) -> Outcome<Stop> {
    let answer = browser.follow(answer).await?;
    let ours = answer.url.origin().ascii_serialization() == browser.origin;
    // The built-in provider has its pages at our own origin.
    if ours && !answer.url.path().starts_with("/dev/") {
        return Ok(Stop::Back(answer));
    }
    Ok(Stop::Page(answer.expect(StatusCode::OK)?))
}

/// The form that leads on, filled in: one to type a name into, else one that only wants a yes.
fn next_form(page: &Answer, person: &str) -> Option<Form> {
    const NO: [&str; 6] = ["abort", "cancel", "deny", "logout", "reject", "restart"];
    let is_no = |text: &str| NO.iter().any(|word| text.to_ascii_lowercase().contains(word));
    let forms: Vec<Form> =
        Form::all(&page.text()).into_iter().filter(|form| !is_no(&form.action)).collect();
    let typed = |form: &&Form| form.is_post && !form.blanks.is_empty();
    let mut form = forms
        .iter()
        .find(typed)
        .or_else(|| forms.iter().find(|form| form.is_post && form.blanks.is_empty()))?
        .clone();
    for (name, kind) in form.blanks.clone() {
        let value = match kind.as_str() {
            "email" => format!("{person}@example.com"),
            "password" => "any will do".to_owned(),
            "" | "text" => person.to_owned(),
            _ => continue,
        };
        form.fill(&name, &value);
    }
    let yes = form.buttons.iter().find(|(name, value)| !is_no(name) && !is_no(value)).cloned();
    if let Some((name, value)) = yes {
        form.fill(&name, &value);
    }
    Some(form)
}
