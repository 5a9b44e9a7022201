//! What every page is looked at for: in light and dark, on a wide screen and on a phone.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::driver::Chromium;

/// Screens by name, width and height in CSS pixels.
const SCREENS: [(&str, u32, u32); 2] = [("phone", 375, 800), ("wide", 1280, 900)];

/// The narrowest screen on which nothing may have to be scrolled sideways (WCAG 2.2, 1.4.10).
const NARROWEST: u32 = 320;

impl Chromium {
    /// Takes a picture of the page on every screen in both schemes, `target/screenshots/NAME-….png`.
    /// Where scripts run, axe looks it over, too.
    ///
    /// # Panics
    /// If axe finds something serious, the page is wider than a phone, or the console complains.
    pub async fn look_at(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        self.set_screen(NARROWEST, 800).await;
        self.fits(name).await;
        for (screen, width, height) in SCREENS {
            self.set_screen(width, height).await;
            for scheme in ["dark", "light"] {
                self.set_scheme(scheme).await;
                if self.runs_scripts() {
                    self.has_no_serious_problem(&format!("{name}, {scheme}, {screen}")).await;
                }
                let picture = self.picture().await;
                std::fs::write(folder.join(format!("{name}-{scheme}-{screen}.png")), picture)
                    .unwrap();
            }
        }
        assert_eq!(self.complaints().await, Vec::<String>::new(), "{name}: the console complains");
    }

    async fn set_screen(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await;
    }

    /// Without motion: a colour on its way to another is nobody's colour.
    async fn set_scheme(&self, scheme: &str) {
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        self.devtools("Emulation.setEmulatedMedia", &features).await;
    }

    /// The whole page as PNG.
    async fn picture(&self) -> Vec<u8> {
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", &whole).await;
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    async fn fits(&self, name: &str) {
        let wide =
            "const root = document.documentElement; return root.scrollWidth - root.clientWidth;";
        assert_eq!(self.evaluate(wide).await, 0, "{name}: pixels too wide at {NARROWEST}");
    }

    async fn has_no_serious_problem(&self, name: &str) {
        if self.evaluate("return typeof axe === \"undefined\";").await == true {
            self.evaluate(&axe()).await;
        }
        let found = self
            .evaluate_later(
                "const done = arguments[arguments.length - 1];
                 axe.run(document, { resultTypes: [\"violations\"] }).then(
                   (found) => done(found.violations.map((violation) => ({
                     id: violation.id, impact: violation.impact, help: violation.help,
                     nodes: violation.nodes.map((node) => [node.html, node.failureSummary]),
                   }))),
                   (error) => done([{ id: String(error), impact: \"critical\" }]));",
            )
            .await;
        let is_serious =
            |found: &&Value| matches!(found["impact"].as_str(), Some("serious" | "critical"));
        let serious: Vec<&Value> = found.as_array().unwrap().iter().filter(is_serious).collect();
        assert!(serious.is_empty(), "{name}: {serious:#?}");
    }
}

/// The program, from where `tests/with-servers` has put it.
fn axe() -> String {
    let installed = std::env::var("LATCHKEY_TEST_SERVERS").expect(
        "this test needs axe-core: use ./run test, or tests/with-servers, which installs it",
    );
    let file = Path::new(&installed).join("node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
