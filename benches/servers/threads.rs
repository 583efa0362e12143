//! Line echo with the standard library: a thread per connection,
//! `BufReader`, `read_until`, `write_all`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Echoes lines on `127.0.0.1:port` forever.
pub fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    loop {
        let (stream, _) = listener.accept()?;
        thread::Builder::new().spawn(move || echo(&stream))?;
    }
}

fn echo(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer, mut line) = (BufReader::new(stream), stream, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        writer.write_all(&line)?;
        line.clear();
    }
    Ok(())
}
