//! Attacks with pictures: what is sent as one, how it is sent, and how it is served.

use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::future::join_all;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use latchkey::actors::picture_decoder::{EncodeError, encode};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Backend, Browser, Server, cookie};
use crate::pictures::{avatar_url, objects, picture};
use crate::processes::{Process, free_port};
use crate::uploads::{FILE, FORM, form, post, upload};

/// Status and code of a refusal.
type Refusal = (u16, &'static str);

const NO_PICTURE: Refusal = (415, "unsupported_media_type");
const TOO_LARGE: Refusal = (413, "payload_too_large");
const BROKEN: Refusal = (422, "invalid_field");
const NO_FORM: Refusal = (400, "invalid_request");

/// What a sample hides.
const SCRIPT: &[u8] = b"<!doctype html><script>alert(document.domain)</script>";

async fn refused(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert!(body["detail"].as_str().unwrap().len() > 10, "{body}");
    (status, body["code"].as_str().unwrap().to_owned())
}

/// A server with alice at it.
async fn scene() -> (Server, Browser) {
    let server = Server::start(Backend::Sqlite, "").await;
    let browser = server.signed_in("alice").await;
    (server, browser)
}

async fn refuses(browser: &Browser, picture: &[u8], expected: Refusal, what: &str) {
    let answer = refused(upload(browser, picture).await).await;
    assert_eq!((answer.0, answer.1.as_str()), expected, "{what}");
    assert_eq!(avatar_url(browser).await, None, "{what}");
}

fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn plain(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_pixel(width, height, Rgb([20, 200, 20])).into()
}

/// A chunk of a PNG.
fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let summed = [kind, content].concat();
    let mut sum = u32::MAX;
    for byte in &summed {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes()[..], &summed, &(!sum).to_be_bytes()].concat()
}

/// A PNG whose head tells this size, with a few bytes of pixels.
fn png_head(width: u32, height: u32) -> Vec<u8> {
    png_head_of(width, height, [8, 2])
}

/// The same with another depth and colour type.
fn png_head_of(width: u32, height: u32, kind: [u8; 2]) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = [&size[..], &kind, &[0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &header)[..], &chunk(b"IDAT", b"\x78\x01")].concat()
}

/// A PNG with a chunk behind its head.
fn with_chunk(png: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    // Signature and IHDR have 8 and 25 bytes.
    [&png[..33], &chunk(kind, content), &png[33..]].concat()
}

/// A GIF of so many frames, all of them alike.
fn animation(frames: usize) -> Vec<u8> {
    let gif = file(&DynamicImage::ImageRgba8(plain(8, 8).to_rgba8()), ImageFormat::Gif);
    // A frame begins with its graphic control extension and ends before the trailer.
    let begin = gif.windows(2).position(|pair| pair == [0x21, 0xf9]).unwrap();
    let end = gif.len() - 1;
    [&gif[..begin], &gif[begin..end].repeat(frames), &gif[end..]].concat()
}

