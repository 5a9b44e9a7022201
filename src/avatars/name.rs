//! What an avatar and its objects are called: by their content, so that a name never comes to mean
//! another picture and may be cached for ever.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::image::{Avatar, Format, LARGE, SMALL};
use crate::config::settings::Settings;
use crate::store::model::UserId;

const DIGEST_LENGTH: usize = 32;

/// Where our own server serves pictures.
pub const FOLDER: &str = "/avatars";

/// Which of an avatar's two pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// For profiles.
    Large,
    /// For lists.
    Small,
}

impl Size {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Large, Self::Small];

    /// The side in pixels, as it stands in names.
    pub fn pixels(self) -> u32 {
        match self {
            Self::Large => LARGE,
            Self::Small => SMALL,
        }
    }
}

/// The name of an avatar, as the store keeps it with its person: `{digest}.{extension}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvatarName {
    digest: [u8; DIGEST_LENGTH],
    format: Format,
}

impl AvatarName {
    /// The name of a person's avatar. Two people with the same picture have different names, so that
    /// one can be removed without the other, and neither tells of the other.
    pub fn new(user: UserId, avatar: &Avatar) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(user.0.as_bytes());
        context.update(&avatar.large);
        let mut digest = [0; DIGEST_LENGTH];
        digest.copy_from_slice(context.finish().as_ref());
        Self { digest, format: avatar.format }
    }

    /// Reads a name in exactly the form in which it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let (digest, extension) = text.split_once('.')?;
        let format = Format::ALL.into_iter().find(|format| format.extension() == extension)?;
        Some(Self { digest: parse_digest(digest)?, format })
    }

    /// The name of one of its two objects.
    pub fn object(self, size: Size) -> ObjectName {
        ObjectName { avatar: self, size }
    }
}

impl fmt::Display for AvatarName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digest(&self.digest, formatter)?;
        write!(formatter, ".{}", self.format.extension())
    }
}

/// The name of an object: `{digest}-{pixels}.{extension}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectName {
    avatar: AvatarName,
    size: Size,
}

impl ObjectName {
    /// Reads a name in exactly the form in which it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, extension) = text.split_once('.')?;
        let (digest, pixels) = stem.split_once('-')?;
        let size = Size::ALL.into_iter().find(|size| size.pixels().to_string() == pixels)?;
        let format = Format::ALL.into_iter().find(|format| format.extension() == extension)?;
        Some(Self { avatar: AvatarName { digest: parse_digest(digest)?, format }, size })
    }

    /// The avatar that it belongs to.
    pub fn avatar(self) -> AvatarName {
        self.avatar
    }

    /// How the object is encoded.
    pub fn format(self) -> Format {
        self.avatar.format
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digest(&self.avatar.digest, formatter)?;
        write!(formatter, "-{}.{}", self.size.pixels(), self.avatar.format.extension())
    }
}

/// Hexadecimal in lower case: the same on file systems that do not tell capitals apart.
fn write_digest(digest: &[u8], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    digest.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
}

fn parse_digest(text: &str) -> Option<[u8; DIGEST_LENGTH]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let digits = text.as_bytes();
    if digits.len() != 2 * DIGEST_LENGTH {
        return None;
    }
    let mut digest = [0; DIGEST_LENGTH];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4) | value(pair[1])?;
    }
    Some(digest)
}

/// Where the large picture of an avatar is found: below `avatars.public_url`, else at this server.
/// `None` for a name that is not of our form.
pub fn address(settings: &Settings, avatar: &str) -> Option<String> {
    let object = AvatarName::parse(avatar)?.object(Size::Large);
    Some(match &settings.avatars.public_url {
        Some(url) => format!("{}/{object}", url.as_str().trim_end_matches('/')),
        None => settings.server.public_url.join(&format!("{FOLDER}/{object}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn avatar(large: &[u8]) -> Avatar {
        Avatar { format: Format::Png, large: large.to_vec(), small: Vec::new() }
    }

    #[test]
    fn a_name_follows_from_person_and_picture() {
        let (one, other) = (Timestamp::from_seconds(1), Timestamp::from_seconds(2));
        let (one, other) = (UserId::new(one), UserId::new(other));
        let name = AvatarName::new(one, &avatar(b"picture"));
        assert_eq!(name, AvatarName::new(one, &avatar(b"picture")));
        assert_ne!(name, AvatarName::new(one, &avatar(b"another")));
        assert_ne!(name, AvatarName::new(other, &avatar(b"picture")));
    }

    #[test]
    fn names_are_read_in_exactly_the_form_in_which_they_are_written() {
        let user = UserId::new(Timestamp::from_seconds(1));
        let name = AvatarName::new(user, &avatar(b"picture"));
        assert_eq!(AvatarName::parse(&name.to_string()), Some(name));
        for size in Size::ALL {
            let object = name.object(size);
            assert_eq!(ObjectName::parse(&object.to_string()), Some(object));
        }
        let digest = "a1".repeat(32);
        assert!(ObjectName::parse(&format!("{digest}-512.jpg")).is_some());
        for other in [
            String::new(),
            digest.clone(),
            format!("{digest}.jpg"),
            format!("{digest}-0512.jpg"),
            format!("{digest}-256.jpg"),
            format!("{digest}-512.gif"),
            format!("{digest}-512.jpg.png"),
            format!("{digest}-512.JPG"),
            format!("{}-512.jpg", digest.to_uppercase()),
            format!("{digest}0-512.jpg"),
            format!("{}é-512.jpg", &digest[2..]),
            format!("../{}-512.jpg", &digest[3..]),
        ] {
            assert_eq!(ObjectName::parse(&other), None, "{other}");
        }
        assert_eq!(AvatarName::parse(&format!("{digest}-512.jpg")), None);
        assert_eq!(AvatarName::parse("picture"), None);
    }
}
