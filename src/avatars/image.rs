//! From bytes that anybody may have made to two pictures of our own, or a reason why not.
//!
//! What is inside decides the format, never a header or a name. The size is read from the picture's
//! head, and refused, before a pixel is decoded. What comes out was encoded here from bare pixels:
//! places, cameras, comments, profiles and whatever was appended stay behind.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType as RowFilter, PngEncoder};
use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, GenericImageView, ImageDecoder, ImageEncoder, ImageError,
    ImageFormat, ImageReader, Limits, Rgba, RgbaImage,
};

/// Side of the large picture, if the source has as many pixels.
pub const LARGE: u32 = 512;

/// Side of the small picture, likewise.
pub const SMALL: u32 = 128;

/// Files of real cameras and programs have a dozen scans. A file of two megabytes can have many
/// thousands, each of which costs a walk over the whole picture.
const MOST_SCANS: usize = 100;

/// Memory for a decoder beside its pixels.
const DECODER_OVERHEAD: u64 = 1 << 20;

/// Bytes that work on a picture may take for each pixel that is allowed: enough for what cameras and
/// programs write, in all sizes that are allowed.
const BYTES_A_PIXEL: u64 = 6;

/// Bytes of a pixel while it is made smaller: four channels of floating-point numbers.
const RESIZED_PIXEL: u64 = 16;

const JPEG_QUALITY: u8 = 85;

/// How our own pictures are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Without transparency.
    Jpeg,
    /// With transparency.
    Png,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Jpeg, Self::Png];

    /// The end of an object's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// A person's picture in both sizes: squares, encoded here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avatar {
    /// How both are encoded.
    pub format: Format,
    /// [`LARGE`] pixels wide and high, or as many as the source has.
    pub large: Vec<u8>,
    /// [`SMALL`] pixels wide and high, likewise.
    pub small: Vec<u8>,
}

/// Why bytes do not become a picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Something else, SVG included.
    #[error("it is no PNG, JPEG, WebP or GIF")]
    Unknown,
    /// More pixels than allowed, by its own head.
    #[error("it has {width} × {height} pixels, and at most {most} are allowed")]
    TooManyPixels {
        /// As the head says.
        width: u32,
        /// As the head says.
        height: u32,
        /// From the settings.
        most: u64,
    },
    /// Small, but made to be expensive.
    #[error("decoding it would take too much memory or time")]
    TooExpensive,
    /// Cut off, or wrong inside.
    #[error("it cannot be decoded: {0}")]
    Damaged(String),
    /// The pixels cannot be encoded again.
    #[error("it cannot be encoded: {0}")]
    NotEncoded(String),
}

/// Decodes a picture of at most `most_pixels` pixels, turns it upright, cuts the square out of its
/// middle and encodes that in both sizes. Takes a processor for up to a second: call it on a thread
/// that may block.
///
/// # Errors
/// [`PictureError`].
pub fn encode(bytes: &[u8], most_pixels: u64) -> Result<Avatar, PictureError> {
    let Opened { mut decoder, .. } = open(bytes, most_pixels)?;
    // Metadata that cannot be read says nothing of the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(refused)?;
    let square = Square::in_the_middle_of(&picture);
    let side = square.side.min(LARGE);
    let large = imageops::resize(&square, side, side, FilterType::CatmullRom);
    drop(picture);
    let large = turned(large, orientation);
    let side = side.min(SMALL);
    let small = imageops::resize(&large, side, side, FilterType::CatmullRom);
    let is_opaque = large.pixels().all(|pixel| pixel.0[3] == u8::MAX);
    let format = if is_opaque { Format::Jpeg } else { Format::Png };
    Ok(Avatar { format, large: written(&large, format)?, small: written(&small, format)? })
}

fn recognise(bytes: &[u8]) -> Result<ImageFormat, PictureError> {
    let format = image::guess_format(bytes).map_err(|_| PictureError::Unknown)?;
    match format {
        ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif => Ok(format),
        _ => Err(PictureError::Unknown),
    }
}

/// The most memory that [`encode`] takes, in bytes.
pub fn most_memory(most_pixels: u64) -> u64 {
    most_pixels.saturating_mul(BYTES_A_PIXEL).saturating_add(DECODER_OVERHEAD)
}

