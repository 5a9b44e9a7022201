//! Requests by method, route and status. The middleware finds the counters of a route with the route itself, so
//! that counting a request hashes no text and takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::http::Method;

use super::histogram::{Durations, Reading};

/// Methods that have a label of their own. Others are chosen by clients, so they share one.
pub const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER];

/// The label of all other methods.
pub const OTHER: &str = "other";

/// What the route is called where there is none.
pub const NO_ROUTE: &str = "none";

/// Every status that an answer may have has a place below this.
const STATUSES: usize = 600;

/// What is counted of the requests with one method to one route.
#[derive(Debug)]
struct Series {
    /// By status, from 100 on.
    statuses: Box<[AtomicU64]>,
    duration: Durations,
}

impl Series {
    fn new() -> Self {
        let statuses = (100..STATUSES).map(|_| AtomicU64::new(0)).collect();
        Self { statuses, duration: Durations::of_waits() }
    }
}

/// A method, how often each status was answered, and how long it took.
pub type OfMethod = (&'static str, Vec<(u16, u64)>, Reading);

/// The counters of one route.
#[derive(Clone, Debug)]
pub struct Route(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    template: &'static str,
    /// Made when first asked so: most routes know one method or two.
    methods: [OnceLock<Series>; METHODS.len()],
}

impl Route {
    fn new(template: &'static str) -> Self {
        Self(Arc::new(Counted { template, methods: Default::default() }))
    }

    /// The path with what varies in braces; `none` where nothing is.
    pub fn template(&self) -> &'static str {
        self.0.template
    }

    /// Counts an answered request.
    pub fn observe(&self, method: &Method, status: u16, took: Duration) {
        let series = self.0.methods[method_index(method)].get_or_init(Series::new);
        if let Some(count) = series.statuses.get(usize::from(status).wrapping_sub(100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        series.duration.observe(took);
    }

    /// What was counted so far: by method, how often each status was answered, and how long it took.
    pub fn read(&self) -> Vec<OfMethod> {
        let known = METHODS.into_iter().zip(&self.0.methods);
        known
            .filter_map(|(method, series)| {
                let series = series.get()?;
                let counts = series.statuses.iter().map(|count| count.load(Ordering::Relaxed));
                let statuses = (100..).zip(counts).filter(|(_, count)| *count > 0).collect();
                Some((method, statuses, series.duration.read()))
            })
            .collect()
    }
}

fn method_index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => 7,
    }
}

/// The label of a method.
pub fn method_label(method: &Method) -> &'static str {
    METHODS[method_index(method)]
}

/// The counters of all routes. Which there are is known from the start.
#[derive(Debug)]
pub struct Routes {
    known: Vec<Route>,
    none: Route,
}

impl Routes {
    /// Of these templates.
    pub fn new(templates: Vec<&'static str>) -> Self {
        let mut known: Vec<Route> = templates.into_iter().map(Route::new).collect();
        known.sort_by_key(Route::template);
        known.dedup_by_key(|route| route.template());
        Self { known, none: Route::new(NO_ROUTE) }
    }

    /// Of one template; those of `none` if it is not known.
    pub fn of(&self, template: Option<&str>) -> &Route {
        let found = template.and_then(|template| {
            self.known.binary_search_by_key(&template, |route| route.template()).ok()
        });
        found.map_or(&self.none, |at| &self.known[at])
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Route> {
        self.known.iter().chain(std::iter::once(&self.none))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_shares_its_labels() {
        let routes = Routes::new(vec!["/b/{id}", "/a", "/a"]);
        let invented = Method::from_bytes(b"INVENTED").unwrap();
        for (template, method) in [
            (Some("/a"), &Method::GET),
            (Some("/b/{id}"), &invented),
            (Some("/c"), &Method::GET),
            (None, &Method::GET),
        ] {
            routes.of(template).observe(method, 200, Duration::from_millis(1));
        }
        let counted: Vec<_> = routes
            .all()
            .flat_map(|route| {
                route
                    .read()
                    .into_iter()
                    .map(|(method, statuses, _)| (route.template(), method, statuses))
            })
            .collect();
        let expected = [
            ("/a", "GET", vec![(200, 1)]),
            ("/b/{id}", "other", vec![(200, 1)]),
            ("none", "GET", vec![(200, 2)]),
        ];
        assert_eq!(counted, expected);
    }
}
