//! STUB
/// x
#[derive(Clone)] pub struct HttpClient;
impl HttpClient { /** x */ pub fn new() -> Result<Self, String> { Ok(Self) } }
