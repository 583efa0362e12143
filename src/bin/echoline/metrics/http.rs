//! Pure: an HTTP request in, what it asks for or why it is refused out (RFC 9110, RFC
//! 9112). One request per connection.

use httparse::{EMPTY_HEADER, Header, Status};

use super::accept;
use super::exposition::Format;
use super::response::Response;

/// The longest head of a request, its empty line included. Prometheus sends some 300
/// bytes.
const MAX_HEAD: usize = 8 * 1024;

const MAX_HEADERS: usize = 64;

/// A request that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub resource: Resource,
    /// GET, not HEAD.
    pub wants_body: bool,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Metrics(Format),
    /// Whether the loop runs.
    Health,
    /// Whether the server takes new clients.
    Readiness,
}

/// The request at the beginning of `received`; `None` if its head is incomplete. The
/// verdict does not depend on how the head was cut into segments.
///
/// # Errors
///
/// The response to a request that cannot be served.
pub fn parse(received: &[u8]) -> Option<Result<Request, Response>> {
    let head = &received[..received.len().min(MAX_HEAD)];
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => Some(route(&request)),
        Ok(Status::Partial) if head.len() < MAX_HEAD => None,
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            let status = "431 Request Header Fields Too Large";
            Some(Err(Response::error(status)))
        }
        Err(_) => Some(Err(bad_request())),
    }
}

fn bad_request() -> Response {
    Response::error("400 Bad Request")
}

fn route(request: &httparse::Request<'_, '_>) -> Result<Request, Response> {
    check_host(request)?;
    let resource = match path(request.path.unwrap_or_default())? {
        "/metrics" => Resource::Metrics(accept::format_for(values(request.headers, "accept"))),
        "/healthz" => Resource::Health,
        "/readyz" => Resource::Readiness,
        _ => return Err(Response::error("404 Not Found")),
    };
    let wants_body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => {
            return Err(Response::error(
                "405 Method Not Allowed\r\nAllow: GET, HEAD",
            ));
        }
    };
    Ok(Request {
        resource,
        wants_body,
    })
}

/// The values of all headers of this name.
fn values<'a>(headers: &'a [Header<'_>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let has_name = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
    headers.iter().filter(has_name).map(|header| header.value)
}

/// A request has one valid Host, and only one of HTTP/1.0 may have none (RFC 9112, section
/// 3.2).
fn check_host(request: &httparse::Request<'_, '_>) -> Result<(), Response> {
    let mut hosts = values(request.headers, "host");
    let is_valid = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.is_empty() || is_authority(host),
        (None, _) => request.version == Some(0),
        (Some(_), Some(_)) => false,
    };
    is_valid.then_some(()).ok_or_else(bad_request)
}

/// Whether `text` may be a host with or without a port (RFC 3986, sections 3.2.2 and
/// 3.2.3), judged by its characters.
fn is_authority(text: &[u8]) -> bool {
    let in_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    !text.is_empty() && text.iter().all(in_host)
}

