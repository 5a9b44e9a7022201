//! `docs/api.md`: the document, for people. With `LATCHKEY_BLESS=1` it is written anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value};

use super::{PUBLIC_URL, document_of, operations};

const HEAD: &str = "\
# The HTTP interface

What `GET /openapi.json` and `latchkey openapi` tell programs, for people. It is made of that document, by
`LATCHKEY_BLESS=1 ./run test the_reference`; cookies have the names that they have on https.

";

/// Statuses that follow from what an operation is, and are told once.
const COMMON: [&str; 9] = ["408", "413", "414", "415", "421", "429", "431", "500", "503"];

const OF_ALL: &str = "\
Told once, since they follow from what an operation is: 408, 413 and 415 where there is a body; 414, 421, 431 and 500
everywhere; 429 and 503, with `Retry-After`, everywhere but at health, readiness, keys, discovery and static files.
";

#[test]
fn the_reference_is_made_of_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let written = Reference(document_of(PUBLIC_URL)).written();
    if std::env::var_os("LATCHKEY_BLESS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(found.lines()).find(|(written, found)| written != found);
    assert!(
        written == found,
        "docs/api.md is not what the document tells; LATCHKEY_BLESS=1 writes it anew: {differs:?}"
    );
}

struct Reference(Value);

impl Reference {
    fn written(&self) -> String {
        let mut text = HEAD.to_owned();
        text += self.0["info"]["description"].as_str().unwrap();
        text += "\n\n";
        text += OF_ALL;
        text += "\n| credential | sent as | |\n| --- | --- | --- |\n";
        for (name, scheme) in self.0["components"]["securitySchemes"].as_object().unwrap() {
            let means = match scheme["type"].as_str().unwrap() {
                "apiKey" => format!("the cookie `{}`", scheme["name"].as_str().unwrap()),
                "http" => format!("`Authorization`, scheme {}", scheme["scheme"].as_str().unwrap()),
                _ => "`Authorization`, scheme bearer".to_owned(),
            };
            let what = scheme["description"].as_str().unwrap();
            writeln!(text, "| {} | {means} | {what} |", words(name)).unwrap();
        }
        for tag in self.0["tags"].as_array().unwrap() {
            let (name, about) =
                (tag["name"].as_str().unwrap(), tag["description"].as_str().unwrap());
            let of_tag: Vec<_> = operations(&self.0)
                .into_iter()
                .filter(|(_, _, told)| told["tags"][0] == *name)
                .collect();
            if of_tag.is_empty() {
                continue;
            }
            writeln!(text, "\n## {}\n\n{about}", capital(name)).unwrap();
            for (path, method, told) in of_tag {
                self.operation(&mut text, path, method, told);
            }
        }
        text += "\n## What is answered\n";
        for (name, schema) in self.0["components"]["schemas"].as_object().unwrap() {
            let about = schema["description"].as_str().unwrap_or_default();
            writeln!(text, "\n### {name}\n\n{about}").unwrap();
            self.members(&mut text, schema, "there");
        }
        text
    }

    fn operation(&self, text: &mut String, path: &str, method: &str, told: &Value) {
        let (id, summary) =
            (told["operationId"].as_str().unwrap(), told["summary"].as_str().unwrap());
        writeln!(text, "\n### {} {path}\n\n{summary} (`{id}`).", method.to_uppercase()).unwrap();
        if let Some(description) = told["description"].as_str() {
            writeln!(text, "{description}").unwrap();
        }
        writeln!(text, "\n{}.", callers(&told["security"])).unwrap();
        if let Some(parameters) = told["parameters"].as_array() {
            *text += "\n| parameter | in | needed | |\n| --- | --- | --- | --- |\n";
            for parameter in parameters {
                let [name, place, what] =
                    ["name", "in", "description"].map(|member| parameter[member].as_str().unwrap());
                let needed = yes(parameter["required"] == true);
                writeln!(text, "| `{name}` | {place} | {needed} | {what} |").unwrap();
            }
        }
        if let Some(content) = told["requestBody"]["content"].as_object() {
            let (media_type, body) = content.iter().next().unwrap();
            writeln!(text, "\nBody: `{media_type}`.").unwrap();
            self.members(text, &body["schema"], "needed");
        }
        *text += "\n| status | answer |\n| --- | --- |\n";
        let mut refusals = BTreeMap::new();
        for (status, answer) in told["responses"].as_object().unwrap() {
            match answer["$ref"].as_str() {
                Some(reference) => {
                    refusals
                        .insert(status.as_str(), self.resolved(reference)["description"].clone());
                }
                None => {
                    let what = answer["description"].as_str().unwrap();
                    let holds = self.holds(answer["content"].as_object());
                    let headers = headers(answer["headers"].as_object().unwrap());
                    writeln!(text, "| {status} | {what}{holds}{headers} |").unwrap();
                }
            }
        }
        for (status, codes) in refusals {
            if !COMMON.contains(&status) {
                writeln!(text, "| {status} | {} |", codes.as_str().unwrap()).unwrap();
            }
        }
    }