/// How much memory [`encode`] takes for these bytes, about; by the picture's head, without decoding it.
///
/// # Errors
/// [`PictureError`], for what can be seen in the head.
pub fn memory(bytes: &[u8], most_pixels: u64) -> Result<u64, PictureError> {
    open(bytes, most_pixels).map(|opened| opened.memory)
}

/// A picture of which the head has been read, and found to be within all bounds.
struct Opened<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    memory: u64,
}

fn open(bytes: &[u8], most_pixels: u64) -> Result<Opened<'_>, PictureError> {
    let format = recognise(bytes)?;
    if format == ImageFormat::Jpeg && scans(bytes) > MOST_SCANS {
        return Err(PictureError::TooExpensive);
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most_memory(most_pixels));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > most_pixels {
        return Err(PictureError::TooManyPixels { width, height, most: most_pixels });
    }
    if width == 0 || height == 0 {
        return Err(PictureError::Damaged("it has no pixels".to_owned()));
    }
    let pixels = decoder.total_bytes();
    let decoding = pixels.saturating_mul(copies(bytes, format));
    let resizing = u64::from(width.min(height)) * u64::from(LARGE) * RESIZED_PIXEL;
    let memory = decoding.max(pixels.saturating_add(resizing));
    if memory > most_memory(most_pixels) {
        return Err(PictureError::TooExpensive);
    }
    limits.reserve(pixels).map_err(refused)?;
    decoder.set_limits(limits).map_err(refused)?;
    Ok(Opened { decoder: Box::new(decoder), memory: memory.saturating_add(DECODER_OVERHEAD) })
}

/// How often the decoder of a format holds the whole picture, about: a progressive JPEG twice over as
/// coefficients, WebP and GIF once in their own form.
fn copies(bytes: &[u8], format: ImageFormat) -> u64 {
    match format {
        ImageFormat::Jpeg if is_progressive(bytes) => 3,
        ImageFormat::WebP | ImageFormat::Gif => 2,
        _ => 1,
    }
}

/// Whether a frame of more than one scan begins; what looks so within metadata counts, too.
fn is_progressive(jpeg: &[u8]) -> bool {
    jpeg.windows(2).any(|pair| pair == [0xff, 0xc2])
}

/// How often a scan begins, at most: what looks like a beginning within metadata counts, too.
fn scans(jpeg: &[u8]) -> usize {
    jpeg.windows(2).filter(|pair| *pair == [0xff, 0xda]).count()
}

fn refused(error: ImageError) -> PictureError {
    match error {
        ImageError::Limits(_) => PictureError::TooExpensive,
        error => PictureError::Damaged(error.to_string()),
    }
}

/// The largest square in the middle of a picture, without a copy of it; colours multiplied by their
/// opacity, so that those of invisible pixels do not bleed into their neighbours.
struct Square<'a> {
    picture: &'a DynamicImage,
    left: u32,
    top: u32,
    side: u32,
}

impl<'a> Square<'a> {
    fn in_the_middle_of(picture: &'a DynamicImage) -> Self {
        let (width, height) = picture.dimensions();
        let side = width.min(height);
        Self { picture, left: (width - side) / 2, top: (height - side) / 2, side }
    }
}

impl GenericImageView for Square<'_> {
    type Pixel = Rgba<u8>;

    fn dimensions(&self) -> (u32, u32) {
        (self.side, self.side)
    }

    fn get_pixel(&self, x: u32, y: u32) -> Rgba<u8> {
        let Rgba([red, green, blue, alpha]) = self.picture.get_pixel(self.left + x, self.top + y);
        let [red, green, blue] = [red, green, blue].map(|value| scaled(value, alpha, u8::MAX));
        Rgba([red, green, blue, alpha])
    }
}

/// `value × by ÷ of`, rounded.
fn scaled(value: u8, by: u8, of: u8) -> u8 {
    let (value, by, of) = (u32::from(value), u32::from(by), u32::from(of.max(1)));
    u8::try_from((value * by + of / 2) / of).unwrap_or(u8::MAX)
}

/// Upright, as the metadata says. The square comes first: it is the same whichever way it lies.
fn turned(picture: RgbaImage, orientation: Orientation) -> RgbaImage {
    let mut picture = DynamicImage::ImageRgba8(picture);
    picture.apply_orientation(orientation);
    picture.into_rgba8()
}

