//! What attackers try, and the answer that each gets. A letter and a number at the beginning of
//! a test's name are those of the attack in our catalogue; where our rules give another answer than the
//! catalogue, the test says so.

mod authorization;
mod avatars;
mod profile;
mod sessions;
mod upstream;
