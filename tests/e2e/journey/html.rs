//! As much of HTML as a person needs who fills in forms.

/// A form of a page with the values that it comes with.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// Where it goes, as it stands in the page.
    pub action: String,
    /// Whether it is sent as a POST.
    pub is_post: bool,
    /// What is sent: hidden fields and such as have a value.
    pub fields: Vec<(String, String)>,
    /// The fields that a person types into: name and type.
    pub blanks: Vec<(String, String)>,
    /// The buttons that have a name: name and value.
    pub buttons: Vec<(String, String)>,
}

impl Form {
    /// All forms of a page, in its order.
    pub fn all(page: &str) -> Vec<Self> {
        let mut forms: Vec<Self> = Vec::new();
        let mut open = false;
        for tag in tags(page) {
            match tag.name.as_str() {
                "form" => {
                    let is_post = tag.value("method").eq_ignore_ascii_case("post");
                    forms.push(Self { action: tag.value("action"), is_post, ..Self::default() });
                    open = true;
                }
                "/form" => open = false,
                "input" | "textarea" | "select" | "button" if open => {
                    if let Some(form) = forms.last_mut() {
                        form.add(&tag);
                    }
                }
                _ => {}
            }
        }
        forms
    }

    /// The form of a page that goes to a path.
    pub fn to(page: &str, path: &str) -> Option<Self> {
        Self::all(page).into_iter().find(|form| form.action == path)
    }

    /// Writes into a field, whether or not it was there.
    pub fn fill(&mut self, name: &str, value: &str) {
        self.fields.retain(|(field, _)| field != name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    fn add(&mut self, tag: &Tag) {
        let (name, value) = (tag.value("name"), tag.value("value"));
        let kind = tag.value("type").to_ascii_lowercase();
        if name.is_empty() {
            return;
        }
        match (tag.name.as_str(), kind.as_str()) {
            ("button", "button" | "reset") | ("input", "button" | "reset" | "image" | "file") => {}
            ("button", _) | ("input", "submit") => self.buttons.push((name, value)),
            ("input", "checkbox" | "radio") if !tag.has("checked") => {}
            ("input", "hidden" | "checkbox" | "radio") | ("select", _) => {
                self.fields.push((name, value));
            }
            _ => {
                self.fields.push((name.clone(), value));
                self.blanks.push((name, kind));
            }
        }
    }
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn value(&self, attribute: &str) -> String {
        self.attributes
            .iter()
            .find(|(name, _)| name == attribute)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    }

    fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|(name, _)| name == attribute)
    }
}

/// The tags of a page; comments, scripts and styles hold none.
fn tags(mut page: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    while let Some(start) = page.find('<') {
        page = &page[start + 1..];
        if let Some(comment) = page.strip_prefix("!--") {
            page = comment.split_once("-->").map_or("", |(_, rest)| rest);
            continue;
        }
        let (tag, rest) = read_tag(page);
        page = rest;
        if tag.name == "script" || tag.name == "style" {
            let end = format!("</{}", tag.name);
            page = page.find(&end).map_or("", |place| &page[place..]);
        }
        tags.push(tag);
    }
    tags
}

/// Reads from behind `<` to behind `>`.
fn read_tag(text: &str) -> (Tag, &str) {
    let end =
        text.find(|letter: char| letter.is_whitespace() || letter == '>').unwrap_or(text.len());
    let mut tag = Tag { name: text[..end].to_ascii_lowercase(), attributes: Vec::new() };
    let mut rest = &text[end..];
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return (tag, after);
        }
        if rest.is_empty() {
            return (tag, rest);
        }
        let stop = |letter: char| letter.is_whitespace() || letter == '=' || letter == '>';
        let end = rest.find(stop).unwrap_or(rest.len());
        // A stray sign, such as the = in <a ="b">, is passed over.
        let end = end.max(rest.chars().next().map_or(0, char::len_utf8));
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = String::new();
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            let (raw, behind) = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let inner = &after[1..];
                    inner.split_once(quote).unwrap_or((inner, ""))
                }
                _ => {
                    let end = after
                        .find(|letter: char| letter.is_whitespace() || letter == '>')
                        .unwrap_or(after.len());
                    after.split_at(end)
                }
            };
            value = decoded(raw);
            rest = behind;
        }
        tag.attributes.push((name, value));
    }
}

/// The references that forms hold: the five named ones, and numbers.
fn decoded(text: &str) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        whole.push_str(before);
        let reference = after.split_once(';').and_then(|(name, behind)| {
            let letter = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((letter, behind))
        });
        match reference {
            Some((letter, behind)) => {
                whole.push(letter);
                rest = behind;
            }
            None => {
                whole.push('&');
                rest = after;
            }
        }
    }
    whole.push_str(rest);
    whole
}

#[test]
fn forms_are_read_as_a_browser_sends_them() {
    let page = "<!-- <form action='/no'> --><script>'<form>'</script><FORM method=post action=\"/a?b=1&amp;c=2\">\
                <input type=hidden name='t' value='&#39;&lt;&#x41;&'><input name=who required><input type=checkbox name=c>\
                <button name=decision value=allow>Yes</button><button type=button name=x>No</button></form><input name=out>";
    let forms = Form::all(page);
    assert_eq!(forms.len(), 1);
    let form = &forms[0];
    assert!(form.is_post);
    assert_eq!(form.action, "/a?b=1&c=2");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(form.fields, [pair("t", "'<A&"), pair("who", "")]);
    assert_eq!(form.blanks, [pair("who", "")]);
    assert_eq!(form.buttons, [pair("decision", "allow")]);
}