/// What alice's picture is served as, both sizes.
async fn served(browser: &Browser) -> Vec<Vec<u8>> {
    let url = avatar_url(browser).await.unwrap();
    let mut found = Vec::new();
    for url in [url.clone(), url.replace("-512.", "-128.")] {
        let answer = browser.get(&url).await;
        assert_eq!(answer.status(), StatusCode::OK);
        found.push(answer.bytes().await.unwrap().to_vec());
    }
    found
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[actix_web::test]
async fn j01_what_is_no_picture_is_refused_whatever_it_is_called() {
    let (server, browser) = scene().await;
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";
    for (what, content) in [
        ("HTML named .png, with the type of a PNG", SCRIPT),
        ("SVG", svg),
        ("SVG behind a declaration", b"<?xml version='1.0'?><svg onload='alert(1)'/>"),
        ("PDF", b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj"),
        ("TIFF", b"II*\0\x08\0\0\0"),
        ("a text", b"GIF"),
    ] {
        refuses(&browser, content, NO_PICTURE, what).await;
    }
    let behind_a_signature = [b"\x89PNG\r\n\x1a\n", SCRIPT].concat();
    refuses(&browser, &behind_a_signature, BROKEN, "HTML behind a PNG's signature").await;
    for content_type in ["image/png", "application/x-www-form-urlencoded", "multipart/mixed"] {
        let answer = post(&browser, content_type, picture([200, 0, 0])).await;
        let (status, code) = refused(answer).await;
        assert_eq!((status, code.as_str()), NO_PICTURE, "{content_type}");
    }
    assert!(objects(&server).is_empty());
}

#[actix_web::test]
async fn j02_nothing_but_pixels_of_a_polyglot_is_kept() {
    let (_server, browser) = scene().await;
    let comment = b"*/=1;alert(document.domain)//";
    let gif = file(&DynamicImage::ImageRgba8(plain(9, 9).to_rgba8()), ImageFormat::Gif);
    // A comment begins with 21 FE; the GIF's end, 3B, comes last.
    let length = u8::try_from(comment.len()).unwrap();
    let (body, end) = gif.split_at(gif.len() - 1);
    let gif = [body, &[0x21, 0xfe, length], comment, &[0], end].concat();
    let zip = b"PK\x03\x04\x14\0\0\0evil.html";
    for (what, sample, hidden) in [
        ("GIF and script", gif, &comment[..]),
        ("PNG and ZIP", [&picture([200, 0, 0])[..], zip].concat(), &zip[..]),
        ("JPEG and HTML", [&file(&plain(40, 40), ImageFormat::Jpeg)[..], SCRIPT].concat(), SCRIPT),
        ("PNG with HTML", with_chunk(&picture([9, 9, 9]), b"tEXt", SCRIPT), SCRIPT),
    ] {
        assert!(contains(&sample, hidden));
        assert_eq!(upload(&browser, &sample).await.status(), StatusCode::OK, "{what}");
        for bytes in served(&browser).await {
            assert!(!contains(&bytes, hidden), "{what}");
        }
    }
}

/// Pictures that are small as files and large as pictures, and what each is answered.
fn bombs() -> Vec<(&'static str, Vec<u8>, Option<Refusal>)> {
    vec![
        ("50,000 × 50,000", png_head(50_000, 50_000), Some(TOO_LARGE)),
        ("1 × 2^31 - 1", png_head(1, i32::MAX.unsigned_abs()), Some(TOO_LARGE)),
        ("1 × 2^31, which no PNG may have", png_head(1, 1 << 31), Some(TOO_LARGE)),
        ("no pixels at all", png_head(0, 0), Some(BROKEN)),
        ("a row too many", png_head(4_000, 4_001), Some(TOO_LARGE)),
        ("eight bytes a pixel", png_head_of(4_000, 4_000, [16, 6]), Some(TOO_LARGE)),
        ("10,000 frames", animation(10_000), None),
    ]
}

#[actix_web::test]
async fn j03_bombs_are_refused_by_their_head() {
    let (server, browser) = scene().await;
    for (what, bomb, expected) in bombs() {
        assert!(bomb.len() < 2 << 20, "{what}: {}", bomb.len());
        match expected {
            Some(refusal) => refuses(&browser, &bomb, refusal, what).await,
            None => assert_eq!(upload(&browser, &bomb).await.status(), StatusCode::OK, "{what}"),
        }
    }
    // Of an animation the first frame is kept.
    for bytes in served(&browser).await {
        assert_eq!(image::guess_format(&bytes).unwrap(), ImageFormat::Jpeg);
        assert!(bytes.len() < 2_000);
    }
    assert_eq!(objects(&server).len(), 2);
}

/// A generator that needs no seed from outside: what failed once fails again.
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % (below as u64)).unwrap()
    }
}

