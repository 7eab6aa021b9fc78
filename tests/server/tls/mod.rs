//! TLS on both ports and at the client's end, with real certificates on real sockets.

#![cfg(feature = "tls")]
mod certs;
mod cli;
mod handshakes;
mod pairs;
mod renewal;
mod tools;
mod trust;

use tasktail::client::{Endpoint, HttpClient};
use tasktail::server::ServeOptions;

use crate::common::{TestServer, serve_with};
use crate::tls::certs::Folder;

/// A server with these certificate files, on both ports.
async fn secure(folder: &Folder, change: impl FnOnce(&mut ServeOptions)) -> TestServer {
    serve_with(|options| {
        options.tls = Some(folder.files());
        options.resp = Some("127.0.0.1:0".to_owned());
        change(options);
    })
    .await
}

/// The address of a server, trusting what the folder's `ca.pem` has.
fn endpoint(server: &TestServer, folder: &Folder) -> Endpoint {
    server.server.url().parse::<Endpoint>().unwrap().with_ca_file(Some(folder.path("ca.pem")))
}

/// A client that has no connection yet.
fn client(server: &TestServer, folder: &Folder) -> HttpClient {
    HttpClient::new(endpoint(server, folder))
}