    fn resolved(&self, reference: &str) -> &Value {
        self.0.pointer(&reference[1..]).unwrap()
    }

    fn holds(&self, content: Option<&Map<String, Value>>) -> String {
        let Some(content) = content else { return String::new() };
        let parts = content.iter().map(|(media_type, media)| {
            match (media_type.as_str(), self.kind(&media["schema"])) {
                ("application/json", kind) => kind,
                (media_type, _) => format!("`{media_type}`"),
            }
        });
        format!(" {}.", parts.collect::<Vec<_>>().join(", "))
    }

    /// A table of the members of an object.
    fn members(&self, text: &mut String, schema: &Value, required: &str) {
        let alternatives = schema["anyOf"].as_array().into_iter().flatten();
        let alternatives: Vec<String> = alternatives.map(|part| self.kind(part)).collect();
        if !alternatives.is_empty() {
            writeln!(text, "\nOne of: {}.", alternatives.join("; ")).unwrap();
        }
        let Some(members) = schema["properties"].as_object() else { return };
        writeln!(text, "\n| member | is | {required} | |\n| --- | --- | --- | --- |").unwrap();
        let needed: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, member) in members {
            let what = member["description"].as_str().unwrap_or_default();
            let (kind, is_needed) = (self.kind(member), yes(needed.contains(&name.as_str())));
            writeln!(text, "| `{name}` | {kind} | {is_needed} | {what} |").unwrap();
        }
    }

    /// What a value is, in a few words.
    fn kind(&self, schema: &Value) -> String {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            return format!("[{name}](#{})", name.to_lowercase());
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            if let Some(parts) = schema[keyword].as_array() {
                let parts = parts.iter().map(|part| self.kind(part));
                return parts.collect::<Vec<_>>().join(" or ");
            }
        }
        if let Some(words) = schema["enum"].as_array() {
            let words = words.iter().map(|word| format!("`{}`", word.as_str().unwrap()));
            return words.collect::<Vec<_>>().join(", ");
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => return "any".to_owned(),
        };
        let shown = types.into_iter().map(|name| match (name, schema["format"].as_str()) {
            ("string", Some("uuid")) => "UUID".to_owned(),
            ("string", Some("date-time")) => "time".to_owned(),
            ("string", Some("binary")) => "file".to_owned(),
            ("array", _) => format!("list of {}", self.kind(&schema["items"])),
            ("object", _) => match schema["properties"].as_object() {
                Some(members) => {
                    let members = members.iter().map(|(name, member)| match name.as_str() {
                        "items" => format!("`items` ({})", self.kind(member)),
                        name => format!("`{name}`"),
                    });
                    format!("object of {}", members.collect::<Vec<_>>().join(", "))
                }
                None => "JSON".to_owned(),
            },
            (name, _) => name.to_owned(),
        });
        shown.collect::<Vec<_>>().join(" or ")
    }
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "" }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn capital(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

/// Who may call, and by what they are known.
fn callers(security: &Value) -> String {
    let ways = security.as_array().unwrap();
    let mut shown: Vec<String> = Vec::new();
    for (name, roles) in ways.iter().filter_map(|way| way.as_object()?.iter().next()) {
        let roles: Vec<&str> = roles.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let of = if roles.is_empty() { String::new() } else { format!(" ({})", roles.join(", ")) };
        shown.push(format!("{}{of}", words(name)));
    }
    let is_optional = ways.is_empty() || ways.iter().any(|way| way.as_object().unwrap().is_empty());
    match (shown.is_empty(), is_optional) {
        (true, _) => "For anybody".to_owned(),
        (false, false) => format!("Needs {}", shown.join(", or ")),
        (false, true) => format!("For anybody; reads {}", shown.join(", or ")),
    }
}

/// What the headers say that matter to this answer.
fn headers(headers: &Map<String, Value>) -> String {
    let telling =
        headers.iter().filter(|(name, _)| !["X-Request-Id", "Location"].contains(&name.as_str()));
    telling
        .map(|(name, header)| format!(" `{name}`: {}", header["description"].as_str().unwrap()))
        .collect()
}