/// Damages a sample somewhere.
fn damaged(samples: &[Vec<u8>], number: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut bytes = samples[number(samples.len())].clone();
    for _ in 0..=number(5) {
        let place = number(bytes.len());
        match number(4) {
            0 => bytes[place] = u8::try_from(number(256)).unwrap(),
            1 => bytes[place] ^= 1 << number(8),
            2 => bytes.truncate(place.max(1)),
            _ => bytes.insert(place, 0xff),
        }
    }
    bytes
}

fn samples() -> Vec<Vec<u8>> {
    let small = DynamicImage::ImageRgba8(plain(12, 10).to_rgba8());
    let mut samples: Vec<_> = [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif]
        .map(|format| file(&small, format))
        .to_vec();
    samples.push(file(&plain(12, 10), ImageFormat::Jpeg));
    samples
}

#[actix_web::test]
async fn j04_damaged_pictures_are_the_senders_fault() {
    let (server, browser) = scene().await;
    let whole = picture([200, 0, 0]);
    let mut broken = whole.clone();
    let place = broken.len() / 2;
    broken[place] ^= 0xff;
    for (what, sample) in [("truncated", &whole[..whole.len() / 2]), ("a wrong sum", &broken[..])] {
        refuses(&browser, sample, BROKEN, what).await;
    }
    // 10,000 in this process, through the same owner as those of people.
    let (samples, mut number) = (samples(), numbers(0x9e37_79b9_7f4a_7c15));
    for _ in 0..500 {
        let batch = (0..20).map(|_| {
            let bytes = damaged(&samples, &mut number);
            encode(&server.app.picture_decoder, bytes.into(), 10_000)
        });
        for answer in join_all(batch.collect::<Vec<_>>()).await {
            assert!(!matches!(answer, Err(EncodeError::Busy(_))), "{answer:?}");
        }
    }
    // And some over HTTP.
    for _ in 0..100 {
        let status = upload(&browser, &damaged(&samples, &mut number)).await.status().as_u16();
        assert!([200, 413, 415, 422].contains(&status), "{status}");
    }
}

