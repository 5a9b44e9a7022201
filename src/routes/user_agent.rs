//! A short label of a browser, such as "Firefox on Linux": enough to recognise one's own devices.

/// Makes the label. What is not recognised is "Browser" or "App"; the header itself is never kept.
pub fn label(user_agent: &str) -> String {
    // Order matters: Edge and Opera also call themselves Chrome, Chrome calls itself Safari.
    let programs = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS", "Firefox"),
        ("CriOS", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
        ("python", "Python"),
        ("Mozilla/", "Browser"),
    ];
    let systems = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Macintosh", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    let program = find(&programs).unwrap_or("App");
    find(&systems).map_or_else(|| program.to_owned(), |system| format!("{program} on {system}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_recognised_and_nothing_else_is_kept() {
        for (header, expected) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 Chrome/140 Safari/537 Edg/140",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18) AppleWebKit Version/18 Safari/604",
                "Safari on iPhone",
            ),
            ("curl/8.5", "curl"),
            ("\u{1b}[31mevil é", "App"),
            ("", "App"),
        ] {
            assert_eq!(label(header), expected);
        }
        assert!(label(&"x".repeat(100_000)).len() < 40);
    }
}
