//! Everything that needs more than one part of Latchkey, in one test binary.

mod sqlite;
mod store_contract;