#[actix_web::test]
async fn j05_what_a_camera_noted_is_not_served() {
    let (_server, browser) = scene().await;
    let secret = b"51.5007N 0.1246W by Alice";
    let segment = |marker: u8, head: &[u8]| {
        let content = [head, secret].concat();
        let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
        [&[0xff, marker], &length[..], &content].concat()
    };
    let jpeg = file(&plain(40, 40), ImageFormat::Jpeg);
    let noted = [
        &jpeg[..2],
        &segment(0xe1, b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        &segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>"),
        &segment(0xe2, b"ICC_PROFILE\0\x01\x01"),
        &segment(0xfe, b""),
        &jpeg[2..],
    ]
    .concat();
    let png = with_chunk(&picture([9, 9, 9]), b"tEXt", &[b"Comment\0", &secret[..]].concat());
    let png = with_chunk(&png, b"eXIf", &[b"II*\0\x08\0\0\0\0\0", &secret[..]].concat());
    for sample in [noted, png] {
        assert_eq!(upload(&browser, &sample).await.status(), StatusCode::OK);
        for bytes in served(&browser).await {
            for part in [&secret[..], b"Exif", b"xmp", b"ICC_PROFILE"] {
                assert!(!contains(&bytes, part));
            }
        }
    }
}

/// Sends a request as it stands, and returns what comes back until the server closes.
fn exchange(url: &str, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for part in parts {
        // A server that has answered need not take the rest.
        if stream.write_all(part).is_err() {
            break;
        }
    }
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend(&part[..length]),
        }
        if contains(&answer, b"\"type\":\"urn:latchkey:error:") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[actix_web::test]
async fn j06_a_body_without_end_is_cut_off() {
    let (server, browser) = scene().await;
    let token = cookie(&browser.post("/auth/refresh").await, "auth_access").unwrap();
    let authority = server.url.trim_start_matches("http://").to_owned();
    let head = |further: &str| {
        format!(
            "POST /auth/me/avatar HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {FORM}\r\n{further}\r\n\r\n"
        )
        .into_bytes()
    };
    let whole = form(&[(FILE, &picture([200, 0, 0]))]);
    let begun = &whole[..whole.len() / 2];
    let zeros = vec![0; 64 << 10];
    let line = [format!("{:x}\r\n", zeros.len()).as_bytes(), &zeros, b"\r\n"].concat();
    let first = [format!("{:x}\r\n", begun.len()).as_bytes(), begun, b"\r\n"].concat();

    let announced = head("Content-Length: 10737418240");
    let lying = head("Content-Length: 200");
    let chunked = head("Transfer-Encoding: chunked");
    let both = head("Content-Length: 5\r\nTransfer-Encoding: chunked");
    let longer = head(&format!("Content-Length: {}", whole.len() + 1_000));
    let mut endless: Vec<&[u8]> = vec![&chunked, &first];
    endless.extend(std::iter::repeat_n(&line[..], 48));
    let cases: Vec<(&str, Vec<&[u8]>, &str)> = vec![
        ("10 GB are announced", vec![&announced], "HTTP/1.1 413"),
        ("less is announced than comes", vec![&lying, &whole], "HTTP/1.1 400"),
        ("chunks without end", endless, "HTTP/1.1 413"),
        ("two lengths", vec![&both, &whole], "HTTP/1.1 400"),
        ("more is announced than comes", vec![&longer, begun], "HTTP/1.1 408"),
    ];
    for (what, parts, expected) in cases {
        let parts: Vec<Vec<u8>> = parts.into_iter().map(<[u8]>::to_vec).collect();
        let url = server.url.clone();
        let exchanging = tokio::task::spawn_blocking(move || {
            exchange(&url, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
        });
        let answer = exchanging.await.unwrap();
        assert!(answer.starts_with(expected), "{what}: {answer}");
    }
    let large = vec![0; (2 << 20) + 1];
    refuses(&browser, &large, TOO_LARGE, "one byte more than avatars.max_bytes").await;
    assert!(objects(&server).is_empty());
}

#[actix_web::test]
async fn j07_odd_forms_are_refused_and_a_files_name_is_never_used() {
    let (server, browser) = scene().await;
    let red = picture([200, 0, 0]);
    let many = vec![("name=\"a\"", &b""[..]); 10_000];
    let fields: Vec<String> = (0..9).map(|number| format!("name=\"a{number}\"")).collect();
    let nine: Vec<(&str, &[u8])> = fields.iter().map(|name| (name.as_str(), &b"b"[..])).collect();
    let file = |name: &str| format!("name=\"file\"; filename=\"{name}\"");
    let duplicate = (400, "duplicate_parameter");
    let whole = form(&[(FILE, &red)]);
    let large = vec![b'a'; 5_000];
    let cases: Vec<(&str, Vec<u8>, Refusal)> = vec![
        ("two files", form(&[(FILE, &red), (FILE, &red)]), NO_FORM),
        ("an empty file, and another", form(&[(FILE, b""), (FILE, &red)]), NO_FORM),
        ("10,000 parts of one name", form(&many), duplicate),
        ("nine fields", form(&nine), NO_FORM),
        ("another field", form(&[("name=\"a\"", b"b"), (FILE, &red)]), NO_FORM),
        ("a large field", form(&[("name=\"a\"", &large)]), TOO_LARGE),
        ("a file of another name", form(&[("name=\"a\"; filename=\"b\"", &red)]), BROKEN),
        ("no file", form(&[]), BROKEN),
        ("an empty file", form(&[(FILE, b"")]), BROKEN),
        ("a folder in the name", form(&[(&file("../../x"), &red)]), NO_FORM),
        ("another system's folder", form(&[(&file("..\\\\..\\\\x"), &red)]), NO_FORM),
        ("a NUL in the name", form(&[(&file("a\0b.png"), &red)]), NO_FORM),
        ("a NUL in a field", form(&[("name=\"a\"", b"\0")]), NO_FORM),
        ("a part without a name", form(&[("filename=\"a.png\"", &red)]), NO_FORM),
        ("not whole", whole[..whole.len() - 20].to_vec(), NO_FORM),
        ("nothing", Vec::new(), NO_FORM),
    ];
    for (what, body, expected) in cases {
        let (status, code) = refused(post(&browser, FORM, body).await).await;
        assert_eq!((status, code.as_str()), expected, "{what}");
    }
    for content_type in ["multipart/form-data", "multipart/form-data; boundary="] {
        let (status, code) = refused(post(&browser, content_type, whole.clone()).await).await;
        assert_eq!((status, code.as_str()), NO_FORM, "{content_type}");
    }
    assert!(objects(&server).is_empty());
    let answer = post(&browser, FORM, form(&[(&file("evil.html"), &red)])).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(objects(&server).iter().all(|path| !path.to_string_lossy().contains("evil")));
}

#[actix_web::test]
async fn j08_pictures_are_served_so_that_nothing_runs() {
    let (server, browser) = scene().await;
    assert_eq!(upload(&browser, &picture([200, 0, 0])).await.status(), StatusCode::OK);
    let url = avatar_url(&browser).await.unwrap();
    // Somebody without any cookie.
    let answer = server.browser().get(&url).await;
    assert_eq!(answer.status(), StatusCode::OK);
    for (name, value) in [
        ("content-type", "image/jpeg"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cache-control", "public, max-age=31536000, immutable"),
    ] {
        assert_eq!(answer.headers()[name], value, "{name}");
    }
    assert!(!answer.headers().contains_key("set-cookie"));
    // Named by its content: another picture is another address.
    assert_eq!(upload(&browser, &picture([0, 0, 200])).await.status(), StatusCode::OK);
    assert_ne!(avatar_url(&browser).await, Some(url));
}

/// The most memory that a process had so far, in MiB.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[actix_web::test]
async fn bombs_and_a_hundred_uploads_at_once_leave_memory_flat() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::dev(directory.path(), free_port());
    let mut browsers = Vec::new();
    for number in 0..25 {
        let (browser, name) = (Browser::new(&process.url), format!("person{number}"));
        browser.sign_in(&name).await;
        let created = browser.post_json("/auth/setup", &json!({ "username": name })).await;
        assert_eq!(created.status(), StatusCode::CREATED);
        browsers.push(browser);
    }
    let before = peak(&process);
    // A hundred at once: four of each person, of which one is taken at a time.
    let small = file(&plain(64, 64), ImageFormat::Png);
    let all = browsers.iter().flat_map(|browser| (0..4).map(|_| upload(browser, &small)));
    let mut taken = 0;
    for answer in join_all(all).await {
        match answer.status().as_u16() {
            200 => taken += 1,
            status => assert!([429, 503].contains(&status), "{status}"),
        }
    }
    assert!(taken >= browsers.len(), "{taken}");
    // As many bytes as may be, from everybody, none of which is a picture.
    let noise = [b"\x89PNG\r\n\x1a\n", &vec![7; (2 << 20) - 8][..]].concat();
    for answer in join_all(browsers.iter().map(|browser| upload(browser, &noise))).await {
        assert!([422, 503].contains(&answer.status().as_u16()), "{}", answer.status());
    }
    // As many pixels as may be, in a small file, twice at once; and what is beyond.
    let large = file(&DynamicImage::ImageRgba8(plain(16_000, 1_000).to_rgba8()), ImageFormat::Png);
    let answers = join_all(browsers[..2].iter().map(|browser| upload(browser, &large))).await;
    assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK), "{answers:?}");
    let bombs = bombs();
    let sent = bombs.iter().zip(&browsers).map(|((_, bomb, _), browser)| upload(browser, bomb));
    for (answer, (what, _, expected)) in join_all(sent).await.iter().zip(&bombs) {
        assert_eq!(answer.status().as_u16(), expected.map_or(200, |(status, _)| status), "{what}");
    }
    let after = peak(&process);
    assert!(after < before + 110, "{before} MiB before, {after} MiB at most");
}
