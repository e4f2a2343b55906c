//! `/healthz` and `/metrics` for programs that speak HTTP, on a loopback address alone.
//!
//! Every user of the machine can connect, and so can a page in somebody's browser that had its own name resolve to
//! this address. So there are numbers and no names, nothing can be changed, and who asks for another host than this
//! machine is refused.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{core::Daemon, keepers::Keepers, metrics, view};

/// Connections at once; for one more the oldest goes. A scrape takes a millisecond.
const CONNECTIONS: usize = 16;

/// For one request from connecting to the last byte of its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of a request's line and headers.
const LONGEST_HEAD: usize = 16 << 10;

/// Between two tries to listen.
const RETRY: Duration = Duration::from_secs(10);

/// What this part warns of.
const TOPIC: &str = "http";

/// Serves where the config says, and follows each change of it.
pub async fn serve<K: Keepers + 'static>(daemon: Rc<Daemon<K>>) {
    let reader = daemon.store.reader();
    loop {
        let wanted = daemon.store.look().config.http.address();
        tokio::select! {
            () = reader.wait_until(|world| world.config.http.address() != wanted) => {}
            () = serve_at(&daemon, wanted) => {}
        }
        daemon.metrics.http.set(None);
        daemon.mended(TOPIC);
    }
}

async fn serve_at<K: Keepers + 'static>(daemon: &Rc<Daemon<K>>, wanted: Option<SocketAddr>) {
    // The config refuses any other address; one that an older program kept is not believed.
    let Some(address) = wanted.filter(|address| address.ip().is_loopback()) else {
        return std::future::pending().await;
    };
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                let again = RETRY.as_secs();
                let message = format!(
                    "cannot serve health and metrics on {address}: {error}; tried again each {again} s"
                );
                daemon.warn(TOPIC, message);
                sleep(RETRY).await;
            }
        }
    };
    daemon.mended(TOPIC);
    let bound = listener.local_addr().unwrap_or(address);
    daemon.metrics.http.set(Some(bound));
    tracing::info!(address = %bound, "serving /healthz and /metrics");
    let mut open = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await; // out of descriptors: the queue stays readable
            continue;
        };
        open.retain(|connection: &AbortHandle| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let daemon = Rc::clone(daemon);
        let connection = tokio::task::spawn_local(async move {
            // A client that is too slow, or says nothing, is nobody's loss.
            let _ = timeout(PATIENCE, converse(&daemon, stream)).await;
        });
        open.push_back(connection.abort_handle());
    }
}

async fn converse<K: Keepers + 'static>(daemon: &Rc<Daemon<K>>, stream: TcpStream) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(daemon, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).max_buf_size(LONGEST_HEAD);
    server.serve_connection(TokioIo::new(stream), service).await
}

fn answer<K: Keepers>(daemon: &Daemon<K>, request: &Request<Incoming>) -> Response<String> {
    if !is_this_machine(request.headers().get(HOST)) {
        let message = "only requests for localhost or a loopback address are answered\n";
        return page(StatusCode::FORBIDDEN, "text/plain; charset=utf-8", message.into());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response =
            page(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "GET and HEAD only\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => {
            let health = view::healthz(&daemon.store.look(), daemon.metrics.usage(), &daemon.clock);
            let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            match serde_json::to_string(&health) {
                Ok(body) => page(status, "application/json", body + "\n"),
                Err(error) => failed(&error),
            }
        }
        "/metrics" => match daemon.metrics_text() {
            Ok(text) => page(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(error) => failed(&error),
        },
        _ => {
            let message = "there are /healthz and /metrics\n";
            page(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", message.into())
        }
    }
}

fn failed(error: &dyn std::error::Error) -> Response<String> {
    let message = format!("the answer cannot be put into words: {error}\n");
    page(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", message)
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the client means this machine by its own name or address. A page in a browser that was made to resolve
/// its own name to this address still says that name.
pub(crate) fn is_this_machine(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_that_are_documented() {
        let text = include_str!("../../docs/protocol.md").replace('\n', " ");
        let (head, within) = (LONGEST_HEAD >> 10, PATIENCE.as_secs());
        let told = format!(
            "with a head of {head} KiB at most, within {within} s, and on {CONNECTIONS} connections at once"
        );
        assert!(text.contains(&told), "{told}");
    }

    #[test]
    fn only_this_machine_is_meant() {
        for (host, mine) in [
            ("localhost", true),
            ("LOCALHOST:9650", true),
            ("127.0.0.1", true),
            ("127.0.0.1:9650", true),
            ("127.8.8.8:1", true),
            ("[::1]:9650", true),
            ("[::1]", true),
            ("evil.example", false),
            ("evil.example:9650", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1:9650", false),
            ("0.0.0.0", false),
            ("[::]", false),
            ("", false),
        ] {
            assert_eq!(is_this_machine(Some(&HeaderValue::from_str(host).unwrap())), mine, "{host}");
        }
        assert!(!is_this_machine(None));
    }
}
