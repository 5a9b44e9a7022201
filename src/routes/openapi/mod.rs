//! The description of the HTTP interface, made from the table of routes whenever it is asked for.

pub mod operation;
