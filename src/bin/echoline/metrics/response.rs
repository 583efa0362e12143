//! Pure: what the server says of itself in, an HTTP response out.

use std::io;
use std::time::SystemTime;

use echoline::Totals;

use super::exposition;
use super::http::{Request, Resource};

/// What the server says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    pub totals: Totals,
    /// Records that the logger has lost.
    pub lost_records: u64,
    /// A stop has begun.
    pub is_stopping: bool,
}

/// An HTTP response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status, and headers that belong to it.
    status: &'static str,
    content_type: String,
    body: String,
}

impl Response {
    /// A response without a body.
    pub fn error(status: &'static str) -> Response {
        Response::text(status, String::new())
    }

    fn text(status: &'static str, body: String) -> Response {
        Response {
            status,
            content_type: "text/plain".to_owned(),
            body,
        }
    }

    /// The response to a request for `resource`. `status` has an error if the loop gives no
    /// answer.
    pub fn new(resource: Resource, status: io::Result<Status>) -> Response {
        let unavailable = |why: &str| Response::text("503 Service Unavailable", format!("{why}\n"));
        let status = match status {
            Ok(status) => status,
            Err(e) => return unavailable(&e.to_string()),
        };
        match resource {
            Resource::Metrics(format) => Response {
                status: "200 OK",
                content_type: format.content_type(),
                body: exposition::text(&status.totals, status.lost_records, format),
            },
            Resource::Readiness if status.is_stopping => unavailable("the server stops"),
            Resource::Health | Resource::Readiness => Response::text("200 OK", "ok\n".to_owned()),
        }
    }

    /// The bytes of the response, without its body if the request was HEAD.
    pub fn into_bytes(self, with_body: bool) -> Vec<u8> {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let body = if with_body { &*self.body } else { "" };
        format!(
            "HTTP/1.1 {}\r\n\
             Date: {date}\r\n\
             Content-Type: {}\r\n\
             Content-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.status,
            self.content_type,
            self.body.len()
        )
        .into_bytes()
    }
}

impl Request {
    /// The response that `status` makes.
    pub fn respond(self, status: io::Result<Status>) -> Vec<u8> {
        Response::new(self.resource, status).into_bytes(self.wants_body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition::Format;

    fn respond(resource: Resource, wants_body: bool, status: io::Result<Status>) -> String {
        let request = Request {
            resource,
            wants_body,
        };
        String::from_utf8(request.respond(status)).unwrap()
    }

    fn status(is_stopping: bool) -> Status {
        Status {
            totals: Totals::default(),
            lost_records: 7,
            is_stopping,
        }
    }

    #[test]
    fn get_and_head_differ_in_the_body_only() {
        let metrics = Resource::Metrics(Format::OpenMetrics);
        let get = respond(metrics, true, Ok(status(false)));
        let head = respond(metrics, false, Ok(status(false)));
        let (get_head, body) = get.split_once("\r\n\r\n").unwrap();
        assert!(get.starts_with("HTTP/1.1 200 OK\r\nDate: "));
        let content_type =
            "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        let len = body.len();
        let rest = format!("\r\n{content_type}\r\nContent-Length: {len}\r\nConnection: close");
        assert!(get_head.ends_with(&rest), "{get}");
        assert!(head.ends_with(&format!("{rest}\r\n\r\n")), "{head}");
        assert!(body.contains("echoline_log_records_lost_total 7\n"));
    }

    #[test]
    fn a_server_that_stops_is_healthy_and_not_ready() {
        let is_ok = |resource, is_stopping| {
            respond(resource, true, Ok(status(is_stopping))).starts_with("HTTP/1.1 200 OK\r\n")
        };
        assert!(is_ok(Resource::Health, false) && is_ok(Resource::Readiness, false));
        assert!(is_ok(Resource::Health, true) && !is_ok(Resource::Readiness, true));
    }

    #[test]
    fn a_loop_that_gives_no_answer_is_unavailable() {
        let metrics = Resource::Metrics(Format::Prometheus);
        for resource in [metrics, Resource::Health, Resource::Readiness] {
            let response = respond(resource, true, Err(io::Error::other("stuck")));
            assert!(response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
            assert!(response.ends_with("\r\n\r\nstuck\n"));
        }
    }
}