fn written(picture: &RgbaImage, format: Format) -> Result<Vec<u8>, PictureError> {
    let (width, height) = picture.dimensions();
    let mut encoded = Vec::new();
    match format {
        Format::Jpeg => {
            let pixels: Vec<u8> = picture.pixels().flat_map(|pixel| drop_alpha(*pixel)).collect();
            JpegEncoder::new_with_quality(&mut encoded, JPEG_QUALITY).write_image(
                &pixels,
                width,
                height,
                ExtendedColorType::Rgb8,
            )
        }
        Format::Png => {
            let pixels: Vec<u8> = picture.pixels().flat_map(|pixel| divided(*pixel)).collect();
            PngEncoder::new_with_quality(
                &mut encoded,
                CompressionType::Default,
                RowFilter::Adaptive,
            )
            .write_image(&pixels, width, height, ExtendedColorType::Rgba8)
        }
    }
    .map_err(|error| PictureError::NotEncoded(error.to_string()))?;
    Ok(encoded)
}

fn drop_alpha(Rgba([red, green, blue, _]): Rgba<u8>) -> [u8; 3] {
    [red, green, blue]
}

/// Takes back what [`Square`] did to the colours.
fn divided(Rgba([red, green, blue, alpha]): Rgba<u8>) -> [u8; 4] {
    let [red, green, blue] = [red, green, blue].map(|value| scaled(value, u8::MAX, alpha));
    [red, green, blue, alpha]
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::gif::GifEncoder;
    use image::{Frame, ImageBuffer, Rgb, RgbImage};

    const MOST: u64 = 16_000_000;

    const RED: [u8; 3] = [220, 20, 20];
    const GREEN: [u8; 3] = [20, 200, 20];
    const BLUE: [u8; 3] = [20, 20, 220];
    const WHITE: [u8; 3] = [250, 250, 250];

    /// Whatever a sample hides, it hides by this name.
    const HIDDEN: &[u8] = b"<script>51.5007N</script>";

    const FORMATS: [ImageFormat; 4] =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif];

    fn plain(width: u32, height: u32, [red, green, blue]: [u8; 3]) -> DynamicImage {
        RgbImage::from_pixel(width, height, Rgb([red, green, blue])).into()
    }

    /// Four quarters: red, green, and below blue, white.
    fn quarters(side: u32) -> DynamicImage {
        let half = side / 2;
        RgbImage::from_fn(side, side, |x, y| {
            Rgb(match (x < half, y < half) {
                (true, true) => RED,
                (false, true) => GREEN,
                (true, false) => BLUE,
                (false, false) => WHITE,
            })
        })
        .into()
    }

    fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let picture = match format {
            ImageFormat::Gif => DynamicImage::ImageRgba8(picture.to_rgba8()),
            _ => picture.clone(),
        };
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8]) -> DynamicImage {
        image::load_from_memory(bytes).unwrap()
    }

    /// Whether a point, in hundredths of the sides, has about this colour.
    fn shows(bytes: &[u8], (x, y): (u32, u32), colour: [u8; 3]) -> bool {
        let picture = decoded(bytes).to_rgb8();
        let Rgb(found) = *picture.get_pixel(picture.width() * x / 100, picture.height() * y / 100);
        found.into_iter().zip(colour).all(|(found, wanted)| found.abs_diff(wanted) < 40)
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    /// A chunk of a PNG.
    fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap();
        let summed = [kind, content].concat();
        let mut sum = u32::MAX;
        for byte in &summed {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            }
        }
        [&length.to_be_bytes()[..], &summed, &(!sum).to_be_bytes()].concat()
    }

    /// The head of a PNG of that size, and the start of no pixels.
    fn png_head(width: u32, height: u32) -> Vec<u8> {
        let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
        let header = [&size[..], &[8, 2, 0, 0, 0]].concat();
        [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &header)[..], &chunk(b"IDAT", b"\x78\x01")].concat()
    }

    /// A JPEG with segments of metadata behind its beginning.
    fn with_segments(jpeg: &[u8], segments: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = jpeg[..2].to_vec();
        for (marker, content) in segments {
            let length = u16::try_from(content.len() + 2).unwrap();
            bytes.extend([0xff, *marker]);
            bytes.extend(length.to_be_bytes());
            bytes.extend(content);
        }
        bytes.extend(&jpeg[2..]);
        bytes
    }

    /// Exif with an orientation, and something personal behind it.
    fn exif(orientation: u8) -> Vec<u8> {
        let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
        let head = b"Exif\0\0II*\0\x08\0\0\0\x01\0";
        [&head[..], &entry, &[0, 0, 0, 0], HIDDEN].concat()
    }

    #[test]
    fn each_format_becomes_two_squares() {
        for format in FORMATS {
            let avatar = encode(&file(&quarters(520), format), MOST).unwrap();
            assert_eq!(avatar.format, Format::Jpeg, "{format:?}");
            for (bytes, side) in [(&avatar.large, LARGE), (&avatar.small, SMALL)] {
                assert_eq!(image::guess_format(bytes).unwrap(), ImageFormat::Jpeg);
                assert_eq!(decoded(bytes).dimensions(), (side, side), "{format:?}");
                let points = [(25, 25), (75, 25), (25, 75), (75, 75)];
                for (point, colour) in points.into_iter().zip([RED, GREEN, BLUE, WHITE]) {
                    assert!(shows(bytes, point, colour), "{format:?} {side} {point:?}");
                }
            }
        }
    }

    #[test]
    fn what_a_picture_costs_is_told_by_its_head() {
        let side = |side| file(&plain(side, side, RED), ImageFormat::Jpeg);
        let (small, large) = (memory(&side(40), MOST).unwrap(), memory(&side(400), MOST).unwrap());
        assert!(small < large && large < most_memory(MOST), "{small} {large}");
        // A frame of several scans is held as coefficients, too.
        let mut wide = file(&plain(2_000, 10, RED), ImageFormat::Jpeg);
        let plainly = memory(&wide, MOST).unwrap();
        let frame = wide.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        wide[frame + 1] = 0xc2;
        let pixels = 2_000 * 10;
        assert_eq!(memory(&wide, MOST).unwrap(), plainly.max(9 * pixels + DECODER_OVERHEAD));
        assert_eq!(memory(&wide, pixels), Ok(9 * pixels + DECODER_OVERHEAD));
        assert_eq!(memory(b"<svg/>", MOST), Err(PictureError::Unknown));
    }

    #[test]
    fn a_lossy_webp_is_read_too() {
        use base64::Engine;
        let text = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA";
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let avatar = encode(&bytes, MOST).unwrap();
        assert_eq!(decoded(&avatar.large).dimensions(), (1, 1));
    }

    #[test]
    fn other_depths_and_colours_are_read_too() {
        let grey: DynamicImage =
            ImageBuffer::from_pixel(40, 40, image::Luma([u16::MAX - 9])).into();
        let avatar = encode(&file(&grey, ImageFormat::Png), MOST).unwrap();
        assert!(shows(&avatar.large, (50, 50), [255, 255, 255]));
        let grey: DynamicImage = ImageBuffer::from_pixel(40, 40, image::Luma([9u8])).into();
        let avatar = encode(&file(&grey, ImageFormat::Jpeg), MOST).unwrap();
        assert!(shows(&avatar.small, (50, 50), [9, 9, 9]));
    }

    #[test]
    fn the_square_is_cut_from_the_middle_and_never_enlarged() {
        for (width, height) in [(300, 60), (60, 300)] {
            let mut wide = plain(width, height, RED).to_rgb8();
            let (left, top) = ((width - 60) / 2, (height - 60) / 2);
            imageops::replace(&mut wide, &plain(60, 60, BLUE).to_rgb8(), left.into(), top.into());
            let avatar = encode(&file(&wide.into(), ImageFormat::Png), MOST).unwrap();
            for bytes in [&avatar.large, &avatar.small] {
                assert_eq!(decoded(bytes).dimensions(), (60, 60));
                for point in [(2, 2), (97, 2), (50, 50), (2, 97), (97, 97)] {
                    assert!(shows(bytes, point, BLUE), "{point:?}");
                }
            }
        }
        let avatar = encode(&file(&plain(200, 200, RED), ImageFormat::Png), MOST).unwrap();
        assert_eq!(decoded(&avatar.large).dimensions(), (200, 200));
        assert_eq!(decoded(&avatar.small).dimensions(), (SMALL, SMALL));
    }

    #[test]
    fn a_picture_lying_on_its_side_is_turned_upright() {
        let jpeg = file(&quarters(64), ImageFormat::Jpeg);
        for (orientation, above, below) in [
            (1, [RED, GREEN], [BLUE, WHITE]),
            (2, [GREEN, RED], [WHITE, BLUE]),
            (3, [WHITE, BLUE], [GREEN, RED]),
            (4, [BLUE, WHITE], [RED, GREEN]),
            (5, [RED, BLUE], [GREEN, WHITE]),
            (6, [BLUE, RED], [WHITE, GREEN]),
            (7, [WHITE, GREEN], [BLUE, RED]),
            (8, [GREEN, WHITE], [RED, BLUE]),
            (9, [RED, GREEN], [BLUE, WHITE]),
        ] {
            let turned = with_segments(&jpeg, &[(0xe1, exif(orientation))]);
            let avatar = encode(&turned, MOST).unwrap();
            let points = [(25, 25), (75, 25), (25, 75), (75, 75)];
            for (point, colour) in points.into_iter().zip([above, below].concat()) {
                assert!(shows(&avatar.large, point, colour), "{orientation} {point:?}");
                assert!(shows(&avatar.small, point, colour), "{orientation} {point:?}");
            }
        }
    }

    #[test]
    fn metadata_and_what_was_appended_stay_behind() {
        let jpeg = file(&quarters(64), ImageFormat::Jpeg);
        let profile = [&b"ICC_PROFILE\0\x01\x01"[..], HIDDEN].concat();
        let segments = [(0xe1, exif(6)), (0xfe, HIDDEN.to_vec()), (0xe2, profile)];
        let png = file(&quarters(64), ImageFormat::Png);
        let text = chunk(b"tEXt", &[b"Comment\0", HIDDEN].concat());
        // Behind the header, which is the first chunk and has 25 bytes.
        let commented = [&png[..33], &text, &png[33..]].concat();
        let mut samples = vec![with_segments(&jpeg, &segments), commented];
        samples.extend(FORMATS.map(|format| [&file(&quarters(64), format), HIDDEN].concat()));
        for bytes in samples {
            assert!(contains(&bytes, HIDDEN));
            let avatar = encode(&bytes, MOST).unwrap();
            for encoded in [&avatar.large, &avatar.small] {
                assert!(!contains(encoded, HIDDEN));
                assert!(!contains(encoded, b"Exif") && !contains(encoded, b"ICC_PROFILE"));
            }
        }
    }

    #[test]
    fn of_an_animation_the_first_frame_counts() {
        let mut bytes = Vec::new();
        let frames = [RED, BLUE, GREEN].map(|colour| Frame::new(plain(32, 32, colour).to_rgba8()));
        GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();
        let avatar = encode(&bytes, MOST).unwrap();
        assert!(shows(&avatar.large, (50, 50), RED));
        assert!(shows(&avatar.small, (50, 50), RED));
    }

    #[test]
    fn transparency_stays_and_hidden_colours_do_not_bleed() {
        // A white disc on black that nobody sees.
        let disc = RgbaImage::from_fn(700, 700, |x, y| {
            let is_inside = x.abs_diff(350).pow(2) + y.abs_diff(350).pow(2) < 200 * 200;
            if is_inside { Rgba([255, 255, 255, 255]) } else { Rgba([0, 0, 0, 0]) }
        });
        let avatar = encode(&file(&disc.into(), ImageFormat::Png), MOST).unwrap();
        assert_eq!(avatar.format, Format::Png);
        for bytes in [&avatar.large, &avatar.small] {
            let picture = decoded(bytes).to_rgba8();
            assert_eq!(picture.get_pixel(0, 0).0[3], 0);
            let half = picture.width() / 2;
            assert_eq!(picture.get_pixel(half, half).0, [255; 4]);
            for Rgba([red, green, blue, alpha]) in picture.pixels() {
                assert!(*alpha < 16 || [red, green, blue].iter().all(|value| **value > 230));
            }
        }
    }

    #[test]
    fn too_many_pixels_are_refused_from_the_head() {
        let too_many = |bytes: &[u8], (width, height): (u32, u32)| {
            let refusal = PictureError::TooManyPixels { width, height, most: MOST };
            assert_eq!(encode(bytes, MOST), Err(refusal));
        };
        too_many(&png_head(50_000, 50_000), (50_000, 50_000));
        too_many(&png_head(4_001, 4_000), (4_001, 4_000));

        let mut jpeg = file(&quarters(16), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xc3, 0x50, 0xc3, 0x50]);
        too_many(&jpeg, (50_000, 50_000));

        let mut gif = file(&quarters(16), ImageFormat::Gif);
        gif[6..10].copy_from_slice(&[0x50, 0xc3, 0x50, 0xc3]);
        too_many(&gif, (50_000, 50_000));

        let mut webp = file(&quarters(16), ImageFormat::WebP);
        let head = webp.windows(4).position(|four| four == b"VP8L").unwrap() + 9;
        // Each side less one, in fourteen bits.
        let sides: u32 = 0x3ffe | (0x3ffe << 14);
        webp[head..head + 4].copy_from_slice(&sides.to_le_bytes());
        too_many(&webp, (16_383, 16_383));

        let exact = file(&plain(40, 25, RED), ImageFormat::Png);
        assert!(encode(&exact, 1_000).is_ok());
        assert!(matches!(encode(&exact, 999), Err(PictureError::TooManyPixels { .. })));
    }

    #[test]
    fn a_frame_larger_than_its_gif_takes_no_memory() {
        let mut gif = file(&quarters(16), ImageFormat::Gif);
        let frame = gif.iter().rposition(|byte| *byte == 0x2c).unwrap();
        gif[frame + 5..frame + 9].fill(0xff);
        let refusal = encode(&gif, 1_000_000).unwrap_err();
        assert!(
            matches!(refusal, PictureError::TooExpensive | PictureError::Damaged(_)),
            "{refusal}"
        );
    }

    #[test]
    fn a_jpeg_of_very_many_scans_is_not_decoded() {
        let jpeg = file(&quarters(64), ImageFormat::Jpeg);
        let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let (head, scan) = (&jpeg[..scan], &jpeg[scan..jpeg.len() - 2]);
        let with = |scans: usize| [head, &scan.repeat(scans), &[0xff, 0xd9]].concat();
        assert_eq!(encode(&with(MOST_SCANS + 1), MOST), Err(PictureError::TooExpensive));
        assert!(encode(&with(1), MOST).is_ok());
    }

    #[test]
    fn what_is_no_picture_is_refused_whatever_it_pretends() {
        let svg = br#"<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>"#;
        let bitmap = [&b"BM"[..], &[0; 60]].concat();
        let tiff = [&b"II*\0\x08\0\0\0"[..], &[0; 60]].concat();
        for bytes in [&b""[..], b"\x89", svg, b"<!doctype html><p>picture.png", &bitmap, &tiff] {
            assert_eq!(encode(bytes, MOST), Err(PictureError::Unknown));
        }
        let html_behind_a_signature = b"\x89PNG\r\n\x1a\n<!doctype html><script>";
        assert!(matches!(encode(html_behind_a_signature, MOST), Err(PictureError::Damaged(_))));
    }

    #[test]
    fn a_picture_that_was_cut_off_is_no_reason_to_panic() {
        for format in FORMATS {
            let bytes = file(&quarters(40), format);
            for length in 0..bytes.len().min(600) {
                // Some decoders fill up what is missing at the end; none may invent a picture.
                let refusal = encode(&bytes[..length], MOST);
                assert!(length > bytes.len() / 4 || refusal.is_err(), "{format:?} {length}");
            }
            if format != ImageFormat::Jpeg {
                let half = encode(&bytes[..bytes.len() / 2], MOST);
                assert!(matches!(half, Err(PictureError::Damaged(_))), "{format:?}");
            }
        }
    }

    #[test]
    fn damaged_pictures_neither_panic_nor_grow() {
        const FEW: u64 = 10_000;
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut number = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        let jpeg = file(&quarters(24), ImageFormat::Jpeg);
        let mut samples = FORMATS.map(|format| file(&quarters(24), format)).to_vec();
        samples.push(with_segments(&jpeg, &[(0xe1, exif(6))]));
        for round in 0..4_000 {
            let mut bytes = samples[round % samples.len()].clone();
            for _ in 0..=number(6) {
                let place = number(bytes.len());
                match number(4) {
                    0 => bytes[place] = u8::try_from(number(256)).unwrap(),
                    1 => bytes[place] ^= 1 << number(8),
                    2 => bytes.truncate(place.max(1)),
                    _ => bytes.insert(place, 0xff),
                }
            }
            if let Ok(avatar) = encode(&bytes, FEW) {
                for encoded in [&avatar.large, &avatar.small] {
                    let (width, height) = decoded(encoded).dimensions();
                    assert!(width == height && u64::from(width) * u64::from(height) <= FEW);
                }
            }
        }
    }
}
