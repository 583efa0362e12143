//! A check by `/healthz`.

use std::io::{self, Read, Write};

use super::Unhealthy;
use super::connection::{Connection, failed};

/// The longest response that is read.
const MAX_RESPONSE: u64 = 8 * 1024;

/// How much of a response's body is shown.
const SHOWN: usize = 128;

/// Asks for `/healthz`.
///
/// # Errors
///
/// If the status is not 200, or there is no response in time.
pub fn run(mut connection: Connection) -> Result<String, Unhealthy> {
    let url = format!("http://{}/healthz", connection.addr);
    let response =
        exchange(&mut connection).map_err(|e| failed(&format!("no response from {url}"), &e))?;
    match status(&response) {
        Some((200, text)) => Ok(format!("{url}: {text}")),
        Some((_, text)) => Err(Unhealthy(format!("{url}: {text}"))),
        None => Err(Unhealthy(format!("no HTTP response from {url}"))),
    }
}

fn exchange(connection: &mut Connection) -> io::Result<Vec<u8>> {
    let host = connection.addr;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    connection.take(MAX_RESPONSE).read_to_end(&mut response)?;
    Ok(response)
}

/// The code of a response, and the code with its reason and the first line of the body.
fn status(response: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(response).ok()?;
    let httparse::Status::Complete(len) = parsed else {
        return None;
    };
    let (code, reason) = (head.code?, head.reason.unwrap_or_default());
    let body = response[len..].split(|&byte| byte == b'\n').next();
    let body = body.unwrap_or_default();
    let shown = body[..body.len().min(SHOWN)].escape_ascii();
    Some((code, format!("{code} {reason}: {shown}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_shown_on_one_line() {
        let response = b"HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\nthe loop\x07\nis stuck\n";
        let text = "503 Service Unavailable: the loop\\x07".to_owned();
        assert_eq!(status(response), Some((503, text)));
        let response = b"HTTP/1.0 200 OK\r\n\r\n";
        assert_eq!(status(response), Some((200, "200 OK: ".to_owned())));
    }

    #[test]
    fn what_is_no_response_has_no_status() {
        for bytes in [&b""[..], b"hello\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 x"] {
            assert_eq!(status(bytes), None);
        }
    }
}
