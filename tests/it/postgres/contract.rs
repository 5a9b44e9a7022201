//! What every store promises.

use latchkey::config::settings::Store as StoreSettings;

use super::{Guard, fresh_store};

async fn fresh_settings() -> (StoreSettings, Guard) {
    super::fresh_settings()
}

store_contract!();
