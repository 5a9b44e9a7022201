//! Entity tags (RFC 9110 §8.8.3) of documents that everybody may keep.

use aws_lc_rs::digest::{SHA256, digest};

/// The tag of a document, with quotes: made of its content, so that it never stands for another.
pub fn of(document: &[u8]) -> String {
    let digest = digest(&SHA256, document);
    let hex: String = digest.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}