/// The path that the target of a request names, in origin-form or in absolute-form (RFC
/// 9112, section 3.2). The authority of an absolute-form is not compared: the server
/// does not know its names.
fn path(target: &str) -> Result<&str, Response> {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            if !scheme.eq_ignore_ascii_case("http") {
                return Err(Response::error("421 Misdirected Request"));
            }
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            if !is_authority(authority.as_bytes()) {
                return Err(bad_request());
            }
            path
        }
        _ => target,
    };
    Ok(path.split_once('?').map_or(path, |(path, _)| path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The resource, or the status of the response.
    fn verdict(received: &str) -> Result<Resource, String> {
        let parsed = parse(received.as_bytes()).expect("a complete request");
        parsed.map(|request| request.resource).map_err(status)
    }

    fn status(response: Response) -> String {
        let text = String::from_utf8(response.into_bytes(true)).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    }

    fn get(target: &str) -> Result<Resource, String> {
        verdict(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    fn refused<T>(status: &str) -> Result<T, String> {
        Err(status.to_owned())
    }

    #[test]
    fn resources_are_served_by_get_and_head() {
        let text = Resource::Metrics(Format::Prometheus);
        for (path, resource) in [
            ("/metrics", text),
            ("/healthz", Resource::Health),
            ("/readyz", Resource::Readiness),
        ] {
            for (method, wants_body) in [("GET", true), ("HEAD", false)] {
                let request = format!("{method} {path}?a=/b HTTP/1.0\r\n\r\n");
                let expected = Request {
                    resource,
                    wants_body,
                };
                assert_eq!(parse(request.as_bytes()).unwrap().ok(), Some(expected));
            }
            let post = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
            assert_eq!(verdict(&post), refused("405"));
            assert_eq!(get(&format!("{path}/")), refused("404"));
        }
        assert_eq!(get("/"), refused("404"));
        assert_eq!(get("/healthz/readyz"), refused("404"));
    }

    #[test]
    fn an_absolute_target_is_that_of_its_path() {
        for target in [
            "http://a/healthz",
            "HTTP://a.example:9100/healthz?x",
            "http://[::1]:9100/healthz",
        ] {
            assert_eq!(get(target), Ok(Resource::Health), "{target}");
        }
        for (target, status) in [
            ("http://a", "404"),
            ("http://a?/healthz", "404"),
            ("http://a/b/http://c/healthz", "404"),
            ("/http://a/healthz", "404"),
            ("http:///healthz", "400"),
            ("http://user@a/healthz", "400"),
            ("https://a/healthz", "421"),
            ("ftp://a/healthz", "421"),
        ] {
            assert_eq!(get(target), refused(status), "{target}");
        }
    }

    #[test]
    fn a_request_has_one_valid_host_from_http_1_1_on() {
        let with = |version: &str, hosts: &str| {
            verdict(&format!("GET /healthz HTTP/{version}\r\n{hosts}\r\n"))
        };
        for hosts in ["Host: a:80\r\n", "host:\r\n", "HOST: [::1]:9100\r\n"] {
            assert_eq!(with("1.1", hosts), Ok(Resource::Health), "{hosts}");
            assert_eq!(with("1.0", hosts), Ok(Resource::Health), "{hosts}");
        }
        assert_eq!(with("1.0", ""), Ok(Resource::Health));
        assert_eq!(with("1.1", ""), refused("400"));
        for hosts in [
            "Host: a\r\nHost: a\r\n",
            "Host: a b\r\n",
            "Host: a/b\r\n",
            "Host: u@a\r\n",
        ] {
            assert_eq!(with("1.1", hosts), refused("400"), "{hosts}");
            assert_eq!(with("1.0", hosts), refused("400"), "{hosts}");
        }
        // The Host is required also beside an absolute-form.
        let absolute = "GET http://a/healthz HTTP/1.1\r\n\r\n";
        assert_eq!(verdict(absolute), refused("400"));
    }

    /// A request whose head has `len` bytes.
    fn head_of(len: usize) -> String {
        let (start, end) = ("GET /healthz HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n");
        start.to_owned() + &"x".repeat(len - start.len() - end.len()) + end
    }

    #[test]
    fn a_head_has_up_to_8_kib_however_it_is_cut() {
        assert_eq!(verdict(&head_of(8192)), Ok(Resource::Health));
        let long = head_of(8193);
        assert_eq!(verdict(&long), refused("431"));
        assert!(parse(&long.as_bytes()[..8191]).is_none());
        assert_eq!(verdict(&long[..8192]), refused("431"));
        assert_eq!(
            verdict(&(head_of(100) + &"x".repeat(9000))),
            Ok(Resource::Health)
        );
    }

    #[test]
    fn an_incomplete_head_is_waited_for_and_a_bad_one_refused() {
        assert!(parse(b"").is_none());
        assert!(parse(b"GET /metrics HTTP/1.1\r\nHost: a\r\n").is_none());
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(65));
        assert_eq!(verdict(&many), refused("431"));
        assert_eq!(verdict("\0"), refused("400"));
        assert_eq!(verdict("GET /metrics HTTP/2.0\r\n\r\n"), refused("400"));
    }

    /// Pieces of requests, in any order.
    fn request() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"GET ".to_vec()),
            Just(b"/healthz ".to_vec()),
            Just(b"GET /metrics HTTP/1.1\r\nHost: a\r\n".to_vec()),
            Just(b"HTTP/1.1\r\n".to_vec()),
            Just(b"Host: a\r\n".to_vec()),
            Just(b"Accept: */*\r\n".repeat(33)),
            Just(b"\r\n".to_vec()),
            Just(b"\n".to_vec()),
            Just(head_of(8100).into_bytes()),
            (1..200_usize).prop_map(|len| vec![b'x'; len]),
            proptest::collection::vec(any::<u8>(), 1..4),
        ];
        proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// The first verdict on a part of what has been received is the verdict on all.
        #[test]
        fn the_verdict_does_not_depend_on_the_cuts(
            received in request(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let verdict = |len| parse(&received[..len]).map(|parsed| parsed.map_err(status));
            let mut lens: Vec<_> = cuts.iter().map(|cut| cut.index(received.len() + 1)).collect();
            lens.push(received.len());
            lens.sort_unstable();
            let first = lens.into_iter().find_map(verdict);
            prop_assert_eq!(first, verdict(received.len()));
        }
    }
}
