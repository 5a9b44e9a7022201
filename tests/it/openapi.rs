//! The OpenAPI document: it tells of every route, and of nothing else.
