//! What the parts of Latchkey cost: `tests/with-postgres cargo bench --bench parts`.
//!
//! Each figure is a wall time, which another process on the machine disturbs. For what weighs most a
//! line below it gives the CPU time of this process for one piece of work: that survives a busy machine.

mod actors;
mod measure;
mod rotation;
mod server;
mod signatures;
mod texts;

use actix_web::rt::System;
use criterion::Criterion;

fn main() {
    let system = System::new();
    let mut criterion = Criterion::default().configure_from_args();
    texts::bench(&mut criterion);
    signatures::bench(&mut criterion, &system);
    actors::bench(&mut criterion, &system);
    rotation::bench(&mut criterion, &system);
    criterion.final_summary();
}
