//! Pure: an HTTP request in, its response out (RFC 9110, RFC 9112). One request per
//! connection.

use std::io;
use std::time::SystemTime;

use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::exposition::Format;

/// The longest head of a request that is waited for. Prometheus sends some 300 bytes.
const MAX_HEAD: usize = 8 * 1024;

const MAX_HEADERS: usize = 64;

/// The response to `received`; `None` if the head of the request is incomplete.
/// `metrics` has the text, or an error if the server does not run.
pub fn respond(
    received: &[u8],
    metrics: impl FnOnce(Format) -> io::Result<String>,
) -> Option<Vec<u8>> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    let response = match request.parse(received) {
        Ok(Status::Complete(_)) => route(&request, metrics),
        Ok(Status::Partial) if received.len() < MAX_HEAD => return None,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            error("431 Request Header Fields Too Large")
        }
        Err(_) => error("400 Bad Request"),
    };
    Some(response.into_bytes())
}

fn route(request: &Request<'_, '_>, metrics: impl FnOnce(Format) -> io::Result<String>) -> String {
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match (request.method, path) {
        (Some("GET" | "HEAD"), "/metrics") => {
            let format = format_for(request.headers);
            let Ok(text) = metrics(format) else {
                return error("503 Service Unavailable");
            };
            let mut response = head("200 OK", format.content_type(), text.len());
            if request.method == Some("GET") {
                response += &text;
            }
            response
        }
        (_, "/metrics") => error("405 Method Not Allowed\r\nAllow: GET, HEAD"),
        _ => error("404 Not Found"),
    }
}

/// The format that the scraper asks for. Prometheus asks for both, `OpenMetrics` first.
fn format_for(headers: &[Header<'_>]) -> Format {
    let is_accept = |header: &&Header<'_>| header.name.eq_ignore_ascii_case("accept");
    let accepts_open_metrics = headers.iter().filter(is_accept).any(|header| {
        let value = String::from_utf8_lossy(header.value).to_ascii_lowercase();
        value.contains("application/openmetrics-text")
    });
    if accepts_open_metrics {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

fn error(status: &str) -> String {
    head(status, "text/plain", 0)
}

fn head(status: &str, content_type: &str, len: usize) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!(
        "HTTP/1.1 {status}\r\n\
         Date: {date}\r\n\
         Content-Type: {content_type}\r\n\
         Content-Length: {len}\r\n\
         Connection: close\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response_to(request: &str) -> String {
        let metrics = |format: Format| Ok(format!("{format:?}\n"));
        let response = respond(request.as_bytes(), metrics).expect("a complete request");
        String::from_utf8(response).unwrap()
    }

    fn status_of(request: &str) -> String {
        let response = response_to(request);
        response.split(' ').nth(1).unwrap().to_owned()
    }

    #[test]
    fn get_and_head_differ_in_the_body_only() {
        let get = response_to("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = response_to("HEAD /metrics?a=b HTTP/1.0\r\n\r\n");
        assert!(get.starts_with("HTTP/1.1 200 OK\r\nDate: "));
        assert!(get.contains("\r\nContent-Length: 11\r\nConnection: close\r\n\r\nPrometheus\n"));
        assert!(head.contains("\r\nContent-Length: 11\r\n") && head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        assert_eq!(status_of("GET / HTTP/1.1\r\n\r\n"), "404");
        assert_eq!(status_of("POST /metric HTTP/1.1\r\n\r\n"), "404");
        let post = response_to("POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n");
        assert!(post.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"));
    }

    #[test]
    fn the_accept_header_chooses_the_format() {
        let with =
            |accept: &str| response_to(&format!("GET /metrics HTTP/1.1\r\n{accept}\r\n\r\n"));
        let text = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
        let open = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        assert!(with("Accept: */*").contains(text));
        assert!(with("Accept: text/plain;version=0.0.4").contains(text));
        let prometheus = "accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1";
        let response = with(prometheus);
        assert!(response.contains(open) && response.ends_with("\r\n\r\nOpenMetrics\n"));
    }

    #[test]
    fn an_incomplete_head_is_waited_for_up_to_8_kib() {
        let respond = |request: &str| respond(request.as_bytes(), |_| Ok(String::new()));
        assert!(respond("").is_none());
        assert!(respond("GET /metrics HTTP/1.1\r\nHost: a\r\n").is_none());
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(8192));
        assert_eq!(status_of(&long), "431");
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65));
        assert_eq!(status_of(&many), "431");
        assert_eq!(status_of("\0"), "400");
        assert_eq!(status_of("GET /metrics HTTP/2.0\r\n\r\n"), "400");
    }

    #[test]
    fn a_server_that_does_not_run_is_unavailable() {
        let fails = |_| Err(io::Error::other("stopped"));
        let response = respond(b"GET /metrics HTTP/1.1\r\n\r\n", fails).unwrap();
        assert!(response.starts_with(b"HTTP/1.1 503 "));
    }
}
