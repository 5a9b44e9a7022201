//! Tests of whole parts, in one binary.

mod postgres;
