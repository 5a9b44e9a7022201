//! The colours. The deployer chooses one accent; what is written on it and what is written in it
//! follow from it, so that both stay legible in light and dark whatever was chosen.

use std::fmt::{self, Write};

/// A colour in sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Color([u8; 3]);

const BLACK: Color = Color([0, 0, 0]);
const WHITE: Color = Color([255, 255, 255]);

/// The accent where the deployer chose none.
const DEFAULT_ACCENT: Color = Color([0x0f, 0x76, 0x6e]);

/// WCAG 2.2, success criterion 1.4.3: the least contrast of text.
const TEXT_CONTRAST: f64 = 4.5;

/// The colours of one scheme that do not depend on the accent.
#[derive(Debug)]
struct Palette {
    /// Behind everything.
    page: Color,
    /// Behind the column.
    surface: Color,
    /// Behind what the pointer is on.
    hover: Color,
    /// Between sections.
    line: Color,
    /// Around buttons.
    edge: Color,
    /// Around fields.
    control: Color,
    /// Text.
    text: Color,
    /// Text of less weight.
    muted: Color,
    /// What is well.
    good: Color,
    /// What is wrong.
    problem: Color,
    /// Behind what is wrong.
    problem_surface: Color,
}

impl Palette {
    /// Each colour with the name of its CSS variable.
    fn variables(&self) -> [(&'static str, Color); 11] {
        [
            ("page", self.page),
            ("surface", self.surface),
            ("hover", self.hover),
            ("line", self.line),
            ("edge", self.edge),
            ("control", self.control),
            ("text", self.text),
            ("muted", self.muted),
            ("good", self.good),
            ("problem", self.problem),
            ("problem-surface", self.problem_surface),
        ]
    }

    /// What text in the accent's colour can stand on.
    fn backgrounds(&self) -> [Color; 3] {
        [self.page, self.surface, self.hover]
    }
}

const LIGHT: Palette = Palette {
    page: Color([0xf4, 0xf5, 0xf7]),
    surface: Color([0xff, 0xff, 0xff]),
    hover: Color([0xf4, 0xf5, 0xf7]),
    line: Color([0xe1, 0xe4, 0xe9]),
    edge: Color([0xb4, 0xbb, 0xc6]),
    control: Color([0x80, 0x89, 0x9a]),
    text: Color([0x1a, 0x1e, 0x26]),
    muted: Color([0x58, 0x60, 0x6e]),
    good: Color([0x17, 0x66, 0x39]),
    problem: Color([0xb0, 0x21, 0x1c]),
    problem_surface: Color([0xfd, 0xf1, 0xf0]),
};

const DARK: Palette = Palette {
    page: Color([0x10, 0x13, 0x17]),
    surface: Color([0x1a, 0x1e, 0x24]),
    hover: Color([0x24, 0x29, 0x31]),
    line: Color([0x2d, 0x33, 0x3c]),
    edge: Color([0x4c, 0x54, 0x61]),
    control: Color([0x77, 0x80, 0x90]),
    text: Color([0xe9, 0xec, 0xf1]),
    muted: Color([0xa5, 0xad, 0xba]),
    good: Color([0x7c, 0xd4, 0x9f]),
    problem: Color([0xff, 0xa9, 0xa1]),
    problem_surface: Color([0x33, 0x1c, 0x1c]),
};

/// The colours of all pages.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    accent: Color,
}

impl Theme {
    /// Takes the deployer's accent, `#rrggbb`; ours if there is none or it is not one.
    pub fn new(accent: Option<&str>) -> Self {
        Self { accent: accent.and_then(Color::parse).unwrap_or(DEFAULT_ACCENT) }
    }

    /// The CSS variables of both schemes.
    pub fn css(&self) -> String {
        let (light, dark) = (self.variables(&LIGHT), self.variables(&DARK));
        format!(":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n")
    }

    fn variables(&self, palette: &Palette) -> String {
        let accent = [
            ("accent", self.accent),
            ("on-accent", self.on_accent()),
            ("accent-hover", self.accent_hover()),
            ("accent-text", self.accent_text(palette)),
        ];
        palette.variables().iter().chain(&accent).fold(String::new(), |mut css, (name, color)| {
            // Writing to a String cannot fail.
            let _ = write!(css, "--{name}:{color};");
            css
        })
    }

    /// White or black: one of them always has enough contrast.
    fn on_accent(&self) -> Color {
        if contrast(WHITE, self.accent) >= TEXT_CONTRAST { WHITE } else { BLACK }
    }

    /// Moves away from the colour of the text, so that contrast only grows.
    fn accent_hover(&self) -> Color {
        self.accent.mixed(if self.on_accent() == WHITE { BLACK } else { WHITE }, 0.14)
    }

    /// The accent as text and as outline: moved towards the text's colour until it is legible.
    fn accent_text(&self, palette: &Palette) -> Color {
        let is_legible = |color: &Color| {
            palette.backgrounds().iter().all(|back| contrast(*color, *back) >= TEXT_CONTRAST)
        };
        (0..=50)
            .map(|step| self.accent.mixed(palette.text, f64::from(step) / 50.0))
            .find(is_legible)
            .unwrap_or(palette.text)
    }
}

impl Color {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        Some(Self([red, green, blue]))
    }

    /// This colour with a share (0 to 1) of another.
    fn mixed(self, other: Self, share: f64) -> Self {
        Self(std::array::from_fn(|channel| {
            let (from, to) = (f64::from(self.0[channel]), f64::from(other.0[channel]));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
            let mixed = (from + (to - from) * share).round() as u8;
            mixed
        }))
    }

    /// Relative luminance (WCAG 2.2).
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

impl fmt::Display for Color {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(formatter, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Contrast ratio of two colours (WCAG 2.2): 1 to 21.
fn contrast(one: Color, other: Color) -> f64 {
    let (one, other) = (one.luminance(), other.luminance());
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_text_is_legible_in_both_schemes() {
        for palette in [LIGHT, DARK] {
            let backgrounds =
                [palette.page, palette.surface, palette.hover, palette.problem_surface];
            for text in [palette.text, palette.muted, palette.good, palette.problem] {
                for back in backgrounds {
                    let ratio = contrast(text, back);
                    assert!(ratio >= TEXT_CONTRAST, "{text} on {back}: {ratio:.2}");
                }
            }
            let control = contrast(palette.control, palette.surface);
            assert!(control >= 3.0, "fields stand out: {control:.2}");
        }
    }

    #[test]
    fn any_accent_is_legible_in_both_schemes() {
        let steps = || (0..=255u8).step_by(17);
        for accent in steps().flat_map(|red| {
            steps().flat_map(move |green| steps().map(move |blue| Color([red, green, blue])))
        }) {
            let theme = Theme { accent };
            assert!(contrast(theme.on_accent(), accent) >= TEXT_CONTRAST, "{accent}");
            assert!(contrast(theme.on_accent(), theme.accent_hover()) >= TEXT_CONTRAST, "{accent}");
            for palette in [LIGHT, DARK] {
                let text = theme.accent_text(&palette);
                for back in palette.backgrounds() {
                    assert!(contrast(text, back) >= TEXT_CONTRAST, "{accent} on {back}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_colour_becomes_the_default() {
        assert_eq!(Theme::new(Some("#3A56C5")).accent, Color([0x3a, 0x56, 0xc5]));
        for hostile in ["", "red", "#fff", "#+12345", "#12345é", "#000000;}body{display:none"] {
            assert_eq!(Theme::new(Some(hostile)).accent, DEFAULT_ACCENT, "{hostile}");
        }
    }
}
