//! Other people's servers, as far as a test needs them.

use std::net::TcpListener;

use actix_web::dev::ServerHandle;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer};

/// A server on a port of the system's choice; ends with the test.
pub struct StubServer {
    /// Its origin.
    pub url: String,
    handle: ServerHandle,
}

impl Drop for StubServer {
    fn drop(&mut self) {
        // The order to stop is given by the call; its future only waits.
        drop(self.handle.stop(false));
    }
}

impl StubServer {
    pub fn start(routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::start_on(listener, routes)
    }

    /// On a listener that is there already, for routes that have to know their address.
    pub fn start_on(
        listener: TcpListener,
        routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = HttpServer::new(move || App::new().configure(routes.clone()))
            .workers(1)
            .disable_signals()
            .shutdown_timeout(0)
            .listen(listener)
            .unwrap()
            .run();
        let handle = server.handle();
        actix::spawn(server);
        Self { url, handle }
    }
}
